"""Incidents across agents, found when they are asked for: what the alerts of a stretch of time
share, the page of one incident, and the list of all.
"""

from datetime import UTC, datetime

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.investigate import ask
from tachograph.pipeline.investigate.ask import Row
from tachograph.pipeline.investigate.joining import Alerted, Incident, Join, Key, joined
from tachograph.pipeline.investigate.page import Facts, Grid, Lines, Page, Section, facts, grid
from tachograph.pipeline.query.reader import Reader

MAX_ALERTS = 20_000
SHOWN_ALERTS = 60
DAYS = 7
# Shorter texts ("ok", "[]") come to everybody.
MIN_TEXT_CHARS = 40
_SINCE = "now() - toIntervalDay({days:UInt16})"

# What an action shares with others: pairs of kind and value.
_SHARED = f"""arrayJoin(arrayFilter(one -> one.2 != '', arrayConcat([
    ('content', if(lengthUTF8(tool_result) > {MIN_TEXT_CHARS}, tool_result_hash, '')),
    ('content', if(content_direction = 'in' AND lengthUTF8(content_text) > {MIN_TEXT_CHARS},
        content_hash, '')),
    ('credential', if(credential_id != '', credential_id, credential_fingerprint)),
    ('target', if(target_domain != '', target_domain,
        if(target_host != '', target_host, target_ip))),
    ('delegation', if(length(delegation_chain) > 1, delegation_chain[1], '')),
    ('principal', principal_id)],
    arrayMap(one -> ('target', one), recipients),
    arrayMap(one -> ('secret', one), secret_fingerprints))))"""  # fmt: skip


def incidents(reader: Reader, days: int = DAYS) -> list[Incident]:
    """Incidents of the last days. Raises ConfigError for too many alerts, Refused, RetryLater."""
    alerts = _alerts(reader, days)
    keys = _keys(reader, days)
    values = sorted({value for found in keys.values() for kind, value in found if kind != "value"})
    return joined(alerts, keys, _touched_by(reader, days, values))


def _alerts(reader: Reader, days: int) -> list[Alerted]:
    rows = reader.rows(
        "SELECT alert_id, if(agent_id != '', agent_id, entity) AS agent_id,"  # noqa: S608 - our text
        " toUnixTimestamp64Micro(first_seen) AS first_us,"
        " toUnixTimestamp64Micro(last_seen) AS last_us"
        f" FROM tacho.alerts WHERE last_seen >= {_SINCE} LIMIT {MAX_ALERTS + 1}",
        {"days": str(days)},
    )
    if len(rows) > MAX_ALERTS:
        raise ConfigError(f"more than {MAX_ALERTS:,} alerts in {days} days: say fewer, --days")
    return [
        Alerted(row["alert_id"], row["agent_id"], int(row["first_us"]), int(row["last_us"]))
        for row in rows
    ]


def _keys(reader: Reader, days: int) -> dict[str, set[Key]]:
    """What each alert rests on: from its evidence, and from what its reasons say was brought in."""
    found: dict[str, set[Key]] = {}
    shared = reader.rows(
        "SELECT DISTINCT alert_id, share.1 AS kind, share.2 AS value FROM"  # noqa: S608 - our text
        " (SELECT alert_id, arrayJoin(event_ids) AS event_id FROM tacho.alerts"
        f"  WHERE last_seen >= {_SINCE}) AS a INNER JOIN"
        f" (SELECT event_id, {_SHARED} AS share FROM tacho.actions"
        f"  WHERE event_time >= {_SINCE} - toIntervalDay(1)) AS b USING (event_id)",
        {"days": str(days)},
    )
    said = reader.rows(
        "SELECT DISTINCT alert_id, 'value' AS kind, arrayJoin(arrayFilter(one -> one != '',"  # noqa: S608
        " arrayMap(reason -> reason.fields['call.values'], reasons))) AS value"
        f" FROM tacho.alerts WHERE last_seen >= {_SINCE}",
        {"days": str(days)},
    )
    for row in (*shared, *said):
        found.setdefault(row["alert_id"], set()).add((row["kind"], row["value"]))
    return found


