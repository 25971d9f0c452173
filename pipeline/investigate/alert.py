"""The page of one alert: what happened, why it fired, what led to it, where values came from, what
the agent was, who else is concerned, what to do, and what was not seen.
"""

import re
import shlex
from typing import Final

from tachograph.pipeline.investigate import ask
from tachograph.pipeline.investigate.ask import Row
from tachograph.pipeline.investigate.origins import SHORT_ID, Origin, brought_values, origins
from tachograph.pipeline.investigate.page import (
    Block,
    Facts,
    Grid,
    Lines,
    Page,
    Section,
    clock,
    facts,
    grid,
    period,
)
from tachograph.pipeline.investigate.tables import Table, alerts
from tachograph.pipeline.query.reader import Reader

SHOWN_EVENTS = 40
SHOWN_VALUES = 20
SHOWN_JOURNEYS = 2
# Looked for among the words of everybody: a common word costs a second of two cores a day of 14
# million actions, a rare one a tenth.
SOUGHT_VALUES = 10
AROUND_S = 120
SHOWN_DETAIL_CHARS = 90
# Members of a JSON object, at its beginning or after others, that say nothing.
_NOTHING: Final = r'"\w+":\s*(?:null|"(?:null|None)?"|\[\]|\{\})'
_EMPTY: Final = re.compile(rf"(?<=\{{)(?:{_NOTHING}(?:,\s*|(?=\}})))+|(?:,\s*{_NOTHING})+(?=[,}}])")
_TOLD: Final = Table(
    "SELECT issued_at, kind, agent_id, if(answer = '', 'none yet', answer) AS answer,"
    " answered_at, reason FROM tacho.directives WHERE alert_id = {id:String}"
    " ORDER BY issued_at",
    {"issued_at": "told at", "kind": "directive", "agent_id": "to", "answer": "answer",
     "answered_at": "answered at", "reason": "why"},
)  # fmt: skip
_SAID: Final = Table(
    "SELECT at, by, action, disposition, assignee, note FROM tacho.dispositions"
    " WHERE alert_id = {id:String} ORDER BY at, log_offset LIMIT 50",
    {one: one for one in ("at", "by", "action", "disposition", "assignee", "note")},
)


def page(reader: Reader, alert_id: str) -> Page:
    """The page. Raises Refused, RetryLater."""
    row = ask.alert(reader, alert_id)
    came = origins(ask.turns(reader, row["session_ids"], row["tenant"]), _calls(reader, row))
    return Page(
        kind="alert",
        id=alert_id,
        title=row["title"],
        severity=row["severity"],
        sections=[
            Section("What happened", [_happened(row)]),
            Section("Why it fired", _why(row)),
            Section("Timeline", [timeline(reader, row)], "no stored action of it: see below"),
            Section("Where values came from", [_origins(came)], "no call with a value"),
            Section("Captured state", [_state(row)], row["state_missing"]),
            Section("Who else", _else(reader, row, came), "nothing of it was seen elsewhere"),
            Section("What to do", _todo(reader, row, came)),
            Section("What was not seen", [_unseen(reader, row)], "nothing is known to be missing"),
            Section("What people said", [_SAID.of(reader, id=alert_id)], "nothing yet"),
        ],
    )


def _happened(row: Row) -> Facts:
    return facts(
        [
            ("status", f"{row['status']} ({row['disposition'] or 'no disposition'})"),
            ("assignee", row["assignee"]),
            ("when", period(row["first_seen"], row["last_seen"])),
            ("agent", row["agent_id"]),
            ("about", "" if row["entity"] == row["agent_id"] else
             f"{row['entity_type']} {row['entity']}"),
            ("for", row["principal_id"]),
            ("sessions", row["session_ids"]),
            ("environment", row["environment"]),
            ("incident", _incident(row)),
            ("risk", f"{int(row['risk']) / 1000:.1f}, confidence {row['confidence']} %"),
            ("category", row["risk_categories"] or row["risk_category"]),
            ("frameworks", row["frameworks"]),
            ("points at", [f"{seen['type']} {seen['value']}" for seen in row["observables"]]),
            ("synthetic", "made by a generator, not by an agent" if row["synthetic"] else ""),
        ]
    )  # fmt: skip


def _incident(row: Row) -> str:
    """Its incident, and what it has in common with the others in it."""
    if not row["incident_reasons"]:
        return "nothing joins it to other alerts"
    return (
        f"{row['incident_id']}, by {'; '.join(row['incident_reasons']) or 'nothing that is left'}"
    )


def _why(row: Row) -> list[Block]:
    columns = {
        "title": "rule", "severity": "severity", "kind": "kind", "count": "signals",
        "suppressed": "does not count", "rule_id": "id",
    }  # fmt: skip
    said: list[Block] = [grid(columns, row["rules"])]
    for reason in row["reasons"]:
        said += [Lines([reason["text"]]), facts(reason["fields"].items())]
    scores = {name: f"{score:.3g}" for name, score in row["scores"].items()}
    return [*said, facts([("scores", scores)])]


