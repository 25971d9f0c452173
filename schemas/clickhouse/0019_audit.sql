-- What people did and looked at, at the door, as they stand in Kafka.
-- Append-only, keyed by the place in Kafka; nothing expires here by itself.
CREATE TABLE IF NOT EXISTS tacho.audit_log ${on_cluster}
(
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'whose data it was' CODEC(ZSTD(1)),
    `by` String COMMENT 'who; as who they said they were, when refused' CODEC(ZSTD(1)),
    `action` LowCardinality(String) COMMENT 'what was done' CODEC(ZSTD(1)),
    `subject` String COMMENT 'alert, session, agent, incident, alerts …: what kind it was' CODEC(ZSTD(1)),
    `name` String COMMENT 'which one; of a list, what was asked for' CODEC(ZSTD(1)),
    `detail` String COMMENT 'the verdict, who was assigned' CODEC(ZSTD(1)),
    `address` String COMMENT 'from where' CODEC(ZSTD(1)),
    `at` DateTime64(6, 'UTC') COMMENT 'when [UTC]' CODEC(Delta(8), ZSTD(1)),
    `record` String COMMENT 'exact bytes of the record as they stand in Kafka' CODEC(ZSTD(3)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1)),
    `log_cluster` LowCardinality(String) COMMENT 'cluster whose log it is' CODEC(ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (log_topic, log_partition, log_offset, log_cluster)
SETTINGS non_replicated_deduplication_window = 100
COMMENT 'What people did and looked at, at the door, as they stand in Kafka.';

-- What people did and looked at, at the door, each once.
CREATE OR REPLACE VIEW tacho.audit ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data it was',
    `by` String COMMENT 'who; as who they said they were, when refused',
    `action` LowCardinality(String) COMMENT 'what was done',
    `subject` String COMMENT 'alert, session, agent, incident, alerts …: what kind it was',
    `name` String COMMENT 'which one; of a list, what was asked for',
    `detail` String COMMENT 'the verdict, who was assigned',
    `address` String COMMENT 'from where',
    `at` DateTime64(6, 'UTC') COMMENT 'when [UTC]',
    `log_topic` LowCardinality(String) COMMENT 'topic of the record',
    `log_partition` Int64 COMMENT 'partition of the record',
    `log_offset` Int64 COMMENT 'offset of the record',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `tenant`,
    `by`,
    `action`,
    `subject`,
    `name`,
    `detail`,
    `address`,
    `at`,
    `log_topic`,
    `log_partition`,
    `log_offset`,
    `stored_at`
FROM tacho.audit_log FINAL
COMMENT 'What people did and looked at, at the door, each once.';