def _touched_by(reader: Reader, days: int, values: list[str]) -> dict[Key, int]:
    """Agents that touched each value, with an alert or without."""
    rows = reader.rows(
        "SELECT share.1 AS kind, share.2 AS value, uniqExact(agent_id) AS agents FROM"  # noqa: S608
        f" (SELECT agent_id, {_SHARED} AS share FROM tacho.actions"
        f"  WHERE event_time >= {_SINCE} - toIntervalDay(1))"
        " WHERE share.2 IN {values:Array(String)} GROUP BY share",
        {"days": str(days), "values": values},
    )
    return {(row["kind"], row["value"]): int(row["agents"]) for row in rows}


def one_of(found: list[Incident], reader: Reader, prefix: str) -> Incident:
    """The incident of this id, or of this alert. Raises ConfigError."""
    alert_id = ask.one(reader, "alert", prefix)
    for incident in found:
        if any(one.alert_id == alert_id for one in incident.alerts):
            return incident
    raise ConfigError(f"alert {alert_id} is older than the days looked at: say more, --days")


def page(reader: Reader, incident: Incident) -> Page:
    """The page of one incident. Raises Refused, RetryLater."""
    ids = [one.alert_id for one in incident.alerts]
    rows = _shown(reader, ids)
    made = [one for one in incident.joins if not one.refused]
    refused = [one for one in incident.joins if one.refused]
    texts = _texts(reader, incident)
    agents = incident.agents
    return Page(
        kind="incident",
        id=incident.incident_id,
        title=f"{_count(len(ids), 'alert')} of {_count(len(agents), 'agent')}: {_title(rows)}",
        severity=ask.gravest(rows),
        sections=[
            Section("What happened", [_facts(incident, rows)]),
            Section("What joins them", [_joins(made, texts)], "it is one alert"),
            Section("Alerts", [_list(rows, len(ids))]),
            Section("What its agents touched", [_touched(reader, agents, incident)]),
            Section("What does not join", [_joins(refused, texts)]),
            Section("What to do", [_todo(rows)]),
        ],
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _shown(reader: Reader, ids: list[str]) -> list[Row]:
    return reader.rows(
        "SELECT alert_id, severity, status, disposition, agent_id, title, first_seen, runbook,"  # noqa: S608
        " principal_id FROM tacho.alerts WHERE alert_id IN {ids:Array(String)}"
        f" ORDER BY first_seen, alert_id LIMIT {MAX_ALERTS}",
        {"ids": ids},
    )


def _title(rows: list[Row]) -> str:
    """What its gravest alert is called, without the agent."""
    severity = ask.gravest(rows)
    title = next((row["title"] for row in rows if row["severity"] == severity), "")
    return str(title).split(": ", 1)[-1]


def _facts(incident: Incident, rows: list[Row]) -> Facts:
    first = min(one.first_us for one in incident.alerts)
    last = max(one.last_us for one in incident.alerts)
    return facts(
        [
            ("when", f"{_moment(first)} to {_moment(last)} UTC"),
            ("began with", f"{incident.alerts[0].agent_id} (alert {incident.incident_id})"),
            ("agents", incident.agents[:20] + (["…"] if len(incident.agents) > 20 else [])),
            ("for", sorted({row["principal_id"] for row in rows} - {""})[:10]),
            ("open", sum(row["status"] == "open" for row in rows)),
        ]
    )


def _moment(us: int) -> str:
    return f"{datetime.fromtimestamp(us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}"


def _texts(reader: Reader, incident: Incident) -> dict[str, str]:
    """How the texts begin that came to several agents, by their hash."""
    hashes = [one.value for one in incident.joins if one.kind == "content"]
    first = datetime.fromtimestamp(incident.alerts[0].first_us // 1_000_000, UTC)
    rows = reader.rows(
        "SELECT hash, any(text) AS text FROM (SELECT if(tool_result_hash IN {hashes:Array(String)},"
        " (tool_result_hash, tool_result), (content_hash, content_text)) AS pair,"
        " pair.1 AS hash, leftUTF8(pair.2, 120) AS text FROM tacho.actions"
        " WHERE event_time >= {since:DateTime('UTC')} - 86400) "
        "WHERE hash IN {hashes:Array(String)} GROUP BY hash",
        {"hashes": hashes, "since": f"{first:%Y-%m-%d %H:%M:%S}"},
    )
    return {row["hash"]: row["text"] for row in rows}


def _joins(joins: list[Join], texts: dict[str, str]) -> Grid:
    columns = {
        "kind": "shared", "value": "value", "alerts": "alerts", "agents": "agents with alerts",
        "touched_by": "agents that touched it", "refused": "because",
    }  # fmt: skip
    shown = [one for one in joins if one.kind != "agent" or one.refused]
    rows = [{name: getattr(one, name) for name in columns} for one in shown[:30]]
    for row in rows:
        if row["kind"] == "content":
            row["value"] = f"“{texts.get(row['value'], '')}” ({row['value'][:12]})"
    return grid(columns, rows)


def _list(rows: list[Row], total: int) -> Grid:
    columns = {
        "first_seen": "first seen", "alert_id": "alert", "severity": "severity",
        "status": "status", "disposition": "disposition", "agent_id": "agent", "title": "title",
    }  # fmt: skip
    more = [dict.fromkeys(columns, "") | {"title": f"… {total - SHOWN_ALERTS:,} more"}]
    return grid(columns, rows[:SHOWN_ALERTS] + (more if total > SHOWN_ALERTS else []))


def _touched(reader: Reader, agents: list[str], incident: Incident) -> Grid:
    rows = reader.rows(
        "SELECT touched_type, touched, uniqExact(agent_id) AS agents, sum(actions) AS actions,"
        " sum(not_done) AS not_done, sum(bytes_out) AS bytes_out FROM tacho.blast_radius"
        " WHERE agent_id IN {agents:Array(String)} AND last_seen >= toDateTime64({us:Int64}"
        " / 1000000, 6, 'UTC') AND touched_type NOT IN ('model', 'secret')"
        " GROUP BY touched_type, touched ORDER BY agents DESC, actions DESC, touched LIMIT 25",
        {"agents": agents, "us": str(incident.alerts[0].first_us)},
    )
    columns = {
        "touched_type": "kind", "touched": "what", "agents": "agents", "actions": "actions",
        "not_done": "not done", "bytes_out": "bytes out",
    }  # fmt: skip
    return grid(columns, rows)


def _todo(rows: list[Row]) -> Lines:
    books = dict.fromkeys(row["runbook"] for row in rows if row["runbook"])
    steps = [f"tacho alert {row['alert_id'][:12]}" for row in rows[:3]]
    return Lines([*books, *steps])


def listed(reader: Reader, found: list[Incident]) -> Grid:
    """All incidents, the largest first, as a table."""
    heads = {row["alert_id"]: row for row in _shown(reader, [one.incident_id for one in found])}
    columns = {
        "id": "incident", "alerts": "alerts", "agents": "agents", "began": "began",
        "joined": "joined by", "title": "first alert",
    }  # fmt: skip
    rows = [
        {
            "id": one.incident_id[:12],
            "alerts": len(one.alerts),
            "agents": len(one.agents),
            "began": _moment(one.alerts[0].first_us),
            "joined": sorted({join.kind for join in one.joins if not join.refused}),
            "title": heads.get(one.incident_id, {"title": ""})["title"],
        }
        for one in sorted(found, key=lambda one: (-len(one.alerts), one.alerts[0].first_us))
    ]
    return grid(columns, rows)
