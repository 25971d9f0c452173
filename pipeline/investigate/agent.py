"""The page of one agent: who it is, what it does, its pace beside its usual, and its alerts."""

from typing import Final

from tachograph.pipeline.investigate.ask import OF_AGENT, OF_AGENT_OR_NONE, Row
from tachograph.pipeline.investigate.page import Facts, Page, Section, facts, period
from tachograph.pipeline.investigate.tables import Table, alerts
from tachograph.pipeline.investigate.usual import beside_its_usual
from tachograph.pipeline.query.reader import Reader

_TOUCHED: Final = Table(
    "SELECT touched_type, touched, sum(actions) AS n, sum(not_done) AS no,"  # noqa: S608 - our own names
    " min(first_seen) AS since, max(last_seen) AS until FROM tacho.blast_radius"
    f" WHERE {OF_AGENT_OR_NONE} GROUP BY touched_type, touched"
    " ORDER BY touched_type, n DESC, touched LIMIT 80",
    {"touched_type": "kind", "touched": "what", "n": "actions", "no": "not done",
     "since": "first", "until": "last"},
)  # fmt: skip
_RATES: Final = Table(
    "SELECT minute, actions, usual, times_usual, not_done, tools, tokens, bytes_out"
    " FROM tacho.agent_rates WHERE agent_id = {id:String}"
    " ORDER BY actions DESC, minute LIMIT 5",
    {"minute": "minute", "actions": "actions", "usual": "usual", "times_usual": "times usual",
     "not_done": "not done", "tools": "tools", "tokens": "tokens", "bytes_out": "bytes out"},
)  # fmt: skip
_DIRECTIVES: Final = Table(
    "SELECT issued_at, kind, if(answer = '', 'none yet', answer) AS answer, reason, alert_id"
    " FROM tacho.directives WHERE agent_id = {id:String} ORDER BY issued_at DESC LIMIT 10",
    {"issued_at": "told at", "kind": "what", "answer": "answer", "reason": "why",
     "alert_id": "alert"},
)  # fmt: skip
_SESSIONS: Final = Table(
    "SELECT session_id, min(event_time) AS began, count() AS actions,"  # noqa: S608 - our own names
    " countIf(outcome IN ('failed', 'denied')) AS not_done,"
    " arrayFilter(t -> t != '', groupUniqArray(6)(tool_name)) AS tools"
    f" FROM tacho.actions WHERE {OF_AGENT} AND session_id != ''"
    " GROUP BY session_id ORDER BY began DESC, session_id LIMIT 10",
    {"session_id": "session", "began": "began", "actions": "actions", "not_done": "not done",
     "tools": "tools"},
)  # fmt: skip


def page(reader: Reader, agent_id: str) -> Page:
    """The page. Raises Refused, RetryLater."""
    row = _about(reader, agent_id)
    alerted = alerts(reader, "agent_id = {id:String}", id=agent_id)
    return Page(
        kind="agent",
        id=agent_id,
        title=row["name"] or agent_id,
        severity=alerted.gravest,
        sections=[
            Section("Who it is", [_facts(row)]),
            Section("Alerts", [alerted.grid], "none"),
            Section("What it touches", [_TOUCHED.of(reader, id=agent_id)], "nothing with a name"),
            Section("Beside its usual", [*beside_its_usual(reader, agent_id)], "not known yet"),
            Section("Busiest minutes", [_RATES.of(reader, id=agent_id)]),
            Section("Newest state", [_state(reader, agent_id)], "none was captured or published"),
            Section("Directives", [_DIRECTIVES.of(reader, id=agent_id)], "it was told nothing"),
            Section("Newest sessions", [_SESSIONS.of(reader, id=agent_id)]),
        ],
    )


def _about(reader: Reader, agent_id: str) -> Row:
    newest = (
        "agent_name", "agent_version", "agent_framework", "agent_owner", "agent_purpose",
        "agent_privilege_tier", "service_name", "environment", "host_name", "parent_agent_id",
        "agent_prompt_hash",
    )  # fmt: skip
    chosen = ", ".join(f"argMaxIf({one}, event_time, {one} != '') AS {one}" for one in newest)
    [row] = reader.rows(
        f"SELECT {chosen}, any(tenant) AS tenant, min(event_time) AS began,"  # noqa: S608 - our names
        " max(event_time) AS ended, count() AS actions, uniqExact(session_id) AS sessions,"
        " countIf(outcome IN ('failed', 'denied')) AS not_done,"
        " groupUniqArray(5)(toString(assurance)) AS assurance,"
        " countIf(identity_mismatch) AS mismatches,"
        " arrayFilter(p -> p != '', groupUniqArray(10)(principal_id)) AS principals,"
        " arrayFilter(m -> m != '', groupUniqArray(5)(model_name)) AS models,"
        " sum(ifNull(usage_input_tokens, 0) + ifNull(usage_output_tokens, 0)) AS tokens,"
        " countIf(late) AS late"
        f" FROM tacho.actions WHERE {OF_AGENT}",
        {"id": agent_id},
    )
    return row | {"name": row["agent_name"]}


def _facts(row: Row) -> Facts:
    mismatch = f", {row['mismatches']} by someone who may not speak for it"
    return facts(
        [
            ("service", row["service_name"]),
            ("version", row["agent_version"]),
            ("framework", row["agent_framework"]),
            ("owner", row["agent_owner"]),
            ("purpose", row["agent_purpose"]),
            ("privilege tier", row["agent_privilege_tier"]),
            ("environment", row["environment"]),
            ("host", row["host_name"]),
            ("started by", row["parent_agent_id"]),
            ("acts for", row["principals"]),
            ("models", row["models"]),
            ("identity", f"{', '.join(row['assurance'])}"
             f"{mismatch if int(row['mismatches']) else ''}"),
            ("seen", period(row["began"], row["ended"])),
            ("actions", f"{row['actions']} in {row['sessions']} sessions,"
             f" {row['not_done']} failed or denied, {row['late']} late"),
            ("tokens", row["tokens"]),
        ]
    )  # fmt: skip


def _state(reader: Reader, agent_id: str) -> Facts:
    rows = reader.rows(
        "SELECT * FROM tacho.agent_state WHERE agent_id = {id:String}"
        " ORDER BY taken_at DESC, completeness DESC LIMIT 1",
        {"id": agent_id},
    )
    elsewhere = {"tenant", "agent_id", "last_actions", "stored_at"}
    pairs = [(name.replace("_", " "), value) for row in rows for name, value in row.items()
             if name not in elsewhere]  # fmt: skip
    return facts(pairs)
