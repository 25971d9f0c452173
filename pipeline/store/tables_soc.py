"""The tables of alerts, captured state, control, health and dead letters, and the logs that
evidence rests on.
"""

import pyarrow as pa

from tachograph.pipeline.store.columns import Column, columns_of
from tachograph.pipeline.store.ddl import CLUSTER, PLACE, STORED_AT, Table, View
from tachograph.schemas.alert import Alert, StateSnapshot
from tachograph.schemas.records import (
    Access,
    DeadLetter,
    Directive,
    DirectiveAck,
    Disposition,
    Health,
)

ALERT = columns_of(Alert)
SNAPSHOT = columns_of(StateSnapshot)
DIRECTIVE = columns_of(Directive)
ACK = columns_of(DirectiveAck)
DISPOSITION = columns_of(Disposition)
ACCESS = columns_of(Access)
# The original bytes are raw class: they stay in Kafka.
DEAD_LETTER = [column for column in columns_of(DeadLetter) if column.name != "original"]

RECORD = Column(
    "record", "String", pa.binary(), "ZSTD(3)", "exact bytes of the record as they stand in Kafka"
)
LOG_WHY = """Append-only, keyed by the place in Kafka, with the exact bytes that the evidence is
checked against. Nothing expires here by itself: payloads are deleted with a signed note, never in
silence."""


def _bloom(column: str) -> str:
    return f"by_{column} {column} TYPE bloom_filter(0.01) GRANULARITY 1"


def _log(name: str, what: str, extracted: list[Column], why: str = LOG_WHY) -> Table:
    return Table(
        name,
        f"{what} as they stand in Kafka.\n{why}",
        [*PLACE, *extracted, RECORD, STORED_AT, CLUSTER],
        "ReplacingMergeTree",
        "(log_topic, log_partition, log_offset, log_cluster)",
        expires=False,
        settings=("non_replicated_deduplication_window = 100",),
    )


def _only(columns: list[Column], *names: str) -> list[Column]:
    return [column for column in columns if column.name in names]


ALERTS_LOG = _log(
    "alerts_log",
    "Alert records, every revision,",
    _only(ALERT, "tenant", "alert_id", "revision", "status", "severity", "agent_id", "updated_at"),
)
SNAPSHOTS_LOG = _log(
    "snapshots_log",
    "State snapshots",
    _only(SNAPSHOT, "tenant", "snapshot_id", "taken_at", "source", "agent_id", "session_id"),
)
DIRECTIVES_LOG = _log("directives_log", "Directives to agents and gateways", DIRECTIVE)
ACKS_LOG = _log("acks_log", "Answers to directives", ACK)
DISPOSITIONS_LOG = _log("dispositions_log", "What people said about alerts", DISPOSITION)
AUDIT_LOG = _log(
    "audit_log",
    "What people did and looked at, at the door,",
    ACCESS,
    "Append-only, keyed by the place in Kafka; nothing expires here by itself.",
)

ALERTS_DATA = Table(
    "alerts_data",
    """Every revision of an alert until it is merged away; read tacho.alerts instead.
Sorted by what alert_id fixes (tenant, entity), so one entity's alerts lie together.""",
    [*ALERT, *PLACE, STORED_AT],
    "ReplacingMergeTree(revision)",
    "(tenant, entity, alert_id)",
    indexes=(
        "by_last_seen last_seen TYPE minmax GRANULARITY 1",
        *map(_bloom, ("alert_id", "agent_id", "session_id")),
    ),
)
WORD = [
    Column("acted_by", "String", pa.string(), "", "who last said something about the alert"),
    Column("acted_at", "Nullable(DateTime64(6, 'UTC'))", pa.null(), "", "when that was [UTC]"),
    Column("note", "String", pa.string(), "", "the last note"),
]
RULE_IDS = Column("rule_ids", "Array(String)", pa.null(), "", "ids of the rules that fired")
ALERTS = View(
    "alerts",
    """What a SOC works on: each alert once, at its newest revision, with what people said about it.
Retracted ones are not shown; every revision is in tacho.alerts_log. Only what people wrote is
joined (few rows).""",
    [*ALERT, RULE_IDS, *WORD, STORED_AT],
    """FROM
(
    SELECT * FROM tacho.alerts_data FINAL WHERE status != 'retracted'
) AS a
LEFT JOIN
(
    SELECT
        tenant AS said_tenant,
        alert_id AS said_alert_id,
        argMaxIf(action, (at, log_offset), action IN ('close', 'reopen', 'acknowledge'))
            AS said_status,
        argMaxIf(d.disposition, (at, log_offset), d.disposition != '') AS said_disposition,
        argMaxIf(d.assignee, (at, log_offset), d.assignee != '') AS said_assignee,
        argMaxIf(d.note, (at, log_offset), d.note != '') AS said_note,
        argMax(by, (at, log_offset)) AS said_by,
        toNullable(max(at)) AS said_at
    FROM tacho.dispositions_log AS d FINAL
    GROUP BY tenant, alert_id
) AS said ON a.tenant = said.said_tenant AND a.alert_id = said.said_alert_id""",
    {
        "status": "transform(said_status, ['close', 'reopen', 'acknowledge'],"
        " ['closed', 'open', 'acknowledged'], a.status)",
        "disposition": "if(said_disposition != '', said_disposition, a.disposition)",
        "assignee": "if(said_assignee != '', said_assignee, a.assignee)",
        "rule_ids": "arrayMap(rule -> rule.rule_id, a.rules)",
        "acted_by": "said_by",
        "acted_at": "said_at",
        "note": "said_note",
    },
)
DISPOSITIONS = View(
    "dispositions",
    "What people said about alerts, each word once, in order.",
    [*DISPOSITION, *PLACE, STORED_AT],
    "FROM tacho.dispositions_log FINAL",
)
AUDIT = View(
    "audit",
    "What people did and looked at, at the door, each once.",
    [*ACCESS, *PLACE, STORED_AT],
    "FROM tacho.audit_log FINAL",
)

