-- A place in the log is that of one cluster: another cluster counts its offsets anew.
ALTER TABLE tacho.alerts_log ${on_cluster} ADD COLUMN IF NOT EXISTS `log_cluster` LowCardinality(String) COMMENT 'cluster whose log it is' CODEC(ZSTD(1)), MODIFY ORDER BY (log_topic, log_partition, log_offset, log_cluster);
ALTER TABLE tacho.dispositions_log ${on_cluster} ADD COLUMN IF NOT EXISTS `log_cluster` LowCardinality(String) COMMENT 'cluster whose log it is' CODEC(ZSTD(1)), MODIFY ORDER BY (log_topic, log_partition, log_offset, log_cluster);
ALTER TABLE tacho.snapshots_log ${on_cluster} ADD COLUMN IF NOT EXISTS `log_cluster` LowCardinality(String) COMMENT 'cluster whose log it is' CODEC(ZSTD(1)), MODIFY ORDER BY (log_topic, log_partition, log_offset, log_cluster);
ALTER TABLE tacho.directives_log ${on_cluster} ADD COLUMN IF NOT EXISTS `log_cluster` LowCardinality(String) COMMENT 'cluster whose log it is' CODEC(ZSTD(1)), MODIFY ORDER BY (log_topic, log_partition, log_offset, log_cluster);
ALTER TABLE tacho.acks_log ${on_cluster} ADD COLUMN IF NOT EXISTS `log_cluster` LowCardinality(String) COMMENT 'cluster whose log it is' CODEC(ZSTD(1)), MODIFY ORDER BY (log_topic, log_partition, log_offset, log_cluster);

-- Leaves of the evidence trees, in their order; read tacho.leaves instead.
-- They stay when the payloads go: an alert that was kept elsewhere can still be proved.
CREATE TABLE IF NOT EXISTS tacho.leaves_log ${on_cluster}
(
    `log_cluster` LowCardinality(String) COMMENT 'cluster whose log it is' CODEC(ZSTD(1)),
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `leaf_index` Int64 COMMENT 'place in the tree, from 0' CODEC(Delta(8), ZSTD(1)),
    `kind` LowCardinality(String) COMMENT 'record; gone: the notary came too late; refused: no record of this topic' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `log_until` Int64 COMMENT 'offset after those of the leaf' CODEC(Delta(8), ZSTD(1)),
    `leaf` String COMMENT 'hash of the leaf, hex' CODEC(ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (log_cluster, log_topic, log_partition, leaf_index)
SETTINGS non_replicated_deduplication_window = 100
COMMENT 'Leaves of the evidence trees, in their order; read tacho.leaves instead.';

-- Leaves of the evidence trees, each once.
CREATE OR REPLACE VIEW tacho.leaves ${on_cluster}
(
    `log_cluster` LowCardinality(String) COMMENT 'cluster whose log it is',
    `log_topic` LowCardinality(String) COMMENT 'topic of the record',
    `log_partition` Int64 COMMENT 'partition of the record',
    `leaf_index` Int64 COMMENT 'place in the tree, from 0',
    `kind` LowCardinality(String) COMMENT 'record; gone: the notary came too late; refused: no record of this topic',
    `log_offset` Int64 COMMENT 'offset of the record',
    `log_until` Int64 COMMENT 'offset after those of the leaf',
    `leaf` String COMMENT 'hash of the leaf, hex',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `log_cluster`,
    `log_topic`,
    `log_partition`,
    `leaf_index`,
    `kind`,
    `log_offset`,
    `log_until`,
    `leaf`,
    `stored_at`
FROM tacho.leaves_log FINAL
COMMENT 'Leaves of the evidence trees, each once.';

-- Signed heads of the evidence trees; read tacho.tree_heads instead.
-- A copy: those that count stand in the topic agent.tree_heads and in the notary's file.
CREATE TABLE IF NOT EXISTS tacho.tree_heads_log ${on_cluster}
(
    `log_cluster` LowCardinality(String) COMMENT 'cluster whose log it is' CODEC(ZSTD(1)),
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `size` Int64 COMMENT 'leaves of the tree' CODEC(Delta(8), ZSTD(1)),
    `root` String COMMENT 'root hash, hex' CODEC(ZSTD(1)),
    `next_offset` Int64 COMMENT 'offsets before it are covered' CODEC(Delta(8), ZSTD(1)),
    `signed_at` DateTime64(6, 'UTC') COMMENT 'when [UTC]' CODEC(Delta(8), ZSTD(1)),
    `key_id` LowCardinality(String) COMMENT 'key of the signature' CODEC(ZSTD(1)),
    `record` String COMMENT 'the signed head, JSON' CODEC(ZSTD(3)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (log_cluster, log_topic, log_partition, size, signed_at)
SETTINGS non_replicated_deduplication_window = 100
COMMENT 'Signed heads of the evidence trees; read tacho.tree_heads instead.';

-- Signed heads of the evidence trees, each once.
CREATE OR REPLACE VIEW tacho.tree_heads ${on_cluster}
(
    `log_cluster` LowCardinality(String) COMMENT 'cluster whose log it is',
    `log_topic` LowCardinality(String) COMMENT 'topic of the record',
    `log_partition` Int64 COMMENT 'partition of the record',
    `size` Int64 COMMENT 'leaves of the tree',
    `root` String COMMENT 'root hash, hex',
    `next_offset` Int64 COMMENT 'offsets before it are covered',
    `signed_at` DateTime64(6, 'UTC') COMMENT 'when [UTC]',
    `key_id` LowCardinality(String) COMMENT 'key of the signature',
    `record` String COMMENT 'the signed head, JSON',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `log_cluster`,
    `log_topic`,
    `log_partition`,
    `size`,
    `root`,
    `next_offset`,
    `signed_at`,
    `key_id`,
    `record`,
    `stored_at`
FROM tacho.tree_heads_log FINAL
COMMENT 'Signed heads of the evidence trees, each once.';
