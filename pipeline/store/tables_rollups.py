"""Roll-ups: what was touched, by hour, and what agents did, by minute; and the views over them.

An hour of actions is rolled up when nothing was stored in it for a while, and anew whenever
something comes later. Whoever asks gets hours that are rolled up from the roll-up and all others
from the actions, so that an answer is always what the actions themselves would say. Which hours are
which is asked once a question, as one value: no hour is taken from both or from neither.
"""

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from tachograph.pipeline.store.columns import TIME_ARROW, TIME_TYPE, Column
from tachograph.pipeline.store.ddl import STORED_AT, Feed, Table, View
from tachograph.pipeline.store.touches import NOT_DONE, TOUCHES

PLAIN = "ZSTD(1)"
_CROPPED = "T64, ZSTD(1)"
_TIMES = "Delta(8), ZSTD(1)"
FEW = "LowCardinality(String)"
NOTHING: Mapping[str, str] = MappingProxyType({})


def column(name: str, kind: str, comment: str, codec: str = PLAIN) -> Column:
    """A column of what is made from other columns, and sent by nobody."""
    return Column(name, kind, pa.null(), codec, comment)


def _time(name: str, comment: str, codec: str = _TIMES) -> Column:
    return Column(name, TIME_TYPE, TIME_ARROW, codec, f"{comment} [UTC]")


TENANT = column("tenant", FEW, "whose data this is")
HOUR = column("hour", "DateTime('UTC')", "the hour of the actions [UTC]", "Delta(4), ZSTD(1)")
ROLLED_TO = _time("rolled_to", "all that was stored until then is counted")
WHAT = column(
    "what", FEW, "changed: an action was stored; rolled, texts, reached: all until then are counted"
)
AT = _time("at", "when")

HOURS_DATA = Table(
    "hours_data",
    """Which hours have actions, when they last changed, and up to when they are rolled up.
Written by tacho.hours_changed and by the store stage. Small, and without an end: an hour whose
actions have expired is one in which nothing is.""",
    [TENANT, HOUR, WHAT, AT, STORED_AT],
    "ReplacingMergeTree(at)",
    "(tenant, hour, what)",
    expires=False,
)
# The clock of the server, as stored_at is not: a row that is written again keeps that.
HOURS_CHANGED = Feed(
    "hours_changed",
    """Notes the hours of every insert into tacho.actions_data; a repetition changes nothing.""",
    [TENANT, HOUR, WHAT, AT],
    "hours_data",
    "SELECT tenant, toStartOfHour(event_time) AS hour, 'changed' AS what, now64(6, 'UTC') AS at\n"
    "FROM tacho.actions_data\nGROUP BY tenant, hour",
)

