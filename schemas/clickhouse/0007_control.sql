-- Directives to agents and gateways as they stand in Kafka.
-- Append-only, keyed by the place in Kafka, with the exact bytes that the evidence is
-- checked against. Nothing expires here by itself: payloads are deleted with a signed note, never in
-- silence.
CREATE TABLE IF NOT EXISTS tacho.directives_log ${on_cluster}
(
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `directive_id` String COMMENT 'id; receivers ignore known ones' CODEC(ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'whose agent this is' CODEC(ZSTD(1)),
    `kind` LowCardinality(String) COMMENT 'what to do' CODEC(ZSTD(1)),
    `agent_id` String COMMENT 'whom it concerns; the record\'s key' CODEC(ZSTD(1)),
    `session_id` String COMMENT 'limits it to one session' CODEC(ZSTD(1)),
    `scope` Map(String, String) COMMENT 'limits it further: tool, target …' CODEC(ZSTD(1)),
    `alert_id` String COMMENT 'alert that caused it' CODEC(ZSTD(1)),
    `reason` String COMMENT 'why, in a sentence' CODEC(ZSTD(1)),
    `issued_at` DateTime64(6, 'UTC') COMMENT 'issue by the pipeline\'s clock [UTC]' CODEC(Delta(8), ZSTD(1)),
    `expires_at` DateTime64(6, 'UTC') COMMENT 'ignored from then on [UTC]' CODEC(Delta(8), ZSTD(1)),
    `dry_run` Bool COMMENT 'report what would be done, do nothing' CODEC(ZSTD(1)),
    `key_id` String COMMENT 'key of the signature' CODEC(ZSTD(1)),
    `signature` String COMMENT 'Ed25519 over the canonical record, base64' CODEC(ZSTD(1)),
    `record` String COMMENT 'exact bytes of the record as they stand in Kafka' CODEC(ZSTD(3)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (log_topic, log_partition, log_offset)
SETTINGS non_replicated_deduplication_window = 100
COMMENT 'Directives to agents and gateways as they stand in Kafka.';

-- Answers to directives as they stand in Kafka.
-- Append-only, keyed by the place in Kafka, with the exact bytes that the evidence is
-- checked against. Nothing expires here by itself: payloads are deleted with a signed note, never in
-- silence.
CREATE TABLE IF NOT EXISTS tacho.acks_log ${on_cluster}
(
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `directive_id` String COMMENT 'the directive; the record\'s key' CODEC(ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'whose agent this is' CODEC(ZSTD(1)),
    `agent_id` String COMMENT 'who answers' CODEC(ZSTD(1)),
    `status` LowCardinality(String) COMMENT 'what became of it' CODEC(ZSTD(1)),
    `acked_at` DateTime64(6, 'UTC') COMMENT 'when [UTC]' CODEC(Delta(8), ZSTD(1)),
    `detail` String COMMENT 'why it was refused' CODEC(ZSTD(1)),
    `record` String COMMENT 'exact bytes of the record as they stand in Kafka' CODEC(ZSTD(3)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (log_topic, log_partition, log_offset)
SETTINGS non_replicated_deduplication_window = 100
COMMENT 'Answers to directives as they stand in Kafka.';

-- What agents and gateways were told, each directive once, with the newest answer.
CREATE OR REPLACE VIEW tacho.directives ${on_cluster}
(
    `directive_id` String COMMENT 'id; receivers ignore known ones',
    `tenant` LowCardinality(String) COMMENT 'whose agent this is',
    `kind` LowCardinality(String) COMMENT 'what to do',
    `agent_id` String COMMENT 'whom it concerns; the record\'s key',
    `session_id` String COMMENT 'limits it to one session',
    `scope` Map(String, String) COMMENT 'limits it further: tool, target …',
    `alert_id` String COMMENT 'alert that caused it',
    `reason` String COMMENT 'why, in a sentence',
    `issued_at` DateTime64(6, 'UTC') COMMENT 'issue by the pipeline\'s clock [UTC]',
    `expires_at` DateTime64(6, 'UTC') COMMENT 'ignored from then on [UTC]',
    `dry_run` Bool COMMENT 'report what would be done, do nothing',
    `key_id` String COMMENT 'key of the signature',
    `signature` String COMMENT 'Ed25519 over the canonical record, base64',
    `answer` LowCardinality(String) COMMENT 'newest answer; empty: none yet',
    `answered_at` Nullable(DateTime64(6, 'UTC')) COMMENT 'when [UTC]',
    `answer_detail` String COMMENT 'why it was refused',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `directive_id`,
    `tenant`,
    `kind`,
    `agent_id`,
    `session_id`,
    `scope`,
    `alert_id`,
    `reason`,
    `issued_at`,
    `expires_at`,
    `dry_run`,
    `key_id`,
    `signature`,
    `answer`,
    `answered_at`,
    `answer_detail`,
    `stored_at`
FROM
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
) AS acked ON told.tenant = acked.acked_tenant AND told.directive_id = acked.acked_directive_id
COMMENT 'What agents and gateways were told, each directive once, with the newest answer.';

-- Answers to directives, each answer once.
CREATE OR REPLACE VIEW tacho.acks ${on_cluster}
(
    `directive_id` String COMMENT 'the directive; the record\'s key',
    `tenant` LowCardinality(String) COMMENT 'whose agent this is',
    `agent_id` String COMMENT 'who answers',
    `status` LowCardinality(String) COMMENT 'what became of it',
    `acked_at` DateTime64(6, 'UTC') COMMENT 'when [UTC]',
    `detail` String COMMENT 'why it was refused',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `directive_id`,
    `tenant`,
    `agent_id`,
    `status`,
    `acked_at`,
    `detail`,
    `stored_at`
FROM
(
    SELECT * FROM tacho.acks_log FINAL
    ORDER BY log_topic, log_partition, log_offset
    LIMIT 1 BY tenant, directive_id, agent_id, status, acked_at
)
COMMENT 'Answers to directives, each answer once.';
