"""Incidents across agents, as triage joined them: the page of one, and the list of all."""

import re
from typing import Any, Final

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.investigate import ask
from tachograph.pipeline.investigate.ask import Row
from tachograph.pipeline.investigate.page import (
    Block,
    Facts,
    Grid,
    Lines,
    Page,
    Section,
    facts,
    grid,
    period,
    second,
)
from tachograph.pipeline.investigate.tables import Table
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.triage.named import BETWEEN

SHOWN_ALERTS = 60
SHOWN_JOINS = 30
SHOWN_INCIDENTS = 1_000

# Kind of a join, where an action says it, and what it looks like; beside those of roll-ups only
# what they do not say or say otherwise: a credential that has an id, an address that has a name.
_SHARED: Final = (
    ("delegation", "if(length(delegation_chain) > 1, delegation_chain[1], '')", re.compile(".+")),
    ("principal", "principal_id", re.compile(".+")),
    ("credential", "credential_fingerprint", re.compile(".+")),
    ("target", "target_ip", re.compile(r"[\d.]+|[\da-fA-F:.]+")),
    ("target", "file_hash", re.compile(r"(?:\w+:)?[\da-fA-F]{32,128}")),
)
# Kind of a join → as what it was touched.
_ROLLED: Final = {
    "credential": ("credential",), "target": ("host", "package", "resource"), "secret": ("secret",)
}  # fmt: skip
# So many texts are looked for among the words of everybody: a common word costs a second or two.
MAX_SOUGHT: Final = 6
_BEGIN: Final = "{begin:DateTime64(6, 'UTC')} - 86400"
_END: Final = "{end:DateTime64(6, 'UTC')} + 86400"
_HOURS: Final = f"hour >= toStartOfHour({_BEGIN}) AND hour <= {_END}"
_UNCOUNTED: Final = (
    "Where no number of agents that touched it stands, they were not counted:"
    " `tacho query value-journey -p value=…` shows who met a value."
)
# Of its alerts, in which a text that joins them is looked for.
MAX_EVENTS = 2_000
_TOUCHED: Final = Table(
    "SELECT touched_type, touched, uniqExact(agent_id) AS agents, sum(actions) AS actions,"
    " sum(not_done) AS not_done, sum(bytes_out) AS bytes_out FROM tacho.blast_radius"
    " WHERE agent_id IN {agents:Array(String)} AND (partition_key = '' OR partition_key IN"
    " (SELECT partition_key FROM tacho.actions_data WHERE agent_id IN {agents:Array(String)}))"
    " AND last_seen >= {since:DateTime64(6, 'UTC')} AND touched_type NOT IN ('model', 'secret')"
    " GROUP BY touched_type, touched ORDER BY agents DESC, actions DESC, touched LIMIT 25",
    {"touched_type": "kind", "touched": "what", "agents": "agents", "actions": "actions",
     "not_done": "not done", "bytes_out": "bytes out"},
)  # fmt: skip


def one(reader: Reader, prefix: str) -> Row:
    """The incident of this id, or of this alert. Raises ConfigError, Refused, RetryLater."""
    alert_id = ask.one(reader, "alert", prefix)
    found = reader.rows(
        "SELECT * FROM tacho.incidents WHERE has(alert_ids, {id:String})"
        " ORDER BY last_seen DESC LIMIT 1",
        {"id": alert_id},
    )
    if not found:
        raise ConfigError(
            f"alert {alert_id} is in no incident that is stored: it is joined a moment after it is"
            " raised, and was not before this version"
        )
    return found[0]