_HOUR_US = "toUnixTimestamp(hour) * 1000000"
COUNTED = [
    column("actions", "UInt64", "actions", _CROPPED),
    column("not_done", "UInt64", "of these, failed or denied", _CROPPED),
    column("bytes_out", "Int64", "data sent out by these actions [bytes]", _CROPPED),
]
TOUCHED = [
    TENANT,
    column("touched_type", FEW, "what kind of thing it is: tool, host, file …"),
    column("touched", "String", "what was touched; a secret by its fingerprint"),
    column("agent_id", "String", "agent"),
    HOUR, *COUNTED,
    _time("first_seen", "first of these actions"),
    _time("last_seen", "last of these actions"),
    column("first_tool", FEW, "tool of the first of these actions"),
    column("principal_ids", "Array(String)", "for whom, at most ten"),
    column("sessions", "Array(UInt64)", "the sessions, each as a number of 40 bits", _CROPPED),
]  # fmt: skip
_TIMES_SEEN = ("first_seen", "last_seen")
# Times as they are stored: the hour says most of them already, and an hour of one action has one.
_AFTER = [
    column("began_us", "Int64", "first of these actions, after the hour began [µs]", _CROPPED),
    column("took_us", "Int64", "from the first of these actions to the last [µs]"),
]
# Enough to tell ten thousand sessions of one thing apart; hours that were rolled up earlier have
# numbers of 48 bits, which end alike.
_SESSION_BITS = (1 << 40) - 1
SEEN = {
    "sessions": f"arrayMap(one -> bitAnd(one, {_SESSION_BITS}), sessions)",
    "first_seen": f"fromUnixTimestamp64Micro({_HOUR_US} + began_us, 'UTC')",
    "last_seen": f"fromUnixTimestamp64Micro({_HOUR_US} + began_us + took_us, 'UTC')",
}
_FEW_OF = {
    "agent_id": column("agent_id", FEW, "agent"),
    "principal_ids": column("principal_ids", f"Array({FEW})", "for whom, at most ten"),
    "hour": HOUR._replace(codec="GCD, T64, ZSTD(1)"),
}
TOUCHED_DATA = Table(
    "touched_data",
    """What each agent touched in an hour; read tacho.touches_by_hour instead.
Only rows whose rolled_to is that of their hour count. Sorted by what was touched. Most rows are of
few actions: no ids, and no more of times and sessions than tells them apart.""",
    [
        *(_FEW_OF.get(one.name, one) for one in TOUCHED if one.name not in _TIMES_SEEN),
        *_AFTER,
        ROLLED_TO,
        STORED_AT,
    ],
    "ReplacingMergeTree(rolled_to)",
    "(tenant, touched, touched_type, agent_id, hour)",
)
MINUTE = [
    TENANT,
    column("agent_id", "String", "agent"),
    HOUR,
    column("minute", "DateTime('UTC')", "the minute [UTC]", "Delta(4), ZSTD(1)"),
    *COUNTED,
    column("tools", "UInt64", "different tools", _CROPPED),
    column("sessions", "UInt64", "different sessions", _CROPPED),
    column("model_calls", "UInt64", "actions that tell of tokens", _CROPPED),
    column("tokens_in", "Int64", "tokens read [tokens]", _CROPPED),
    column("tokens_out", "Int64", "tokens written [tokens]", _CROPPED),
    column("cost_usd", "Float64", "what they cost [USD]"),
    column("model_name", FEW, "a model of these calls"),
]
MINUTES_DATA = Table(
    "minutes_data",
    """What each agent did in a minute; read tacho.agent_minutes instead.
Only rows whose rolled_to is that of their hour count.""",
    [*MINUTE, ROLLED_TO, STORED_AT],
    "ReplacingMergeTree(rolled_to)",
    "(tenant, agent_id, minute)",
)

_OWN_TOKENS = "(usage_input_tokens IS NOT NULL OR usage_output_tokens IS NOT NULL)"
_TOUCHED_BY = {
    "touched_type": "touch.1",
    "touched": "touch.2",
    "hour": "toStartOfHour(event_time)",
    "actions": "count()",
    "not_done": f"countIf({NOT_DONE})",
    "bytes_out": "sum(ifNull(tool_bytes_out, 0))",
    "first_seen": "min(event_time)",
    "last_seen": "max(event_time)",
    "first_tool": "argMin(tool_name, (event_time, event_id))",
    "principal_ids": "groupUniqArrayIf(10)(principal_id, principal_id != '')",
    "sessions": f"groupUniqArray(bitAnd(cityHash64(session_id), {_SESSION_BITS}))",
    "began_us": f"min(toUnixTimestamp64Micro(event_time)) - {_HOUR_US}",
    "took_us": "max(toUnixTimestamp64Micro(event_time)) - min(toUnixTimestamp64Micro(event_time))",
}
_MINUTE_BY = {
    "hour": "toStartOfHour(event_time)",
    "minute": "toStartOfMinute(event_time)",
    "actions": "count()",
    "not_done": f"countIf({NOT_DONE})",
    "bytes_out": "sum(ifNull(tool_bytes_out, 0))",
    "tools": "uniqExactIf(tool_name, tool_name != '')",
    "sessions": "uniqExact(session_id)",
    "model_calls": f"countIf({_OWN_TOKENS})",
    "tokens_in": "sum(ifNull(usage_input_tokens, 0))",
    "tokens_out": "sum(ifNull(usage_output_tokens, 0))",
    "cost_usd": f"sumIf(ifNull(usage_cost_usd, 0), {_OWN_TOKENS})",
    "model_name": f"maxIf(model_name, {_OWN_TOKENS})",
}
NOTED = "rolled"


