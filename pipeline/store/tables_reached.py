"""What each agent touched in an hour, for whom and with which credential: the roll-up of what was
touched once more, sorted by who did it, so that what somebody touched is read and nothing else.

Most rows are of one action. So an hour and its roll-up are one name, as in tables_texts.py, and
what rows in a row have in common takes next to nothing. Hours note by themselves whether they are
rolled up here: those of before are made up for, and are read from the actions until then.
"""

from tachograph.pipeline.store.columns import Column
from tachograph.pipeline.store.ddl import STORED_AT, Table, View
from tachograph.pipeline.store.tables_rollups import (
    FEW,
    TOUCHED,
    TOUCHED_DATA,
    column,
    either,
    others,
    touches,
)
from tachograph.pipeline.store.tables_texts import NAMED_HOUR, hour_named, known
from tachograph.pipeline.store.touches import CREDENTIAL

# How the roll-up is noted in tacho.hours_data.
NOTED = "reached"
_OF_TABLE = {one.name: one for one in TOUCHED_DATA.columns}
_SHOWN_TOO = {one.name: one for one in TOUCHED}
# Of the type that they have among the actions: where a view joins both, a condition on a column
# that is cast reaches no index.
_WHO = [
    _OF_TABLE["tenant"],
    column("agent_id", "String", "agent"),
    column("principal_id", "String", "human or workload acted for"),
    column("credential", "String", "credential used: its id, else its fingerprint"),
    column("partition_key", FEW, "key under which the actions lie"),
]
_WHAT = [_OF_TABLE[name] for name in ("touched_type", "touched")]
_COUNTED = [_OF_TABLE[name] for name in ("actions", "not_done", "bytes_out")]
_HOUR = "toStartOfHour(event_time)"
_BY = f"agent_id, principal_id, credential, partition_key, {_HOUR}"
_WRITTEN = {
    "credential": CREDENTIAL,
    "began_us": f"min(toUnixTimestamp64Micro(event_time)) - toUnixTimestamp({_HOUR}) * 1000000",
}

REACHED_DATA = Table(
    "reached_data",
    """What each agent touched in an hour, for whom; read tacho.touches_by_agent instead.
Only rows whose rolled is that of their hour count. Sorted by who did it, with skip indexes for whom
and with what. Rows stay until the end of their last day.""",
    [
        *_WHO, *_WHAT,
        column("rolled", FEW, "the hour [s], and until when what was stored is counted [µs]"),
        *_COUNTED, _OF_TABLE["began_us"], _OF_TABLE["took_us"], STORED_AT,
    ],
    "ReplacingMergeTree",
    "(tenant, agent_id, principal_id, credential, partition_key, touched_type, touched, rolled)",
    indexes=tuple(
        f"of_{name} {name} TYPE bloom_filter(0.0001) GRANULARITY 1"
        for name in ("principal_id", "credential")
    ),
)  # fmt: skip

_SHOWN: list[Column] = [
    *_WHO, *_WHAT,
    *(_SHOWN_TOO[name] for name in
      ("hour", "actions", "not_done", "bytes_out", "first_seen", "last_seen")),
]  # fmt: skip
_BEGAN = f"toInt64({NAMED_HOUR}) * 1000000 + began_us"
_OF_ROLLED = {
    "hour": f"toDateTime({NAMED_HOUR}, 'UTC')",
    "first_seen": f"fromUnixTimestamp64Micro({_BEGAN}, 'UTC')",
    "last_seen": f"fromUnixTimestamp64Micro({_BEGAN} + took_us, 'UTC')",
}


def reached(columns: list[Column], which: str, more: dict[str, str]) -> str:
    """The query that rolls up who touched what in hours of which `which` is true; `more`:
    `rolled_to` and `stored_at`.
    """
    said = {
        **_WRITTEN,
        "rolled": hour_named(_HOUR, more["rolled_to"]),
        "stored_at": f"toDateTime(toStartOfDay({more['stored_at']}) + toIntervalDay(1), 'UTC')",
    }
    return touches(columns, which, said, by=_BY)


TOUCHES_BY_AGENT = View(
    "touches_by_agent",
    """What each agent touched in each hour, for whom and with what: rolled up where nothing comes.
Filter by agent_id, principal_id or credential.""",
    _SHOWN,
    either(
        REACHED_DATA,
        _SHOWN,
        touches(_SHOWN, others(NOTED), {"credential": CREDENTIAL}, by=_BY),
        _OF_ROLLED,
        known(NOTED),
    ),
)
