"""What pages ask ClickHouse for. Ids are given by a prefix that fits only one."""

from typing import Any, Literal

import msgspec

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.health import TURNED_AWAY
from tachograph.pipeline.investigate.origins import Turn
from tachograph.pipeline.query.reader import Reader, Values

Row = dict[str, Any]
MAX_TURNS = 2_000
MAX_EVENTS = 400

# Actions of one agent, and of one session, with the key and the times among which they are: else
# telling copies apart reads whole services. Exact: all copies of an action have its key and time,
# so a copy that was changed since only widens where is sought.
OF_TENANT = "tenant = {tenant:String}"
_AGENT = f"{OF_TENANT} AND agent_id = {{id:String}}"
_SESSION = f"{OF_TENANT} AND session_id = {{id:String}}"
OF_AGENT = (
    f"{_AGENT} AND partition_key IN"  # noqa: S608 - our own names
    f" (SELECT partition_key FROM tacho.actions_data WHERE {_AGENT})"
)
OF_SESSION = (
    f"{_SESSION} AND event_time BETWEEN"  # noqa: S608 - our own names
    f" (SELECT min(event_time) FROM tacho.actions_data WHERE {_SESSION})"
    f" AND (SELECT max(event_time) FROM tacho.actions_data WHERE {_SESSION})"
)

Kind = Literal["alert", "session", "agent"]
# Kind → where it is looked for, which column names it, and which shows a person what it is. Copies
# of an action are not told apart: an index finds the id, and FINAL would read all for a beginning.
_PLACES = {
    "alert": ("tacho.alerts", "alert_id", "title"),
    "session": ("tacho.actions_data", "session_id", "agent_id"),
    "agent": ("tacho.actions_data", "agent_id", "agent_name"),
}


class OfSeveral(ConfigError):
    """Several tenants have this session or agent."""


def one(reader: Reader, kind: Kind, prefix: str, tenant: str = "", *, whole: bool = False) -> str:
    """The id that is this or, unless it is `whole`, begins so, of one tenant or of any. Raises
    ConfigError when there is none, or more than one.
    """
    table, column, shown = _PLACES[kind]
    # A whole id is found by an index, its beginning only among all.
    if prefix and _tenants(reader, kind, prefix, tenant):
        return prefix
    if whole:
        raise ConfigError(_none(reader, kind, prefix))
    rows = reader.rows(
        f"SELECT {column} AS id, any({shown}) AS shown FROM {table}"  # noqa: S608 - our own names
        f" WHERE startsWith({column}, {{prefix:String}}) AND {column} != ''"
        f" AND {{tenant:String}} IN ('', tenant)"
        " GROUP BY id ORDER BY id LIMIT 6",
        {"prefix": prefix, "tenant": tenant},
    )
    if not rows:
        raise ConfigError(_none(reader, kind, prefix))
    if len(rows) > 1:
        several = "\n".join(f"  {plain(row['id'])}  {plain(row['shown'])}" for row in rows[:5])
        raise ConfigError(f"{plain(prefix)} begins several ids; say more of the one:\n{several}")
    return str(rows[0]["id"])


def whose(reader: Reader, kind: Kind, whole_id: str, tenant: str = "") -> str:
    """The tenant that has this. Ids of sessions and agents are their producers': raises OfSeveral
    when several have it, so that nothing of two is shown as one, and ConfigError when none has.
    """
    found = _tenants(reader, kind, whole_id, tenant)
    if not found:
        raise ConfigError(_none(reader, kind, whole_id))
    if len(found) > 1:
        several = "\n".join(f"  --tenant {plain(one)}" for one in found[:5])
        raise OfSeveral(
            f"{plain(whole_id)} is the {kind} of several tenants; say whose:\n{several}"
        )
    return found[0]


