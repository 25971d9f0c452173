-- What was said about traces: conversation, agent, principal; read tacho.session_links instead.
-- Every different statement is kept with the lowest offset it was made at, because the first word in
-- the log holds. Sorted by trace: the store stage asks for the traces of a batch.
CREATE TABLE IF NOT EXISTS tacho.session_links_data ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `partition_key` String COMMENT 'partition key of the trace\'s actions' CODEC(ZSTD(1)),
    `trace_id` String COMMENT 'trace' CODEC(ZSTD(1)),
    `session_id` String COMMENT 'conversation' CODEC(ZSTD(1)),
    `agent_id` String COMMENT 'agent, if named' CODEC(ZSTD(1)),
    `agent_name` String COMMENT 'agent\'s name, if named' CODEC(ZSTD(1)),
    `principal_id` String COMMENT 'principal, if named' CODEC(ZSTD(1)),
    `observed_time` DateTime64(6, 'UTC') COMMENT 'when it was learned [UTC]' CODEC(Delta(8), ZSTD(1)),
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `row_version` UInt64 DEFAULT toUInt64(9223372036854775807 - log_offset) COMMENT 'which copy of the row holds: the highest, so the lowest offset' CODEC(ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree(row_version)
ORDER BY (tenant, trace_id, partition_key, session_id, agent_id, agent_name, principal_id)
TTL stored_at + toIntervalDay(${days})
COMMENT 'What was said about traces: conversation, agent, principal; read tacho.session_links instead.';

-- Which conversation, agent and principal a trace belongs to, each trace once.
-- Of each the first word in the log holds, as it does in the detectors.
CREATE OR REPLACE VIEW tacho.session_links ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `partition_key` String COMMENT 'partition key of the trace\'s actions',
    `trace_id` String COMMENT 'trace',
    `session_id` String COMMENT 'conversation',
    `agent_id` String COMMENT 'agent, if named',
    `agent_name` String COMMENT 'agent\'s name, if named',
    `principal_id` String COMMENT 'principal, if named',
    `observed_time` DateTime64(6, 'UTC') COMMENT 'when it was learned [UTC]',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `tenant`,
    `partition_key`,
    `trace_id`,
    argMin(l.session_id, l.log_offset) AS `session_id`,
    argMinIf(l.agent_id, l.log_offset, l.agent_id != '') AS `agent_id`,
    argMinIf(l.agent_name, l.log_offset, l.agent_name != '') AS `agent_name`,
    argMinIf(l.principal_id, l.log_offset, l.principal_id != '') AS `principal_id`,
    min(l.observed_time) AS `observed_time`,
    min(l.stored_at) AS `stored_at`
FROM tacho.session_links_data AS l FINAL
GROUP BY tenant, trace_id, partition_key
COMMENT 'Which conversation, agent and principal a trace belongs to, each trace once.';

-- Pairs of event ids that report one action.
-- Sorted by twin key, because the store stage asks for all reports of one action.
CREATE TABLE IF NOT EXISTS tacho.same_as_data ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `partition_key` String COMMENT 'partition key of both' CODEC(ZSTD(1)),
    `twin_key` String COMMENT 'hash of tenant, trace and call or response id' CODEC(ZSTD(1)),
    `event_id` String COMMENT 'one report' CODEC(ZSTD(1)),
    `same_as` String COMMENT 'the other report' CODEC(ZSTD(1)),
    `observed_time` DateTime64(6, 'UTC') COMMENT 'when it was learned [UTC]' CODEC(Delta(8), ZSTD(1)),
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (tenant, twin_key, event_id, same_as)
TTL stored_at + toIntervalDay(${days})
COMMENT 'Pairs of event ids that report one action.';

-- Pairs of event ids that report one action, each pair once.
CREATE OR REPLACE VIEW tacho.same_as ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `partition_key` String COMMENT 'partition key of both',
    `twin_key` String COMMENT 'hash of tenant, trace and call or response id',
    `event_id` String COMMENT 'one report',
    `same_as` String COMMENT 'the other report',
    `observed_time` DateTime64(6, 'UTC') COMMENT 'when it was learned [UTC]',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `tenant`,
    `partition_key`,
    `twin_key`,
    `event_id`,
    `same_as`,
    `observed_time`,
    `stored_at`
FROM tacho.same_as_data FINAL
COMMENT 'Pairs of event ids that report one action, each pair once.';