def timeline(reader: Reader, row: Row) -> Grid:
    """What its sessions, else its agent, did around it; evidence is marked and never left out.
    Raises Refused, RetryLater.
    """
    sessions = "session_id IN {sessions:Array(String)}"
    rows = ask.timeline(
        reader,
        f"tenant = {{tenant:String}} AND"
        f" {sessions if row['session_ids'] else 'agent_id = {agent:String}'}"
        f" AND time >= {{begin:DateTime64(6, 'UTC')}} - {AROUND_S}"
        f" AND time <= {{end:DateTime64(6, 'UTC')}} + {AROUND_S}"
        " AND what IN ('action', 'signal', 'directive')",
        {"tenant": row["tenant"], "begin": row["first_seen"], "end": row["last_seen"]}
        | ({"sessions": row["session_ids"]} if row["session_ids"]
           else {"agent": row["agent_id"]}),
    )  # fmt: skip
    evidence = {*row["event_ids"], *row["signal_ids"]}
    kept = _near(rows, evidence)
    columns = {
        "clock": "time", "agent_id": "agent", "kind": "kind", "title": "what", "detail": "detail",
        "outcome": "outcome", "id": "id",
    }  # fmt: skip
    if len({one["agent_id"] for one in kept}) == 1:
        del columns["agent_id"]
    shown = [_line(one) for one in kept]
    marked = [number for number, one in enumerate(kept) if one["id"] in evidence]
    return grid(columns, shown, marked)


def _line(one: Row) -> Row:
    """A row of the timeline, short: why a signal was raised stands above it already."""
    signal = one["what"] == "signal"
    return one | {
        "clock": clock(one["time"]),
        "kind": "signal" if signal else one["kind"],
        "detail": "" if signal else telling(one["detail"])[:SHOWN_DETAIL_CHARS],
        "outcome": one["severity"] if signal else one["outcome"],
        "id": one["id"][:SHORT_ID],
    }


def telling(detail: str) -> str:
    """Arguments without those that are empty: there is room for few, and many tools are given all
    that they could take.
    """
    return _EMPTY.sub("", detail) if detail.startswith("{") else detail


def _near(rows: list[Row], evidence: set[str]) -> list[Row]:
    """The evidence and what is nearest to it, in order."""
    places = [at for at, row in enumerate(rows) if row["id"] in evidence]
    if len(rows) <= SHOWN_EVENTS or not places:
        return rows[:SHOWN_EVENTS]
    by_distance = sorted(range(len(rows)), key=lambda at: min(abs(at - one) for one in places))
    return [rows[at] for at in sorted(by_distance[: max(SHOWN_EVENTS, len(places))])]


def _origins(came: list[Origin]) -> Grid:
    """What was brought in first, where there are too many."""
    kept = sorted(came, key=lambda one: not one.brought)[:SHOWN_VALUES]
    shown = [one for one in came if one in kept]
    return grid(
        {"call": "call", "value": "value", "told": "where from"},
        [{"call": one.call.tool_name, "value": one.value, "told": one.told} for one in shown],
        [number for number, one in enumerate(shown) if one.brought],
    )


def _calls(reader: Reader, row: Row) -> list[str]:
    """Calls of its evidence; what a model's answer asked for is the call that follows it."""
    rows = reader.rows(
        "SELECT event_id FROM tacho.actions WHERE session_id IN {sessions:Array(String)}"
        " AND event_time >= {begin:DateTime64(6, 'UTC')}"
        " AND event_time <= {end:DateTime64(6, 'UTC')} + 5"
        " AND tool_name != '' ORDER BY event_time LIMIT 50",
        {"sessions": row["session_ids"], "begin": row["first_seen"],
         "end": row["last_seen"]},
    )  # fmt: skip
    return [str(one["event_id"]) for one in rows]


def _state(row: Row) -> Facts:
    """What is known of the agent at that moment; ids that stand elsewhere are left out."""
    elsewhere = {
        "snapshot_id", "tenant", "alert_id", "agent_id", "session_id", "principal_id",
        "last_actions", "missing",
    }  # fmt: skip
    state = {name: value for name, value in row["state"].items() if name not in elsewhere}
    return facts((name.replace("_", " "), value) for name, value in state.items())


