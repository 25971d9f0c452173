ALTER TABLE tacho.agent_state_data ${on_cluster} ADD COLUMN IF NOT EXISTS `delegates` Array(String) COMMENT 'agents that this one called or started' CODEC(ZSTD(1));

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
    `delegates` Array(String) COMMENT 'agents that this one called or started',
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
    `delegates`,
    `stored_at`
FROM tacho.agent_state_data FINAL
COMMENT 'What agents were at a moment: each captured state once.';

ALTER TABLE tacho.directives_log ${on_cluster} ADD COLUMN IF NOT EXISTS `entity` String COMMENT 'who the alert is about' CODEC(ZSTD(1));

ALTER TABLE tacho.directives_log ${on_cluster} ADD COLUMN IF NOT EXISTS `bucket_start` Nullable(DateTime64(6, 'UTC')) COMMENT 'the alert\'s bucket [UTC]' CODEC(Delta(8), ZSTD(1));

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
    `entity` String COMMENT 'who the alert is about',
    `bucket_start` Nullable(DateTime64(6, 'UTC')) COMMENT 'the alert\'s bucket [UTC]',
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
    `entity`,
    `bucket_start`,
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