AGENT_STATE_DATA = Table(
    "agent_state_data",
    """Captured states of agents: published by agents, or travelling with an alert; read
    tacho.agent_state instead.
A state that travels with an alert has that alert's revision, so the newest one holds.""",
    [*SNAPSHOT,
     Column("revision", "UInt64", pa.uint64(), "ZSTD(1)", "orders the states of one snapshot_id"),
     *PLACE, STORED_AT],
    "ReplacingMergeTree(revision)",
    "(tenant, snapshot_id)",
    indexes=(
        "by_taken_at taken_at TYPE minmax GRANULARITY 1",
        *map(_bloom, ("agent_id", "session_id", "alert_id")),
    ),
)  # fmt: skip
AGENT_STATE = View(
    "agent_state",
    "What agents were at a moment: each captured state once.",
    [*SNAPSHOT, STORED_AT],
    "FROM tacho.agent_state_data FINAL",
)

ANSWERS = [
    Column("answer", "LowCardinality(String)", pa.null(), "", "newest answer; empty: none yet"),
    Column("answered_at", "Nullable(DateTime64(6, 'UTC'))", pa.null(), "", "when [UTC]"),
    Column("answer_detail", "String", pa.null(), "", "why it was refused"),
]
DIRECTIVES = View(
    "directives",
    "What agents and gateways were told, each directive once, with the newest answer.",
    [*DIRECTIVE, *ANSWERS, STORED_AT],
    """FROM
(
    SELECT * FROM tacho.directives_log FINAL
    ORDER BY log_topic, log_partition, log_offset LIMIT 1 BY tenant, directive_id
) AS told
LEFT JOIN
(
    SELECT
        tenant AS acked_tenant,
        directive_id AS acked_directive_id,
        argMax(status, (k.acked_at, log_offset)) AS answer,
        toNullable(max(k.acked_at)) AS answered_at,
        argMax(detail, (k.acked_at, log_offset)) AS answer_detail
    FROM tacho.acks_log AS k FINAL
    GROUP BY tenant, directive_id
) AS acked ON told.tenant = acked.acked_tenant AND told.directive_id = acked.acked_directive_id""",
)
ACKS = View(
    "acks",
    "Answers to directives, each answer once.",
    [*ACK, STORED_AT],
    """FROM
(
    SELECT * FROM tacho.acks_log FINAL
    ORDER BY log_topic, log_partition, log_offset
    LIMIT 1 BY tenant, directive_id, agent_id, status, acked_at
)""",
)

DEAD_LETTERS_DATA = Table(
    "dead_letters_data",
    """Input that could not be used; read tacho.dead_letters instead.
Keyed by where the input was, so that a stage that refuses it again after a restart adds no row.
Holds a redacted excerpt and the hash: the original bytes stay in Kafka.""",
    [*DEAD_LETTER,
     Column("item", "Int64", pa.int64(), "ZSTD(1)", "index, or -1: part of the key", "-1"),
     Column("excerpt", "String", pa.string(), "ZSTD(3)", "beginning of the input, redacted"),
     *PLACE, STORED_AT],
    "ReplacingMergeTree",
    "(tenant, topic, partition, offset, item, stage, sha256)",
    indexes=("by_observed_time observed_time TYPE minmax GRANULARITY 1",),
)  # fmt: skip
DEAD_LETTERS = View(
    "dead_letters",
    "Input that could not be used, and why: each once.",
    [*DEAD_LETTER, *_only(list(DEAD_LETTERS_DATA.columns), "excerpt"), *PLACE, STORED_AT],
    "FROM tacho.dead_letters_data FINAL",
)

HEALTH_DATA = Table(
    "health_data",
    """How stages, destinations and sources were; read tacho.health instead.""",
    [*columns_of(Health), *PLACE, STORED_AT],
    "ReplacingMergeTree",
    "(tenant, component, at, log_partition, log_offset)",
)
HEALTH = View(
    "health",
    "How stages, destinations and sources were, each report once.",
    [*columns_of(Health), STORED_AT],
    "FROM tacho.health_data FINAL",
)
