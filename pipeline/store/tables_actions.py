"""The tables of actions, of what links them, and of signals."""

import pyarrow as pa

from tachograph.pipeline.store.columns import Column, columns_of
from tachograph.pipeline.store.ddl import PLACE, STORED_AT, Table, View
from tachograph.pipeline.store.twins import Report, SameAs
from tachograph.schemas.action import Action
from tachograph.schemas.alert import Signal
from tachograph.schemas.records import SessionLink

PARTITIONS = 32
ACTION = columns_of(Action)
SIGNAL = columns_of(Signal)
SHORT_TEXT = "ZSTD(1)"

# A report that knows more wins (links applied, twins found); among equals the one received first.
# 49 bits hold the milliseconds of any year up to 9999; what is known stands above them.
FIRST_RECEIVED = "toUInt64(281474976710656 - toUnixTimestamp64Milli(observed_time))"
FOLDED = [
    Column(
        "report_ids", "Array(String)", pa.list_(pa.string()), SHORT_TEXT,
        "event ids of all reports of this action, earliest first",
    ),
    Column(
        "report_sources", "Array(LowCardinality(String))", pa.list_(pa.string()), SHORT_TEXT,
        "who reported this action, in the order of report_ids",
    ),
    Column(
        "session_linked", "Bool", pa.bool_(), SHORT_TEXT,
        "session_id was learned from a later record about the same trace",
    ),
]  # fmt: skip
INNER = [
    Column(
        "twin_of", "String", pa.string(), SHORT_TEXT,
        "event id of the row that shows this action; empty when it is this one",
    ),
    Column(
        "twins_known", "UInt16", pa.uint16(), SHORT_TEXT,
        "reports of this action that were known when this copy was written",
    ),
    Column(
        "fields_linked", "UInt8", pa.uint8(), SHORT_TEXT,
        "fields of this copy that were learned from links",
    ),
    Column(
        "row_version", "UInt64", pa.uint64(), SHORT_TEXT,
        "which copy of the row holds: the highest", FIRST_RECEIVED,
    ),
]  # fmt: skip


def _bloom(column: str) -> str:
    # A session is a few actions: a filter that is wrong for one block of a hundred finds mostly
    # blocks without it, and FINAL reads beside each all that may hold another copy.
    return f"of_{column} {column} TYPE bloom_filter(0.0001) GRANULARITY 1"


def _words(column: str) -> str:
    tokens = f"tokenizer = 'splitByNonAlpha', preprocessor = lower({column})"
    return f"words_of_{column} {column} TYPE text({tokens})"


ACTIONS_DATA = Table(
    "actions_data",
    """Every report of an action, under the key that its id fixes; read tacho.actions instead.
Sorted and partitioned only by what event_id fixes (tenant, partition key, time), so that a repeated
record always meets its copy and FINAL may work in each partition by itself. Partition: week number
modulo 32, so that events dated 1970 or 2099 cannot make thousands of partitions; each partition
still knows its least and greatest time, so a time range reads only its weeks. Sort: an agent's
actions lie together in time. Skip indexes for what analysts pivot on: agent, session, trace, tool,
event id, principal, credential, address; word indexes (lower case) for arguments, results, content
and command lines. Retention goes by stored_at, which no agent can choose.""",
    [*ACTION, *FOLDED, *INNER, STORED_AT],
    "ReplacingMergeTree(row_version)",
    "(tenant, partition_key, event_time, event_id)",
    partition_by=f"toRelativeWeekNum(event_time, 'UTC') % {PARTITIONS}",
    indexes=(
        "by_event_time event_time TYPE minmax GRANULARITY 1",
        "by_stored_at stored_at TYPE minmax GRANULARITY 1",
        *map(_words, ("tool_args", "tool_result", "content_text", "process_command_line")),
        *map(_bloom, ("event_id", "agent_id", "session_id", "trace_id", "twin_key", "tool_name")),
        *map(_bloom, ("principal_id", "credential_id", "credential_fingerprint", "target_ip")),
    ),
    settings=(
        "min_bytes_for_wide_part = 134217728",
        "nullable_serialization_version = 'allow_sparse'",
        "string_serialization_version = 'single_stream'",
        "auto_statistics_types = ''",
        "non_replicated_deduplication_window = 1000",
    ),
)

