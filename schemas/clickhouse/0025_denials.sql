-- What was denied, kept a second time: who asks for it reads that alone.

-- Every report of an action that was denied; read tacho.denials instead.
-- Sorted as the actions are, and the copy that holds there holds here.
CREATE TABLE IF NOT EXISTS tacho.denials_data ${on_cluster}
(
    `event_id` String COMMENT 'keyed hash that identifies this action for ever' CODEC(ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'whose data this is; part of every id and key' CODEC(ZSTD(1)),
    `partition_key` String COMMENT 'service identity or native agent id: fixes the partition' CODEC(ZSTD(1)),
    `event_time` DateTime64(6, 'UTC') COMMENT 'when it ended [UTC, microseconds]' CODEC(Delta(8), ZSTD(1)),
    `principal_id` String COMMENT 'human or workload the agent acts for' CODEC(ZSTD(1)),
    `agent_id` String COMMENT 'stable id of the agent' CODEC(ZSTD(1)),
    `agent_name` String COMMENT 'name of the agent (gen_ai.agent.name)' CODEC(ZSTD(1)),
    `session_id` String COMMENT 'conversation id, else the trace id' CODEC(ZSTD(1)),
    `tool_name` LowCardinality(String) COMMENT 'name of the tool' CODEC(ZSTD(1)),
    `target` String COMMENT 'resource, URL, host or file it was to be done to' CODEC(ZSTD(1)),
    `reason` String COMMENT 'why not: reason, error, decision or outcome' CODEC(ZSTD(1)),
    `twin_of` String COMMENT 'event id of the row that shows this action; empty when it is this one' CODEC(ZSTD(1)),
    `row_version` UInt64 COMMENT 'which copy of the row holds: the highest' CODEC(ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree(row_version)
ORDER BY (tenant, partition_key, event_time, event_id)
TTL stored_at + toIntervalDay(${days})
COMMENT 'Every report of an action that was denied; read tacho.denials instead.';

-- Writes down again, of every insert into tacho.actions_data, what was denied.
CREATE MATERIALIZED VIEW IF NOT EXISTS tacho.denials_fed ${on_cluster}
TO tacho.denials_data
(
    `event_id` String COMMENT 'keyed hash that identifies this action for ever',
    `tenant` LowCardinality(String) COMMENT 'whose data this is; part of every id and key',
    `partition_key` String COMMENT 'service identity or native agent id: fixes the partition',
    `event_time` DateTime64(6, 'UTC') COMMENT 'when it ended [UTC, microseconds]',
    `principal_id` String COMMENT 'human or workload the agent acts for',
    `agent_id` String COMMENT 'stable id of the agent',
    `agent_name` String COMMENT 'name of the agent (gen_ai.agent.name)',
    `session_id` String COMMENT 'conversation id, else the trace id',
    `tool_name` LowCardinality(String) COMMENT 'name of the tool',
    `target` String COMMENT 'resource, URL, host or file it was to be done to',
    `reason` String COMMENT 'why not: reason, error, decision or outcome',
    `twin_of` String COMMENT 'event id of the row that shows this action; empty when it is this one',
    `row_version` UInt64 COMMENT 'which copy of the row holds: the highest',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    event_id,
    tenant,
    partition_key,
    event_time,
    principal_id,
    agent_id,
    agent_name,
    session_id,
    tool_name,
    coalesce(nullIf(target_resource, ''), nullIf(target_url, ''), nullIf(target_host, ''), file_path) AS target,
    coalesce(nullIf(policy_reason, ''), nullIf(error_message, ''), nullIf(policy_decision, ''), toString(outcome)) AS reason,
    twin_of,
    row_version,
    stored_at
FROM tacho.actions_data
WHERE outcome = 'denied' OR policy_decision = 'deny' OR approval_decision = 'refused'
COMMENT 'Writes down again, of every insert into tacho.actions_data, what was denied.';

-- What is there already; what is fed twice is there once.
INSERT INTO tacho.denials_data (event_id, tenant, partition_key, event_time, principal_id, agent_id, agent_name, session_id, tool_name, target, reason, twin_of, row_version, stored_at)
SELECT
    event_id,
    tenant,
    partition_key,
    event_time,
    principal_id,
    agent_id,
    agent_name,
    session_id,
    tool_name,
    coalesce(nullIf(target_resource, ''), nullIf(target_url, ''), nullIf(target_host, ''), file_path) AS target,
    coalesce(nullIf(policy_reason, ''), nullIf(error_message, ''), nullIf(policy_decision, ''), toString(outcome)) AS reason,
    twin_of,
    row_version,
    stored_at
FROM tacho.actions_data
WHERE outcome = 'denied' OR policy_decision = 'deny' OR approval_decision = 'refused';

-- What agents tried and were not let: each action once.
CREATE OR REPLACE VIEW tacho.denials ${on_cluster}
(
    `event_id` String COMMENT 'keyed hash that identifies this action for ever',
    `tenant` LowCardinality(String) COMMENT 'whose data this is; part of every id and key',
    `partition_key` String COMMENT 'service identity or native agent id: fixes the partition',
    `event_time` DateTime64(6, 'UTC') COMMENT 'when it ended [UTC, microseconds]',
    `principal_id` String COMMENT 'human or workload the agent acts for',
    `agent_id` String COMMENT 'stable id of the agent',
    `agent_name` String COMMENT 'name of the agent (gen_ai.agent.name)',
    `session_id` String COMMENT 'conversation id, else the trace id',
    `tool_name` LowCardinality(String) COMMENT 'name of the tool',
    `target` String COMMENT 'resource, URL, host or file it was to be done to',
    `reason` String COMMENT 'why not: reason, error, decision or outcome',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `event_id`,
    `tenant`,
    `partition_key`,
    `event_time`,
    `principal_id`,
    `agent_id`,
    `agent_name`,
    `session_id`,
    `tool_name`,
    `target`,
    `reason`,
    `stored_at`
FROM tacho.denials_data FINAL
WHERE twin_of = ''
COMMENT 'What agents tried and were not let: each action once.';