def _elsewhere(reader: Reader, row: Row, came: list[Origin]) -> list[Row]:
    """Other agents that met the values which were brought in, in the day around the alert. Found by
    their words, so a value inside a longer word is not; copies of an action are not told apart, for
    who met a value met it in each.
    """
    brought = [value for value in brought_values(came) if any(map(str.isalnum, value))]
    values = brought[:SOUGHT_VALUES]
    if not values:
        return []
    # Each by itself: only so it is looked up in the indexes of words.
    met = " UNION ALL ".join(
        f"SELECT {{v{at}:String}} AS touched, agent_id, event_time FROM tacho.actions_data"  # noqa: S608 - our names
        f" WHERE hasAllTokens({text}, {{v{at}:String}}) AND position({text}, {{v{at}:String}}) > 0"
        " AND tenant = {tenant:String} AND agent_id NOT IN ('', {agent:String})"
        " AND event_time >= {begin:DateTime64(6, 'UTC')} - 86400"
        " AND event_time <= {begin:DateTime64(6, 'UTC')} + 86400"
        for at in range(len(values))
        for text in ("tool_args", "tool_result")
    )
    return reader.rows(
        "SELECT 'value' AS touched_type, touched, uniqExact(agent_id) AS agents,"  # noqa: S608 - our names
        " uniqExactIf(agent_id, alerted) AS with_alerts,"
        " arraySlice(arraySort(groupUniqArrayIf(agent_id, alerted)), 1, 2) AS some,"
        " min(event_time) AS since FROM (SELECT touched, agent_id, event_time,"
        f" agent_id IN (SELECT agent_id FROM tacho.alerts) AS alerted FROM ({met}))"
        " GROUP BY touched ORDER BY indexOf({values:Array(String)}, touched)",
        {"values": values, "tenant": row["tenant"], "agent": row["agent_id"],
         "begin": row["first_seen"], **{f"v{at}": value for at, value in enumerate(values)}},
    )  # fmt: skip


def _else(reader: Reader, row: Row, came: list[Origin]) -> list[Block]:
    seen = [one["value"] for one in row["observables"] if one["type"] != "agent"]
    rows = reader.rows(
        "SELECT touched_type, touched, count() AS agents, countIf(has_alerts) AS with_alerts,"
        " arraySlice(arraySort(groupArrayIf(agent_id, has_alerts)), 1, 2) AS some,"
        " min(first_seen) AS since FROM tacho.who_else"
        " WHERE tenant = {tenant:String} AND touched IN {seen:Array(String)}"
        " AND agent_id != {agent:String} GROUP BY touched_type, touched"
        " ORDER BY with_alerts DESC, agents DESC LIMIT 12",
        {"tenant": row["tenant"], "seen": seen, "agent": row["agent_id"]},
    )
    others = alerts(
        reader,
        "tenant = {tenant:String} AND alert_id != {id:String} AND"
        " (agent_id = {agent:String} OR hasAny(session_ids, {sessions:Array(String)})"
        " OR (principal_id = {principal:String} AND principal_id != ''))",
        tenant=row["tenant"], id=row["alert_id"], agent=row["agent_id"],
        sessions=row["session_ids"], principal=row["principal_id"],
    )  # fmt: skip
    return [
        grid(
            {"touched_type": "kind", "touched": "touched", "agents": "other agents",
             "with_alerts": "with alerts", "some": "of these", "since": "since"},
            [*_elsewhere(reader, row, came), *rows],
        ),
        others.grid,
    ]  # fmt: skip


def _todo(reader: Reader, row: Row, came: list[Origin]) -> list[Block]:
    short = row["alert_id"][:SHORT_ID]
    team = f" ({row['owner_team']})" if row["owner_team"] else ""
    steps = [f"{row['runbook']}{team}"] if row["runbook"] else []
    agent = _word(row["agent_id"])
    steps += [f"tacho session {_word(one)}" for one in row["session_ids"][:2]]
    if row["agent_id"]:
        steps += [f"tacho agent {agent}", f"tacho query blast-radius -p agent={agent}"]
    if row["incident_reasons"]:
        steps.append(f"tacho incident {row['incident_id'][:SHORT_ID]}")
    followed = brought_values(came)[:SHOWN_JOURNEYS]
    steps += [f"tacho query value-journey -p value={_word(one)}" for one in followed]
    closing = "--disposition true_positive|false_positive|benign|duplicate --note '…'"
    steps.append(f"tacho alert close {short} {closing}")
    return [_TOLD.of(reader, id=row["alert_id"]), Lines(steps)]


def _word(text: str) -> str:
    """Text of anybody in a command that a person copies into a shell: it must stay one word."""
    return shlex.quote(ask.plain(text))


def _unseen(reader: Reader, row: Row) -> Lines:
    state_missing = [f"state: {one}" for one in row["state"].get("missing", [])]
    partial = ["the witness was capped: it is not all that was judged"]
    return Lines(
        [
            *row["blind_spots"],
            *(partial if row["witness"].get("partial") else []),
            *ask.lost(reader, row["tenant"], row["first_seen"], row["last_seen"]),
            *state_missing,
        ]
    )
