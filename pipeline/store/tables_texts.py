"""Which text came to which agent in which hour: answers of tools, and what was said to agents.

Who asks which text came to many reads no texts: a text is a number of 44 bits here, an agent and
its key are one name, and so are an hour and its roll-up, for names that recur take a byte a row.
Hours note by themselves whether they are rolled up here, so that those of before are made up for,
and are read from the actions until then.
"""

from tachograph.pipeline.store.columns import Column
from tachograph.pipeline.store.ddl import STORED_AT, Table, View
from tachograph.pipeline.store.tables_rollups import FEW, TENANT, column, others, state

# How the roll-up is noted in tacho.hours_data.
NOTED = "texts"
OTHERS = others(NOTED)
# Shorter ones ("ok", "no results") come to everybody. By its size, so that no text is read for it;
# where nobody told the size the text counts.
MORE_THAN_BYTES = 40
HASH = "if(tool_result_hash != '', tool_result_hash, content_hash)"
CAME = (
    f"(if(tool_result_hash != '', ifNull(tool_result_bytes, {MORE_THAN_BYTES + 1}),"
    f" ifNull(content_bytes, {MORE_THAN_BYTES + 1})) > {MORE_THAN_BYTES}"
    f" AND (tool_result_hash != '' OR content_direction = 'in' AND content_hash != ''))"
)
# Millions of texts a day: two have one number about once in three days.
TEXT = f"bitShiftRight(cityHash64(tenant, {HASH}), 20)"
_HOUR = "toStartOfHour(event_time)"
# The hour that `rolled` names [s].
NAMED_HOUR = "toUInt32(extract(rolled, '^[0-9]+'))"


def hour_named(hour: str, rolled_to: str) -> str:
    """An hour and its roll-up as one name."""
    return (
        f"concat(toString(toUnixTimestamp({hour})), ' ',"
        f" toString(toUnixTimestamp64Micro({rolled_to})))"
    )


def known(noted: str) -> str:
    """The condition on `rolled` of rows that count."""
    return (
        f"rolled IN (SELECT {hour_named('one.1', 'one.2')}"  # noqa: S608 - our own text
        f" FROM (SELECT arrayJoin(tupleElement({state(noted)}, 1)) AS one))"
    )


_DAY = column("day", "DateTime('UTC')", "the day of the actions [UTC]")
_TEXT = column(
    "text", "UInt64", "bitShiftRight(cityHash64(tenant, hash of the text), 20)", "Delta(8), ZSTD(1)"
)
_WRITTEN = {
    "day": f"toStartOfDay({_HOUR})",
    "text": TEXT,
    # No hexadecimal digit is a space, whatever an agent calls itself.
    "who": "concat(hex(partition_key), ' ', agent_id)",
    # Expires with its day: the hour of each row would take as much room as the agent.
    "stored_at": "toDateTime(toStartOfDay(a.stored_at) + toIntervalDay(1), 'UTC')",
}
TEXTS_DATA = Table(
    "texts_data",
    """Which text came to which agent in an hour; read tacho.texts_by_hour instead.
Only rows whose rolled is that of their hour count. Rows stay until the end of their last day.""",
    [
        TENANT,
        _DAY,
        _TEXT,
        column("who", FEW, "the key of the agent (hexadecimal) and its id"),
        column("rolled", FEW, "the hour [s], and until when what was stored is counted [µs]"),
        STORED_AT,
    ],
    "ReplacingMergeTree",
    "(tenant, day, text, who, rolled)",
)

_SHOWN = [
    TENANT,
    _DAY,
    column("hour", "DateTime('UTC')", "the hour of the actions [UTC]"),
    _TEXT,
    column("agent_id", FEW, "agent to whom it came"),
    column("partition_key", FEW, "key under which the actions lie"),
]
_OF_ROLLED = {
    "hour": f"toDateTime({NAMED_HOUR}, 'UTC')",
    "agent_id": "extract(who, '(?s)^[0-9A-F]* (.*)')",
    "partition_key": "unhex(extract(who, '^[0-9A-F]*'))",
}
_OF_ACTIONS = {
    "day": _WRITTEN["day"],
    "hour": _HOUR,
    "text": TEXT,
    "agent_id": "toLowCardinality(agent_id)",
    "partition_key": "toLowCardinality(partition_key)",
}


def texts(columns: list[Column], which: str, more: dict[str, str]) -> str:
    """The query that rolls up the texts of hours of which `which` is true; `more`: `rolled_to`.
    Copies of a row are merged where they are stored.
    """
    said = {**_WRITTEN, "rolled": hour_named(_HOUR, more["rolled_to"])}
    return _actions(columns, said, which)


def _actions(columns: list[Column], said: dict[str, str], which: str) -> str:
    chosen = ", ".join(f"{said.get(one.name, f'a.{one.name}')} AS {one.name}" for one in columns)
    return (
        f"SELECT {chosen}\n    FROM tacho.actions_data AS a FINAL\n"  # noqa: S608 - our own text
        f"    WHERE twin_of = '' AND {_HOUR} {which} AND {CAME}"
    )


def _rolled() -> str:
    chosen = ", ".join(f"{_OF_ROLLED.get(one.name, one.name)} AS {one.name}" for one in _SHOWN)
    return f"SELECT {chosen}\n    FROM tacho.{TEXTS_DATA.name}\n    WHERE {known(NOTED)}"  # noqa: S608


TEXTS_BY_HOUR = View(
    "texts_by_hour",
    """Which text came to which agent in which hour, of more than 40 bytes; rows may repeat.
Filter by day and hour. A text is a number: that of its tenant and hash.""",
    _SHOWN,
    f"FROM\n(\n    {_rolled()}\n    UNION ALL\n    {_actions(_SHOWN, _OF_ACTIONS, OTHERS)}\n)",
)
