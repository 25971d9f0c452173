"""The page of one agent: who it is, what it does, its pace beside its usual, and its alerts."""

from typing import Final

from tachograph.pipeline.investigate.ask import OF_AGENT, OF_TENANT, Row
from tachograph.pipeline.investigate.page import Facts, Grid, Page, Section, facts, grid, period
from tachograph.pipeline.investigate.tables import Table, alerts
from tachograph.pipeline.query.hunts import found
from tachograph.pipeline.query.reader import Reader, Values

# Of each kind, those touched most.
SHOWN_TOUCHED: Final = 12
_TOUCHED: Final = {
    "touched_type": "kind", "touched": "what", "actions": "actions", "not_done": "not done",
    "first_seen": "first", "last_seen": "last",
}  # fmt: skip
_RATES: Final = Table(
    "SELECT minute, actions, usual, times_usual, not_done, tools, tokens, bytes_out"  # noqa: S608 - our own names
    f" FROM tacho.agent_rates WHERE {OF_TENANT} AND agent_id = {{id:String}}"
    " ORDER BY actions DESC, minute LIMIT 5",
    {"minute": "minute", "actions": "actions", "usual": "usual", "times_usual": "times usual",
     "not_done": "not done", "tools": "tools", "tokens": "tokens", "bytes_out": "bytes out"},
)  # fmt: skip
_DIRECTIVES: Final = Table(
    "SELECT issued_at, kind, if(answer = '', 'none yet', answer) AS answer, reason, alert_id"  # noqa: S608 - our own names
    f" FROM tacho.directives WHERE {OF_TENANT} AND agent_id = {{id:String}}"
    " ORDER BY issued_at DESC LIMIT 10",
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


def page(reader: Reader, agent_id: str, tenant: str) -> Page:
    """The page. Raises Refused, RetryLater."""
    # Long to load, and a door that shows this page seldom asks for it.
    from tachograph.pipeline.investigate.usual import beside_its_usual

    of = {"id": agent_id, "tenant": tenant}
    row = _about(reader, of)
    alerted = alerts(reader, f"{OF_TENANT} AND agent_id = {{id:String}}", **of)
    return Page(
        kind="agent",
        id=agent_id,
        title=row["name"] or agent_id,
        severity=alerted.gravest,
        sections=[
            Section("Who it is", [_facts(row)]),
            Section("Alerts", [alerted.grid], "none"),
            Section("What it touches", [_touched(reader, of)], "nothing with a name"),
            Section(
                "Beside its usual", [*beside_its_usual(reader, agent_id, tenant)], "not known yet"
            ),
            Section("Busiest minutes", [_RATES.of(reader, **of)]),
            Section("Newest state", [_state(reader, of)], "none was captured or published"),
            Section("Directives", [_DIRECTIVES.of(reader, **of)], "it was told nothing"),
            Section("Newest sessions", [_SESSIONS.of(reader, **of)]),
        ],
    )


def _touched(reader: Reader, of: dict[str, str]) -> Grid:
    """What it touched most, of each kind; and of how many things, where there are more."""
    hunt = found("blast-radius")
    given = {one.name: one.default for one in hunt.parameters}
    given |= {"agent": of["id"], "tenant": of["tenant"], "each": str(SHOWN_TOUCHED)}
    rows = reader.rows(hunt.sql, given)
    told: list[Row] = []
    for at, row in enumerate(rows):
        told.append(row)
        last = at + 1 == len(rows) or rows[at + 1]["touched_type"] != row["touched_type"]
        more = int(row["different"]) - SHOWN_TOUCHED
        if last and more > 0:
            told.append({"touched_type": row["touched_type"], "touched": f"… {more:,} more"})
    return grid(_TOUCHED, [dict.fromkeys(_TOUCHED, "") | row for row in told])


def _about(reader: Reader, of: Values) -> Row:
    newest = (
        "agent_name", "agent_version", "agent_framework", "agent_owner", "agent_purpose",
        "agent_privilege_tier", "service_name", "environment", "host_name", "parent_agent_id",
        "agent_prompt_hash",
    )  # fmt: skip
    chosen = ", ".join(f"argMaxIf({one}, event_time, {one} != '') AS {one}" for one in newest)
    [row] = reader.rows(
        f"SELECT {chosen}, min(event_time) AS began,"  # noqa: S608 - our names
        " max(event_time) AS ended, count() AS actions, uniqExact(session_id) AS sessions,"
        " countIf(outcome IN ('failed', 'denied')) AS not_done,"
        " groupUniqArray(5)(toString(assurance)) AS assurance,"
        " countIf(identity_mismatch) AS mismatches,"
        " arrayFilter(p -> p != '', groupUniqArray(10)(principal_id)) AS principals,"
        " arrayFilter(m -> m != '', groupUniqArray(5)(model_name)) AS models,"
        " sum(ifNull(usage_input_tokens, 0) + ifNull(usage_output_tokens, 0)) AS tokens,"
        " countIf(late) AS late"
        f" FROM tacho.actions WHERE {OF_AGENT}",
        of,
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


def _state(reader: Reader, of: Values) -> Facts:
    rows = reader.rows(
        f"SELECT * FROM tacho.agent_state WHERE {OF_TENANT} AND agent_id = {{id:String}}"  # noqa: S608 - our own names
        " ORDER BY taken_at DESC, completeness DESC LIMIT 1",
        of,
    )
    elsewhere = {"tenant", "agent_id", "last_actions", "stored_at"}
    pairs = [(name.replace("_", " "), value) for row in rows for name, value in row.items()
             if name not in elsewhere]  # fmt: skip
    return facts(pairs)