ACTIONS = View(
    "actions",
    """What agents did: each action once, under its conversation, with all who reported it.
Links between a trace and its conversation and between two reports of one action are folded into the
rows by the store stage when they arrive; so this view joins nothing, and a filter on any column
reaches the indexes.""",
    [*ACTION, *FOLDED, STORED_AT],
    "FROM tacho.actions_data FINAL\nWHERE twin_of = ''",
    {
        "report_ids": "if(empty(report_ids), [event_id], report_ids)",
        "report_sources": "if(empty(report_sources), [if(source_id = '', source_kind, source_id)],"
        " report_sources)",
    },
)

SESSION_LINKS_DATA = Table(
    "session_links_data",
    """What was said about traces: conversation, agent, principal; read tacho.session_links instead.
Every different statement is kept with the lowest offset it was made at, because the first word in
the log holds. Sorted by trace: the store stage asks for the traces of a batch.""",
    [
        *columns_of(SessionLink),
        *PLACE,
        Column(
            "row_version", "UInt64", pa.uint64(), SHORT_TEXT,
            "which copy of the row holds: the highest, so the lowest offset",
            "toUInt64(9223372036854775807 - log_offset)",
        ),
        STORED_AT,
    ],
    "ReplacingMergeTree(row_version)",
    "(tenant, trace_id, partition_key, session_id, agent_id, agent_name, principal_id)",
)  # fmt: skip
SESSION_LINKS = View(
    "session_links",
    """Which conversation, agent and principal a trace belongs to, each trace once.
Of each the first word in the log holds, as it does in the detectors.""",
    [*columns_of(SessionLink), STORED_AT],
    "FROM tacho.session_links_data AS l FINAL\nGROUP BY tenant, trace_id, partition_key",
    {
        "session_id": "argMin(l.session_id, l.log_offset)",
        "agent_id": "argMinIf(l.agent_id, l.log_offset, l.agent_id != '')",
        "agent_name": "argMinIf(l.agent_name, l.log_offset, l.agent_name != '')",
        "principal_id": "argMinIf(l.principal_id, l.log_offset, l.principal_id != '')",
        "observed_time": "min(l.observed_time)",
        "stored_at": "min(l.stored_at)",
    },
)

SAME_AS_DATA = Table(
    "same_as_data",
    """Pairs of event ids that report one action.
Sorted by twin key, because the store stage asks for all reports of one action.""",
    [*columns_of(SameAs), *PLACE, STORED_AT],
    "ReplacingMergeTree",
    "(tenant, twin_key, event_id, same_as)",
)
SAME_AS = View(
    "same_as",
    "Pairs of event ids that report one action, each pair once.",
    [*columns_of(SameAs), STORED_AT],
    "FROM tacho.same_as_data FINAL",
)

TWIN_REPORTS_DATA = Table(
    "twin_reports_data",
    """Reports that may be of one action, while several store processes each read some of them.
Every process writes its own, then looks up those of the others: who comes second sees the first.
Sorted and indexed for that look-up; of use for as long as a second report may come.""",
    [*columns_of(Report), STORED_AT],
    "ReplacingMergeTree",
    "(tenant, twin_key, partition_key, event_id)",
    expires=False,
    hours=2,
    settings=("index_granularity = 512", "non_replicated_deduplication_window = 1000"),
)

SIGNALS_DATA = Table(
    "signals_data",
    """Every revision of a signal until it is merged away; read tacho.signals instead.
Sorted by what signal_id fixes (tenant, rule). Not partitioned by time: a late arrival may move a
signal's time, and then two revisions would lie in two partitions and never meet.""",
    [*SIGNAL, *PLACE, STORED_AT],
    "ReplacingMergeTree(revision)",
    "(tenant, rule_id, signal_id)",
    indexes=(
        "by_event_time event_time TYPE minmax GRANULARITY 1",
        *map(_bloom, ("signal_id", "entity", "agent_id", "session_id", "trace_id")),
    ),
)
SIGNALS = View(
    "signals",
    """What detectors say: each signal once, at its newest revision; retracted ones are not shown.
What a model says that is only tried stands in tacho.shadow_signals.""",
    [*SIGNAL, STORED_AT],
    "FROM tacho.signals_data FINAL\nWHERE change != 'retracted' AND NOT shadow",
)
SHADOW_SIGNALS = View(
    "shadow_signals",
    "What a model in the shadow would have said; nobody is alerted by it.",
    [*SIGNAL, STORED_AT],
    "FROM tacho.signals_data FINAL\nWHERE change != 'retracted' AND shadow",
)