def _tenants(reader: Reader, kind: Kind, whole_id: str, tenant: str) -> list[str]:
    """Tenants that have this alert or an action of this session or agent; of one, if it has."""
    table, column, _ = _PLACES[kind]
    rows = reader.rows(
        f"SELECT DISTINCT tenant FROM {table} WHERE {column} = {{id:String}}"  # noqa: S608 - our own names
        f" AND {{tenant:String}} IN ('', tenant) ORDER BY tenant",
        {"id": whole_id, "tenant": tenant},
    )
    return [str(row["tenant"]) for row in rows]


def _none(reader: Reader, kind: Kind, prefix: str) -> str:
    if kind == "alert" and reader.rows(
        "SELECT 1 FROM tacho.alerts_log WHERE startsWith(alert_id, {prefix:String}) LIMIT 1",
        {"prefix": prefix},
    ):
        return f"alert {plain(prefix)} was retracted; every state of it is in tacho.alerts_log"
    hint = {
        "alert": "`tacho query alerts-open` lists alerts",
        "session": '`tacho query "SELECT DISTINCT session_id FROM tacho.actions"` lists sessions',
        "agent": "`tacho query agent-tools` lists agents",
    }[kind]
    return f"no {kind} begins with {plain(prefix)!r}; {hint}"


def plain(value: Any) -> str:
    """A value in a message: one line, no control characters."""
    return "".join(c if c.isprintable() else "·" for c in str(value))[:200]


def alert(reader: Reader, alert_id: str) -> Row:
    """The alert, with its captured state as an object."""
    [row] = reader.rows(
        "SELECT * FROM tacho.alerts WHERE alert_id = {id:String} LIMIT 1", {"id": alert_id}
    )
    row["state"] = msgspec.json.decode(row["state"]) if row["state"] else {}
    row["witness"] = msgspec.json.decode(row["witness"]) if row["witness"] else {}
    return row


def timeline(reader: Reader, where: str, values: Values) -> list[Row]:
    """Rows of the timeline, oldest first, at most so many."""
    return reader.rows(
        "SELECT time, what, kind, title, leftUTF8(detail, 400) AS detail, outcome, severity,"  # noqa: S608
        f" agent_id, id FROM tacho.agent_timeline WHERE {where}"
        f" ORDER BY time, what, id LIMIT {MAX_EVENTS}",
        values,
    )


def turns(reader: Reader, session_ids: list[str], tenant: str) -> list[Turn]:
    """The conversation of some sessions of a tenant, in order."""
    of = f"{OF_TENANT} AND session_id IN {{ids:Array(String)}}"
    rows = reader.rows(
        "SELECT time, part, speaker, text, tool_name, event_id FROM tacho.session_conversation"  # noqa: S608
        f" WHERE {of} AND time BETWEEN (SELECT min(event_time) FROM tacho.actions_data WHERE {of})"
        f" AND (SELECT max(event_time) FROM tacho.actions_data WHERE {of})"
        f" ORDER BY time, part LIMIT {MAX_TURNS}",
        {"ids": session_ids, "tenant": tenant},
    )
    return msgspec.convert(rows, list[Turn])


def lost(reader: Reader, tenant: str, begin: str, end: str) -> list[str]:
    """What was dropped, late or refused in the hours of a stretch of time. What a destination of
    `forward` was not sent is left out: it was seen all the same.
    """
    rows = reader.rows(
        "SELECT what, source, sum(count) AS n FROM tacho.dropped_or_late"
        " WHERE tenant = {tenant:String} AND hour >= toStartOfHour({begin:DateTime64(6, 'UTC')})"
        " AND hour <= {end:DateTime64(6, 'UTC')} AND NOT (startsWith(source, 'forward.')"
        " AND (startsWith(what, 'dropped: ') OR what = 'refused: refused'))"
        " GROUP BY what, source ORDER BY n DESC LIMIT 10",
        {"tenant": tenant, "begin": begin, "end": end},
    )
    return [_missed(row["what"], row["n"], row["source"]) for row in rows]


def _missed(what: str, count: int, source: str) -> str:
    if what == f"dropped: {TURNED_AWAY}":
        # Most who send do so again, as they are told to.
        return f"posts told to come again later (429): {count} by {source}, in these hours"
    return f"{what}: {count} from {source}, in these hours"