def page(reader: Reader, incident: Row) -> Page:
    """The page of one incident. Raises Refused, RetryLater."""
    rows = _shown(reader, incident["alert_ids"])
    shown = [one for one in incident["joins"] if one["kind"] != "agent" or one["refused"]]
    titles = {
        rule: title
        for row in rows
        for rule, title in zip(row["rule_ids"], row["rule_titles"], strict=True)
    }
    joins = [
        {**one, "rule": titles.get(one["rule_id"], one["rule_id"])}
        for one in _described(reader, incident, shown[:SHOWN_JOINS])
    ]
    total, agents = int(incident["alert_count"]), int(incident["agent_count"])
    return Page(
        kind="incident",
        id=incident["incident_id"],
        title=f"{_count(total, 'alert')} of {_count(agents, 'agent')}: {_title(incident)}",
        severity=incident["severity"],
        sections=[
            Section("What happened", [_facts(incident, rows)]),
            Section(
                "What joins them",
                _joins([one for one in joins if not one["refused"]]),
                "it is one alert" if total == 1 else "they are alerts of one agent",
            ),
            Section("Alerts", [_list(rows, total)]),
            Section(
                "What its agents touched",
                [_TOUCHED.of(reader, agents=incident["agents"], since=incident["first_seen"])],
            ),
            Section("What does not join", _joins([one for one in joins if one["refused"]])),
            Section("What to do", [_todo(rows)]),
        ],
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _shown(reader: Reader, ids: list[str]) -> list[Row]:
    return reader.rows(
        "SELECT alert_id, severity, status, disposition, agent_id, title, first_seen, runbook,"
        " principal_id, rules.rule_id AS rule_ids, rules.title AS rule_titles"
        " FROM tacho.alerts WHERE alert_id IN {ids:Array(String)}"
        " ORDER BY first_seen, alert_id",
        {"ids": ids},
    )


def _title(incident: Row) -> str:
    """What its gravest alert is called, without the agent."""
    return str(incident["title"]).split(": ", 1)[-1]


def _facts(incident: Row, rows: list[Row]) -> Facts:
    first = next((row for row in rows if row["alert_id"] == incident["incident_id"]), {})
    agents, principals = incident["agents"], incident["principals"]
    return facts(
        [
            ("when", period(incident["first_seen"], incident["last_seen"])),
            ("began with", f"{first.get('agent_id', '')} (alert {incident['incident_id']})"),
            ("agents", agents[:20] + (["…"] if int(incident["agent_count"]) > 20 else [])),
            ("for", principals[:10] + (["…"] if len(principals) > 10 else [])),
            ("risk", f"{int(incident['risk']) / 1000:.1f}"),
            ("open", sum(row["status"] == "open" for row in rows)),
        ]
    )


def _described(reader: Reader, incident: Row, joins: list[Row]) -> list[Row]:
    """Joins with what they do not say themselves: how a text begins, and who else touched it, from
    a day before to a day after. Copies of an action are not told apart: they say the same of that.
    """
    values = [_touched_as(one) for one in joins]
    asked: dict[str, Any] = {
        "values": values,
        "tenant": incident["tenant"],
        "begin": incident["first_seen"],
        "end": incident["last_seen"],
    }
    when = f"event_time >= {_BEGIN} AND event_time <= {_END}"
    texts = reader.rows(
        "SELECT hash, any(text) AS text FROM (SELECT if(tool_result_hash IN {values:Array(String)},"  # noqa: S608 - our text
        " (tool_result_hash, tool_result), (content_hash, content_text)) AS pair,"
        " pair.1 AS hash, leftUTF8(pair.2, 120) AS text FROM tacho.actions_data"
        f" WHERE {when} AND tenant = {{tenant:String}} AND event_id IN"
        " (SELECT arrayJoin(event_ids) FROM tacho.alerts"
        f" WHERE alert_id IN {{ids:Array(String)}} LIMIT {MAX_EVENTS}))"
        " WHERE hash IN {values:Array(String)} GROUP BY hash",
        {**asked, "ids": incident["alert_ids"]},
    )
    agents_of = _agents_of(reader, joins, when, asked) | _met(reader, joins, when, asked)
    text_of = {row["hash"]: row["text"] for row in texts}
    return [
        {
            **one,
            "value": f"“{text_of.get(one['value'], '')}” ({one['value'][:12]})"
            if one["kind"] == "content"
            else one["value"],
            "touched_by": agents_of.get((one["kind"], _touched_as(one)), ""),
        }
        for one in joins
    ]


def _touched_as(join: Row) -> str:
    """The value of a join as actions say it: a secret by its fingerprint."""
    value = str(join["value"])
    return value.rpartition(":")[2].rstrip("›") if join["kind"] == "secret" else value


def _met(
    reader: Reader, joins: list[Row], when: str, asked: dict[str, Any]
) -> dict[tuple[str, str], int]:
    """(value, the value) → agents that met all of it in arguments or answers, found by its words.
    Those with alerts all did: where fewer are found, it is written otherwise, and nothing is said.
    """
    sought: list[str] = []
    parts_of: dict[str, list[int]] = {}
    for one in joins:
        parts = str(one["value"]).split(BETWEEN)
        wordy = all(any(map(str.isalnum, part)) for part in parts)
        if one["kind"] == "value" and wordy and len(sought) + len(parts) <= MAX_SOUGHT:
            parts_of[one["value"]] = list(range(len(sought), len(sought) + len(parts)))
            sought += parts
    if not sought:
        return {}
    met = " UNION ALL ".join(
        f"SELECT {at} AS part, agent_id FROM tacho.actions_data WHERE {when}"  # noqa: S608 - our names
        f" AND hasAllTokens({text}, {{p{at}:String}})"
        f" AND positionCaseInsensitiveUTF8({text}, {{p{at}:String}}) > 0"
        " AND tenant = {tenant:String} AND agent_id != ''"
        for at in range(len(sought))
        for text in ("tool_args", "tool_result")
    )
    counts = ", ".join(f"countIf(hasAll(parts, {parts}))" for parts in parts_of.values())
    [row] = reader.rows(
        f"SELECT [{counts}] AS agents FROM"  # noqa: S608 - our names
        f" (SELECT groupUniqArray(part) AS parts FROM ({met}) GROUP BY agent_id)",
        {name: asked[name] for name in ("tenant", "begin", "end")}
        | {f"p{at}": part for at, part in enumerate(sought)},
    )
    found = dict(zip(parts_of, map(int, row["agents"]), strict=True))
    alerted = {one["value"]: int(one["agents"]) for one in joins if one["kind"] == "value"}
    return {("value", value): n for value, n in found.items() if n >= alerted[value]}


def _agents_of(
    reader: Reader, joins: list[Row], when: str, asked: dict[str, Any]
) -> dict[tuple[str, str], int]:
    """(kind, value) → agents that touched it. Of actions only the columns are read that are asked
    about, and none where a roll-up knows it.
    """
    kinds = {one["kind"] for one in joins}
    parts = [
        f"SELECT '{kind}' AS kind, {column} AS value, agent_id FROM tacho.actions_data"  # noqa: S608 - our text
        f" WHERE {when} AND value IN {{values:Array(String)}} AND agent_id != ''"
        " AND tenant = {tenant:String}"
        for kind, column, looks in _SHARED
        if any(one["kind"] == kind and looks.fullmatch(one["value"]) for one in joins)
    ]
    parts += [
        f"SELECT '{kind}' AS kind, touched AS value, agent_id FROM tacho.touches_by_hour"  # noqa: S608 - our text
        f" WHERE touched IN {{values:Array(String)}} AND touched_type = '{touched_type}'"
        f" AND {_HOURS} AND tenant = {{tenant:String}}"
        for kind in sorted(kinds & _ROLLED.keys())
        for touched_type in _ROLLED[kind]
    ]
    if "content" in kinds:
        parts.append(
            "SELECT 'content' AS kind, arrayFirst(one -> bitShiftRight(cityHash64("  # noqa: S608 - our text
            "{tenant:String}, one), 20) = text, {values:Array(String)}) AS value, agent_id"
            " FROM tacho.texts_by_hour WHERE text IN (SELECT bitShiftRight(cityHash64("
            "{tenant:String}, arrayJoin({values:Array(String)})), 20))"
            f" AND day >= toStartOfDay({_BEGIN}) AND day <= {_END} AND {_HOURS}"
            " AND tenant = {tenant:String}"
        )
    if not parts:
        return {}
    rows = reader.rows(
        "SELECT kind, value, uniqExact(agent_id) AS agents"  # noqa: S608 - our text
        f" FROM ({' UNION ALL '.join(parts)}) GROUP BY kind, value",
        asked,
    )
    return {(row["kind"], row["value"]): row["agents"] for row in rows}


def _joins(joins: list[Row]) -> list[Block]:
    columns = {
        "kind": "shared", "value": "value", "rule": "by rule", "alerts": "alerts",
        "agents": "agents with alerts", "touched_by": "agents that touched it",
        "refused": "because",
    }  # fmt: skip
    told: list[Block] = [grid(columns, joins)]
    if any(one["touched_by"] == "" for one in joins):
        told.append(Lines([_UNCOUNTED]))
    return told


def _list(rows: list[Row], total: int) -> Grid:
    columns = {
        "first_seen": "first seen", "alert_id": "alert", "severity": "severity",
        "status": "status", "disposition": "disposition", "agent_id": "agent", "title": "title",
    }  # fmt: skip
    more = [dict.fromkeys(columns, "") | {"title": f"… {total - SHOWN_ALERTS:,} more"}]
    return grid(columns, rows[:SHOWN_ALERTS] + (more if total > SHOWN_ALERTS else []))


def _todo(rows: list[Row]) -> Lines:
    books = dict.fromkeys(row["runbook"] for row in rows if row["runbook"])
    steps = [f"tacho alert {row['alert_id'][:12]}" for row in rows[:3]]
    return Lines([*books, *steps])


def listed(reader: Reader, days: int) -> Grid:
    """Incidents of the last days, the largest first, as a table. Raises Refused, RetryLater."""
    rows = reader.rows(
        "SELECT incident_id, severity, alert_count, agent_count, first_seen, risk, title,"  # noqa: S608 - our text
        " arrayDistinct(arrayMap(one -> one.kind, arrayFilter(one -> one.refused = '', joins)))"
        " AS joined FROM tacho.incidents WHERE last_seen >= now() - toIntervalDay({days:UInt16})"
        f" ORDER BY alert_count DESC, first_seen, incident_id LIMIT {SHOWN_INCIDENTS}",
        {"days": str(days)},
    )
    columns = {
        "id": "incident", "severity": "severity", "alert_count": "alerts",
        "agent_count": "agents", "began": "began", "joined": "joined by", "title": "gravest alert",
    }  # fmt: skip
    for row in rows:
        row["id"], row["began"] = row["incident_id"][:12], second(row["first_seen"])
    return grid(columns, rows)