def state(noted: str) -> str:
    """(hours of which roll-ups are `noted`, each with its rolled_to; hours that are not): one value
    a question.
    """
    return f"""(SELECT (groupArrayIf((hour, rolled_to), rolled_to >= changed_at),
        groupArrayIf(hour, rolled_to < changed_at))
    FROM (SELECT hour, maxIf(at, what = '{noted}') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour))"""  # noqa: S608 - our own text


def others(noted: str) -> str:
    """The condition on hours that are in no roll-up of what is `noted`."""
    return f"IN (SELECT arrayJoin(tupleElement({state(noted)}, 2)))"


STATE = state(NOTED)
_ROLLED = f"(hour, rolled_to) IN (SELECT arrayJoin(tupleElement({STATE}, 1)))"
OTHERS = others(NOTED)


def touches(
    columns: list[Column],
    which: str,
    more: dict[str, str] | None = None,
    *,
    touched: str = TOUCHES,
    by: str = "agent_id, hour",
) -> str:
    """The query that rolls up what was touched in hours of which `which` is true; `touched`: what
    counts as such; `by`: for each of what.
    """
    join = f"ARRAY JOIN {touched} AS touch"
    group = f"tenant, touch, {by}"
    return _rolling(columns, {**_TOUCHED_BY, **(more or {})}, join, which, group)


def minutes(columns: list[Column], which: str, more: dict[str, str] | None = None) -> str:
    """The query that rolls up what agents did in hours of which `which` is true."""
    return _rolling(
        columns, {**_MINUTE_BY, **(more or {})}, "", which, "tenant, agent_id, hour, minute"
    )


def _rolling(columns: list[Column], said: dict[str, str], join: str, which: str, group: str) -> str:
    inner = ", ".join(f"{said.get(one.name, one.name)} AS {one.name}" for one in columns)
    join = f"    {join}\n" if join else ""
    return (
        f"SELECT {inner}\n    FROM tacho.actions_data AS a FINAL\n{join}"  # noqa: S608 - our text
        f"    WHERE twin_of = '' AND toStartOfHour(event_time) {which}\n    GROUP BY {group}"
    )


def either(
    table: Table,
    columns: list[Column],
    others: str,
    computed: Mapping[str, str] = SEEN,
    rolled: str = _ROLLED,
) -> str:
    """Where a view takes its rows from: hours that are rolled up from the table, `others` from the
    actions. `rolled`: which rows of the table count.
    """
    shown = ", ".join(
        f"{computed[one.name]} AS {one.name}" if one.name in computed else one.name
        for one in columns
    )
    return (
        f"FROM\n(\n    SELECT {shown}\n    FROM tacho.{table.name}\n"  # noqa: S608 - our own text
        f"    WHERE {rolled}\n    UNION ALL\n    {others}\n)"
    )


TOUCHES_BY_HOUR = View(
    "touches_by_hour",
    """What each agent touched in each hour: rolled up where nothing comes any more.
Filter by touched. Sessions are told apart by a number: uniqExactArray(sessions) counts them.""",
    TOUCHED,
    either(TOUCHED_DATA, TOUCHED, touches(TOUCHED, OTHERS)),
)
AGENT_MINUTES = View(
    "agent_minutes",
    """What each agent did in each minute: rolled up where nothing comes any more.""",
    MINUTE,
    either(MINUTES_DATA, MINUTE, minutes(MINUTE, OTHERS), NOTHING),
)
