"""Conditions and lifetimes that holds and classes of data come to in ClickHouse. Pure."""

from collections.abc import Iterable

from tachograph.pipeline.retention.holds import Held
from tachograph.pipeline.store.columns import quoted

# Table that expires → its columns that a held alert, agent, or session of a held alert is found by.
HELD_BY: dict[str, tuple[str, ...]] = {
    "actions_data": ("agent_id", "session_id"),
    "denials_data": ("agent_id", "session_id"),
    "signals_data": ("agent_id", "session_id"),
    "alerts_data": ("alert_id", "agent_id"),
    "agent_state_data": ("alert_id", "agent_id", "session_id"),
}
# Log → which of its records are held.
_LOGS: dict[str, str] = {
    "alerts_log": "alert_id IN {alerts} OR agent_id IN {agents}",
    "snapshots_log": "agent_id IN {agents} OR JSONExtractString(record, 'alert_id') IN {alerts}",
    "directives_log": "alert_id IN {alerts} OR agent_id IN {agents}",
    "acks_log": "agent_id IN {agents} OR directive_id IN"
    " (SELECT directive_id FROM tacho.directives_log WHERE alert_id IN {alerts})",
    "dispositions_log": "alert_id IN {alerts} OR alert_id IN"
    " (SELECT alert_id FROM tacho.alerts_log WHERE agent_id IN {agents})",
    "audit_log": "name IN {alerts} OR name IN {agents}",
}


def listed(ids: Iterable[str]) -> str:
    """Ids as a list of SQL; one that nobody has where there are none."""
    return f"({', '.join(map(quoted, ids)) or quoted('')})"


def lifetime(table: str, days: int, what: Held, sessions: Iterable[str]) -> str:
    """The TTL of a table: rows that are held stay beyond it."""
    ids = {"alert_id": what.alerts, "agent_id": what.agents, "session_id": tuple(sessions)}
    held = [f"{c} IN {listed(ids[c])}" for c in HELD_BY.get(table, ()) if ids[c]]
    ttl = f"stored_at + toIntervalDay({days})"
    return f"{ttl} DELETE WHERE NOT ({' OR '.join(held)})" if held else ttl


def held_in(log: str, what: Held) -> str:
    """The condition that a record of a log is held."""
    if not what.alerts and not what.agents:
        return "0"
    return f"({_LOGS[log].format(alerts=listed(what.alerts), agents=listed(what.agents))})"
