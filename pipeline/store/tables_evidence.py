"""The tables of evidence: leaves over the logs, and the signed heads of the trees they make.

Neither is trusted by who verifies: heads stand in a topic and a file as well, and are signed.
"""

import pyarrow as pa

from tachograph.pipeline.store.columns import TIME_ARROW, TIME_TYPE, Column
from tachograph.pipeline.store.ddl import CLUSTER, PLACE, STORED_AT, Table, View

_TOPIC, _PARTITION, _OFFSET = PLACE
INDEX = Column("leaf_index", "Int64", pa.int64(), "Delta(8), ZSTD(1)", "place in the tree, from 0")
UNTIL = Column(
    "log_until", "Int64", pa.int64(), "Delta(8), ZSTD(1)", "offset after those of the leaf"
)
KIND = Column(
    "kind", "LowCardinality(String)", pa.string(), "ZSTD(1)",
    "record; gone: the notary came too late; refused: no record of this topic",
)  # fmt: skip
LEAF = Column("leaf", "String", pa.string(), "ZSTD(1)", "hash of the leaf, hex")
SIGNED_AT = Column("signed_at", TIME_TYPE, TIME_ARROW, "Delta(8), ZSTD(1)", "when [UTC]")
TREE_HEAD = [
    Column("size", "Int64", pa.int64(), "Delta(8), ZSTD(1)", "leaves of the tree"),
    Column("root", "String", pa.string(), "ZSTD(1)", "root hash, hex"),
    Column(
        "next_offset", "Int64", pa.int64(), "Delta(8), ZSTD(1)", "offsets before it are covered"
    ),
    SIGNED_AT,
    Column("key_id", "LowCardinality(String)", pa.string(), "ZSTD(1)", "key of the signature"),
    Column("record", "String", pa.string(), "ZSTD(3)", "the signed head, JSON"),
]

LEAVES_LOG = Table(
    "leaves_log",
    """Leaves of the evidence trees, in their order; read tacho.leaves instead.
They stay when the payloads go: an alert that was kept elsewhere can still be proved.""",
    [CLUSTER, _TOPIC, _PARTITION, INDEX, KIND, _OFFSET, UNTIL, LEAF, STORED_AT],
    "ReplacingMergeTree",
    "(log_cluster, log_topic, log_partition, leaf_index)",
    expires=False,
    settings=("non_replicated_deduplication_window = 100",),
)
LEAVES = View(
    "leaves",
    "Leaves of the evidence trees, each once.",
    LEAVES_LOG.columns,
    "FROM tacho.leaves_log FINAL",
)
TREE_HEADS_LOG = Table(
    "tree_heads_log",
    """Signed heads of the evidence trees; read tacho.tree_heads instead.
A copy: those that count stand in the topic agent.tree_heads and in the notary's file.""",
    [CLUSTER, _TOPIC, _PARTITION, *TREE_HEAD, STORED_AT],
    "ReplacingMergeTree",
    "(log_cluster, log_topic, log_partition, size, signed_at)",
    expires=False,
    settings=("non_replicated_deduplication_window = 100",),
)
TREE_HEADS = View(
    "tree_heads",
    "Signed heads of the evidence trees, each once.",
    TREE_HEADS_LOG.columns,
    "FROM tacho.tree_heads_log FINAL",
)
HOLDS_LOG = Table(
    "holds_log",
    """Words on legal holds, as said on agent.config; read tacho.holds instead.""",
    [
        Column("name", "String", pa.string(), "ZSTD(1)", "what the hold is called"),
        Column("at", TIME_TYPE, TIME_ARROW, "Delta(8), ZSTD(1)", "when it was said [UTC]"),
        Column("by", "String", pa.string(), "ZSTD(1)", "who said it"),
        Column("released", "Bool", pa.bool_(), "ZSTD(1)", "the hold is over"),
        Column("reason", "String", pa.string(), "ZSTD(1)", "why"),
        Column("record", "String", pa.string(), "ZSTD(3)", "the word itself, JSON"),
        STORED_AT,
    ],
    "ReplacingMergeTree",
    "(name, at, released)",
    expires=False,
    settings=("non_replicated_deduplication_window = 100",),
)
HOLDS = View(
    "holds",
    "Legal holds that last: each once.",
    HOLDS_LOG.columns,
    """FROM
(
    SELECT * FROM tacho.holds_log FINAL ORDER BY at DESC, released DESC LIMIT 1 BY name
)
WHERE NOT released""",
)
