-- Captured states of agents: published by agents, or travelling with an alert; read
--     tacho.agent_state instead.
-- A state that travels with an alert has that alert's revision, so the newest one holds.
CREATE TABLE IF NOT EXISTS tacho.agent_state_data ${on_cluster}
(
    `snapshot_id` String COMMENT 'id of the snapshot' CODEC(ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `taken_at` DateTime64(6, 'UTC') COMMENT 'moment described [UTC]' CODEC(Delta(8), ZSTD(1)),
    `source` LowCardinality(String) COMMENT 'who took it' CODEC(ZSTD(1)),
    `alert_id` String COMMENT 'alert it stands with' CODEC(ZSTD(1)),
    `directive_id` String COMMENT 'capture request it answers' CODEC(ZSTD(1)),
    `agent_id` String COMMENT 'agent described' CODEC(ZSTD(1)),
    `agent_instance_id` String COMMENT 'instance described' CODEC(ZSTD(1)),
    `agent_version` LowCardinality(String) COMMENT 'version of the agent' CODEC(ZSTD(1)),
    `session_id` String COMMENT 'session described' CODEC(ZSTD(1)),
    `principal_id` String COMMENT 'principal acted for' CODEC(ZSTD(1)),
    `last_actions` Array(Map(String, String)) COMMENT 'last actions of the session, oldest first' CODEC(ZSTD(1)),
    `goals` Array(String) COMMENT 'goals or plan, if published' CODEC(ZSTD(1)),
    `memory` Map(String, String) COMMENT 'memory keys and values or hashes' CODEC(ZSTD(1)),
    `tools` Map(String, String) COMMENT 'tool to definition hash' CODEC(ZSTD(1)),
    `policies` Map(String, String) COMMENT 'policy to version in force' CODEC(ZSTD(1)),
    `approvals` Array(String) COMMENT 'approvals in force' CODEC(ZSTD(1)),
    `model` Map(String, String) COMMENT 'model, provider and settings' CODEC(ZSTD(1)),
    `credentials` Map(String, String) COMMENT 'credential fingerprint to scopes' CODEC(ZSTD(1)),
    `delegation_chain` Array(String) COMMENT 'from the root to this agent' CODEC(ZSTD(1)),
    `open_calls` Array(String) COMMENT 'calls without a result yet' CODEC(ZSTD(1)),
    `usage` Map(String, Float64) COMMENT 'tokens and cost so far' CODEC(ZSTD(1)),
    `system_prompt_hash` String COMMENT 'hash of the system prompt' CODEC(ZSTD(1)),
    `completeness` Int64 COMMENT 'share of the parts that were present [percent]' CODEC(ZSTD(1)),
    `missing` Array(String) COMMENT 'parts that were not known, and why' CODEC(ZSTD(1)),
    `revision` UInt64 COMMENT 'orders the states of one snapshot_id' CODEC(ZSTD(1)),
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1)),
    INDEX by_taken_at taken_at TYPE minmax GRANULARITY 1,
    INDEX by_agent_id agent_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_session_id session_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_alert_id alert_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ${replicated}ReplacingMergeTree(revision)
ORDER BY (tenant, snapshot_id)
TTL stored_at + toIntervalDay(${days})
COMMENT 'Captured states of agents: published by agents, or travelling with an alert; read';

-- State snapshots as they stand in Kafka.
-- Append-only, keyed by the place in Kafka, with the exact bytes that the evidence is
-- checked against. Nothing expires here by itself: payloads are deleted with a signed note, never in
-- silence.
CREATE TABLE IF NOT EXISTS tacho.snapshots_log ${on_cluster}
(
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `snapshot_id` String COMMENT 'id of the snapshot' CODEC(ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `taken_at` DateTime64(6, 'UTC') COMMENT 'moment described [UTC]' CODEC(Delta(8), ZSTD(1)),
    `source` LowCardinality(String) COMMENT 'who took it' CODEC(ZSTD(1)),
    `agent_id` String COMMENT 'agent described' CODEC(ZSTD(1)),
    `session_id` String COMMENT 'session described' CODEC(ZSTD(1)),
    `record` String COMMENT 'exact bytes of the record as they stand in Kafka' CODEC(ZSTD(3)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (log_topic, log_partition, log_offset)
SETTINGS non_replicated_deduplication_window = 100
COMMENT 'State snapshots as they stand in Kafka.';

-- What agents were at a moment: each captured state once.
CREATE OR REPLACE VIEW tacho.agent_state ${on_cluster}
(
    `snapshot_id` String COMMENT 'id of the snapshot',
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `taken_at` DateTime64(6, 'UTC') COMMENT 'moment described [UTC]',
    `source` LowCardinality(String) COMMENT 'who took it',
    `alert_id` String COMMENT 'alert it stands with',
    `directive_id` String COMMENT 'capture request it answers',
    `agent_id` String COMMENT 'agent described',
    `agent_instance_id` String COMMENT 'instance described',
    `agent_version` LowCardinality(String) COMMENT 'version of the agent',
    `session_id` String COMMENT 'session described',
    `principal_id` String COMMENT 'principal acted for',
    `last_actions` Array(Map(String, String)) COMMENT 'last actions of the session, oldest first',
    `goals` Array(String) COMMENT 'goals or plan, if published',
    `memory` Map(String, String) COMMENT 'memory keys and values or hashes',
    `tools` Map(String, String) COMMENT 'tool to definition hash',
    `policies` Map(String, String) COMMENT 'policy to version in force',
    `approvals` Array(String) COMMENT 'approvals in force',
    `model` Map(String, String) COMMENT 'model, provider and settings',
    `credentials` Map(String, String) COMMENT 'credential fingerprint to scopes',
    `delegation_chain` Array(String) COMMENT 'from the root to this agent',
    `open_calls` Array(String) COMMENT 'calls without a result yet',
    `usage` Map(String, Float64) COMMENT 'tokens and cost so far',
    `system_prompt_hash` String COMMENT 'hash of the system prompt',
    `completeness` Int64 COMMENT 'share of the parts that were present [percent]',
    `missing` Array(String) COMMENT 'parts that were not known, and why',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `snapshot_id`,
    `tenant`,
    `taken_at`,
    `source`,
    `alert_id`,
    `directive_id`,
    `agent_id`,
    `agent_instance_id`,
    `agent_version`,
    `session_id`,
    `principal_id`,
    `last_actions`,
    `goals`,
    `memory`,
    `tools`,
    `policies`,
    `approvals`,
    `model`,
    `credentials`,
    `delegation_chain`,
    `open_calls`,
    `usage`,
    `system_prompt_hash`,
    `completeness`,
    `missing`,
    `stored_at`
FROM tacho.agent_state_data FINAL
COMMENT 'What agents were at a moment: each captured state once.';
