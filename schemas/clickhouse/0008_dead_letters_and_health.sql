-- Input that could not be used; read tacho.dead_letters instead.
-- Keyed by where the input was, so that a stage that refuses it again after a restart adds no row.
-- Holds a redacted excerpt and the hash: the original bytes stay in Kafka.
CREATE TABLE IF NOT EXISTS tacho.dead_letters_data ${on_cluster}
(
    `topic` String COMMENT 'where it was' CODEC(ZSTD(1)),
    `partition` Int64 COMMENT 'partition' CODEC(ZSTD(1)),
    `offset` Int64 COMMENT 'offset' CODEC(Delta(8), ZSTD(1)),
    `index` Nullable(Int64) COMMENT 'item inside the record, when one item is bad' CODEC(ZSTD(1)),
    `stage` LowCardinality(String) COMMENT 'who refused it' CODEC(ZSTD(1)),
    `reason` String COMMENT 'class of the fault: truncated, mistyped, too_large …' CODEC(ZSTD(1)),
    `detail` String COMMENT 'what is wrong and what to do, for a person' CODEC(ZSTD(1)),
    `source` String COMMENT 'source, for limits per source' CODEC(ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `observed_time` DateTime64(6, 'UTC') COMMENT 'when it was received [UTC]' CODEC(Delta(8), ZSTD(1)),
    `sha256` String COMMENT 'hash of the original bytes' CODEC(ZSTD(1)),
    `size_bytes` Int64 COMMENT 'size of the original [bytes]' CODEC(ZSTD(1)),
    `headers` Map(String, String) COMMENT 'headers of the original' CODEC(ZSTD(1)),
    `item` Int64 DEFAULT -1 COMMENT 'index, or -1: part of the key' CODEC(ZSTD(1)),
    `excerpt` String COMMENT 'beginning of the input, redacted' CODEC(ZSTD(3)),
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1)),
    INDEX by_observed_time observed_time TYPE minmax GRANULARITY 1
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (tenant, topic, partition, offset, item, stage, sha256)
TTL stored_at + toIntervalDay(${days})
COMMENT 'Input that could not be used; read tacho.dead_letters instead.';

-- Input that could not be used, and why: each once.
CREATE OR REPLACE VIEW tacho.dead_letters ${on_cluster}
(
    `topic` String COMMENT 'where it was',
    `partition` Int64 COMMENT 'partition',
    `offset` Int64 COMMENT 'offset',
    `index` Nullable(Int64) COMMENT 'item inside the record, when one item is bad',
    `stage` LowCardinality(String) COMMENT 'who refused it',
    `reason` String COMMENT 'class of the fault: truncated, mistyped, too_large …',
    `detail` String COMMENT 'what is wrong and what to do, for a person',
    `source` String COMMENT 'source, for limits per source',
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `observed_time` DateTime64(6, 'UTC') COMMENT 'when it was received [UTC]',
    `sha256` String COMMENT 'hash of the original bytes',
    `size_bytes` Int64 COMMENT 'size of the original [bytes]',
    `headers` Map(String, String) COMMENT 'headers of the original',
    `excerpt` String COMMENT 'beginning of the input, redacted',
    `log_topic` LowCardinality(String) COMMENT 'topic of the record',
    `log_partition` Int64 COMMENT 'partition of the record',
    `log_offset` Int64 COMMENT 'offset of the record',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `topic`,
    `partition`,
    `offset`,
    `index`,
    `stage`,
    `reason`,
    `detail`,
    `source`,
    `tenant`,
    `observed_time`,
    `sha256`,
    `size_bytes`,
    `headers`,
    `excerpt`,
    `log_topic`,
    `log_partition`,
    `log_offset`,
    `stored_at`
FROM tacho.dead_letters_data FINAL
COMMENT 'Input that could not be used, and why: each once.';

-- How stages, destinations and sources were; read tacho.health instead.
CREATE TABLE IF NOT EXISTS tacho.health_data ${on_cluster}
(
    `component` LowCardinality(String) COMMENT 'stage, destination or source' CODEC(ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'for whom' CODEC(ZSTD(1)),
    `status` LowCardinality(String) COMMENT 'verdict' CODEC(ZSTD(1)),
    `at` DateTime64(6, 'UTC') COMMENT 'when [UTC]' CODEC(Delta(8), ZSTD(1)),
    `watermark` Nullable(DateTime64(6, 'UTC')) COMMENT 'event time reached [UTC]' CODEC(Delta(8), ZSTD(1)),
    `lag` Nullable(Int64) COMMENT 'records not read yet [records]' CODEC(ZSTD(1)),
    `sources` Map(String, Int64) COMMENT 'source to actions seen since the last record' CODEC(ZSTD(1)),
    `drops` Map(String, Int64) COMMENT 'reason to count since start' CODEC(ZSTD(1)),
    `detail` String COMMENT 'what a person should know' CODEC(ZSTD(1)),
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (tenant, component, at, log_partition, log_offset)
TTL stored_at + toIntervalDay(${days})
COMMENT 'How stages, destinations and sources were; read tacho.health instead.';

-- How stages, destinations and sources were, each report once.
CREATE OR REPLACE VIEW tacho.health ${on_cluster}
(
    `component` LowCardinality(String) COMMENT 'stage, destination or source',
    `tenant` LowCardinality(String) COMMENT 'for whom',
    `status` LowCardinality(String) COMMENT 'verdict',
    `at` DateTime64(6, 'UTC') COMMENT 'when [UTC]',
    `watermark` Nullable(DateTime64(6, 'UTC')) COMMENT 'event time reached [UTC]',
    `lag` Nullable(Int64) COMMENT 'records not read yet [records]',
    `sources` Map(String, Int64) COMMENT 'source to actions seen since the last record',
    `drops` Map(String, Int64) COMMENT 'reason to count since start',
    `detail` String COMMENT 'what a person should know',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `component`,
    `tenant`,
    `status`,
    `at`,
    `watermark`,
    `lag`,
    `sources`,
    `drops`,
    `detail`,
    `stored_at`
FROM tacho.health_data FINAL
COMMENT 'How stages, destinations and sources were, each report once.';
