-- Questions about everybody read hours that are rolled up, where nothing comes any more, and the actions of the others.

-- Which hours have actions, when they last changed, and up to when they are rolled up.
-- Written by tacho.hours_changed and by the store stage. Small, and without an end: an hour whose
-- actions have expired is one in which nothing is.
CREATE TABLE IF NOT EXISTS tacho.hours_data ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `hour` DateTime('UTC') COMMENT 'the hour of the actions [UTC]' CODEC(Delta(4), ZSTD(1)),
    `what` LowCardinality(String) COMMENT 'changed: an action was stored; rolled: all until then are counted' CODEC(ZSTD(1)),
    `at` DateTime64(6, 'UTC') COMMENT 'when [UTC]' CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree(at)
ORDER BY (tenant, hour, what)
COMMENT 'Which hours have actions, when they last changed, and up to when they are rolled up.';

-- Notes the hours of every insert into tacho.actions_data; a repetition changes nothing.
CREATE MATERIALIZED VIEW IF NOT EXISTS tacho.hours_changed ${on_cluster}
TO tacho.hours_data
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `hour` DateTime('UTC') COMMENT 'the hour of the actions [UTC]',
    `what` LowCardinality(String) COMMENT 'changed: an action was stored; rolled: all until then are counted',
    `at` DateTime64(6, 'UTC') COMMENT 'when [UTC]'
)
AS SELECT tenant, toStartOfHour(event_time) AS hour, 'changed' AS what, now64(6, 'UTC') AS at
FROM tacho.actions_data
GROUP BY tenant, hour
COMMENT 'Notes the hours of every insert into tacho.actions_data; a repetition changes nothing.';

-- What is there already; an hour that is noted twice is noted once.
INSERT INTO tacho.hours_data (tenant, hour, what, at)
SELECT tenant, toStartOfHour(event_time) AS hour, 'changed' AS what, now64(6, 'UTC') AS at
FROM tacho.actions_data
GROUP BY tenant, hour;

-- What each agent touched in an hour; read tacho.touches_by_hour instead.
-- Only rows whose rolled_to is that of their hour count. Sorted by what was touched.
CREATE TABLE IF NOT EXISTS tacho.touches_data ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `touched_type` LowCardinality(String) COMMENT 'what kind of thing it is: tool, host, file …' CODEC(ZSTD(1)),
    `touched` String COMMENT 'what was touched; a secret by its fingerprint' CODEC(ZSTD(1)),
    `agent_id` String COMMENT 'agent' CODEC(ZSTD(1)),
    `hour` DateTime('UTC') COMMENT 'the hour of the actions [UTC]' CODEC(Delta(4), ZSTD(1)),
    `actions` UInt64 COMMENT 'actions' CODEC(T64, ZSTD(1)),
    `not_done` UInt64 COMMENT 'of these, failed or denied' CODEC(T64, ZSTD(1)),
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]' CODEC(T64, ZSTD(1)),
    `first_seen` DateTime64(6, 'UTC') COMMENT 'first of these actions [UTC]' CODEC(Delta(8), ZSTD(1)),
    `last_seen` DateTime64(6, 'UTC') COMMENT 'last of these actions [UTC]' CODEC(Delta(8), ZSTD(1)),
    `first_event_id` String COMMENT 'the first of these actions' CODEC(ZSTD(1)),
    `first_tool` LowCardinality(String) COMMENT 'tool of the first of these actions' CODEC(ZSTD(1)),
    `principal_ids` Array(String) COMMENT 'for whom, at most ten' CODEC(ZSTD(1)),
    `sessions` Array(UInt64) COMMENT 'the sessions, each as a number' CODEC(ZSTD(1)),
    `rolled_to` DateTime64(6, 'UTC') COMMENT 'all that was stored until then is counted [UTC]' CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree(rolled_to)
ORDER BY (tenant, touched, touched_type, agent_id, hour)
TTL stored_at + toIntervalDay(${days})
COMMENT 'What each agent touched in an hour; read tacho.touches_by_hour instead.';

-- What each agent did in a minute; read tacho.agent_minutes instead.
-- Only rows whose rolled_to is that of their hour count.
CREATE TABLE IF NOT EXISTS tacho.minutes_data ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `agent_id` String COMMENT 'agent' CODEC(ZSTD(1)),
    `hour` DateTime('UTC') COMMENT 'the hour of the actions [UTC]' CODEC(Delta(4), ZSTD(1)),
    `minute` DateTime('UTC') COMMENT 'the minute [UTC]' CODEC(Delta(4), ZSTD(1)),
    `actions` UInt64 COMMENT 'actions' CODEC(T64, ZSTD(1)),
    `not_done` UInt64 COMMENT 'of these, failed or denied' CODEC(T64, ZSTD(1)),
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]' CODEC(T64, ZSTD(1)),
    `tools` UInt64 COMMENT 'different tools' CODEC(T64, ZSTD(1)),
    `sessions` UInt64 COMMENT 'different sessions' CODEC(T64, ZSTD(1)),
    `model_calls` UInt64 COMMENT 'actions that tell of tokens' CODEC(T64, ZSTD(1)),
    `tokens_in` Int64 COMMENT 'tokens read [tokens]' CODEC(T64, ZSTD(1)),
    `tokens_out` Int64 COMMENT 'tokens written [tokens]' CODEC(T64, ZSTD(1)),
    `cost_usd` Float64 COMMENT 'what they cost [USD]' CODEC(ZSTD(1)),
    `model_name` LowCardinality(String) COMMENT 'a model of these calls' CODEC(ZSTD(1)),
    `rolled_to` DateTime64(6, 'UTC') COMMENT 'all that was stored until then is counted [UTC]' CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree(rolled_to)
ORDER BY (tenant, agent_id, minute)
TTL stored_at + toIntervalDay(${days})
COMMENT 'What each agent did in a minute; read tacho.agent_minutes instead.';

-- What each agent touched in each hour: rolled up where nothing comes any more.
-- Filter by touched. Sessions are told apart by a number: uniqExactArray(sessions) counts them.
CREATE OR REPLACE VIEW tacho.touches_by_hour ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `touched_type` LowCardinality(String) COMMENT 'what kind of thing it is: tool, host, file …',
    `touched` String COMMENT 'what was touched; a secret by its fingerprint',
    `agent_id` String COMMENT 'agent',
    `hour` DateTime('UTC') COMMENT 'the hour of the actions [UTC]',
    `actions` UInt64 COMMENT 'actions',
    `not_done` UInt64 COMMENT 'of these, failed or denied',
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'first of these actions [UTC]',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'last of these actions [UTC]',
    `first_event_id` String COMMENT 'the first of these actions',
    `first_tool` LowCardinality(String) COMMENT 'tool of the first of these actions',
    `principal_ids` Array(String) COMMENT 'for whom, at most ten',
    `sessions` Array(UInt64) COMMENT 'the sessions, each as a number'
)
AS SELECT
    `tenant`,
    `touched_type`,
    `touched`,
    `agent_id`,
    `hour`,
    `actions`,
    `not_done`,
    `bytes_out`,
    `first_seen`,
    `last_seen`,
    `first_event_id`,
    `first_tool`,
    `principal_ids`,
    `sessions`
FROM
(
    SELECT tenant, touched_type, touched, agent_id, hour, actions, not_done, bytes_out, first_seen, last_seen, first_event_id, first_tool, principal_ids, sessions
    FROM tacho.touches_data
    WHERE (hour, rolled_to) IN (SELECT arrayJoin(tupleElement((SELECT (groupArrayIf((hour, rolled_to), rolled_to >= changed_at),
        groupArrayIf(hour, rolled_to < changed_at))
    FROM (SELECT hour, maxIf(at, what = 'rolled') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour)), 1)))
    UNION ALL
    SELECT tenant AS tenant, touch.1 AS touched_type, touch.2 AS touched, agent_id AS agent_id, toStartOfHour(event_time) AS hour, count() AS actions, countIf(outcome IN ('failed', 'denied')) AS not_done, sum(ifNull(tool_bytes_out, 0)) AS bytes_out, min(event_time) AS first_seen, max(event_time) AS last_seen, argMin(event_id, (event_time, event_id)) AS first_event_id, argMin(tool_name, (event_time, event_id)) AS first_tool, groupUniqArrayIf(10)(principal_id, principal_id != '') AS principal_ids, groupUniqArray(cityHash64(session_id)) AS sessions
    FROM tacho.actions_data AS a FINAL
    ARRAY JOIN arrayFilter(one -> one.2 != '', arrayConcat(
            [('tool', tool_name), ('tool_server', tool_server),
                ('host', if(target_domain != '', target_domain,
                    if(target_host != '', target_host, target_ip))),
                ('file', file_path), ('resource', target_resource), ('account', target_account),
                ('table', target_table), ('repo', target_repo), ('memory', memory_key),
                ('credential', if(credential_id != '', credential_id, credential_fingerprint)),
                ('model', model_name), ('package', artifact_name), ('agent', peer_agent_id)],
            arrayMap(one -> ('recipient', one), recipients),
            arrayMap(one -> ('secret', one), secret_fingerprints),
            arrayMap(one -> ('document', one), retrieval_doc_ids))) AS touch
    WHERE twin_of = '' AND toStartOfHour(event_time) IN (SELECT arrayJoin(tupleElement((SELECT (groupArrayIf((hour, rolled_to), rolled_to >= changed_at),
        groupArrayIf(hour, rolled_to < changed_at))
    FROM (SELECT hour, maxIf(at, what = 'rolled') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour)), 2)))
    GROUP BY tenant, touch, agent_id, hour
)
COMMENT 'What each agent touched in each hour: rolled up where nothing comes any more.';

-- What each agent did in each minute: rolled up where nothing comes any more.
CREATE OR REPLACE VIEW tacho.agent_minutes ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `agent_id` String COMMENT 'agent',
    `hour` DateTime('UTC') COMMENT 'the hour of the actions [UTC]',
    `minute` DateTime('UTC') COMMENT 'the minute [UTC]',
    `actions` UInt64 COMMENT 'actions',
    `not_done` UInt64 COMMENT 'of these, failed or denied',
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]',
    `tools` UInt64 COMMENT 'different tools',
    `sessions` UInt64 COMMENT 'different sessions',
    `model_calls` UInt64 COMMENT 'actions that tell of tokens',
    `tokens_in` Int64 COMMENT 'tokens read [tokens]',
    `tokens_out` Int64 COMMENT 'tokens written [tokens]',
    `cost_usd` Float64 COMMENT 'what they cost [USD]',
    `model_name` LowCardinality(String) COMMENT 'a model of these calls'
)
AS SELECT
    `tenant`,
    `agent_id`,
    `hour`,
    `minute`,
    `actions`,
    `not_done`,
    `bytes_out`,
    `tools`,
    `sessions`,
    `model_calls`,
    `tokens_in`,
    `tokens_out`,
    `cost_usd`,
    `model_name`
FROM
(
    SELECT tenant, agent_id, hour, minute, actions, not_done, bytes_out, tools, sessions, model_calls, tokens_in, tokens_out, cost_usd, model_name
    FROM tacho.minutes_data
    WHERE (hour, rolled_to) IN (SELECT arrayJoin(tupleElement((SELECT (groupArrayIf((hour, rolled_to), rolled_to >= changed_at),
        groupArrayIf(hour, rolled_to < changed_at))
    FROM (SELECT hour, maxIf(at, what = 'rolled') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour)), 1)))
    UNION ALL
    SELECT tenant AS tenant, agent_id AS agent_id, toStartOfHour(event_time) AS hour, toStartOfMinute(event_time) AS minute, count() AS actions, countIf(outcome IN ('failed', 'denied')) AS not_done, sum(ifNull(tool_bytes_out, 0)) AS bytes_out, uniqExactIf(tool_name, tool_name != '') AS tools, uniqExact(session_id) AS sessions, countIf((usage_input_tokens IS NOT NULL OR usage_output_tokens IS NOT NULL)) AS model_calls, sum(ifNull(usage_input_tokens, 0)) AS tokens_in, sum(ifNull(usage_output_tokens, 0)) AS tokens_out, sumIf(ifNull(usage_cost_usd, 0), (usage_input_tokens IS NOT NULL OR usage_output_tokens IS NOT NULL)) AS cost_usd, maxIf(model_name, (usage_input_tokens IS NOT NULL OR usage_output_tokens IS NOT NULL)) AS model_name
    FROM tacho.actions_data AS a FINAL
    WHERE twin_of = '' AND toStartOfHour(event_time) IN (SELECT arrayJoin(tupleElement((SELECT (groupArrayIf((hour, rolled_to), rolled_to >= changed_at),
        groupArrayIf(hour, rolled_to < changed_at))
    FROM (SELECT hour, maxIf(at, what = 'rolled') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour)), 2)))
    GROUP BY tenant, agent_id, hour, minute
)
COMMENT 'What each agent did in each minute: rolled up where nothing comes any more.';

-- Who else called this tool, spoke to this host, read this file, used this credential.
-- Filter by touched, and touched_type where a value may be of several kinds.
CREATE OR REPLACE VIEW tacho.who_else ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `touched_type` String COMMENT 'tool, tool_server, host, recipient, file, resource, account, table, repo, credential, secret, memory, document, model, package, agent or delegated_to',
    `touched` String COMMENT 'what was touched; a secret by its fingerprint',
    `agent_id` String COMMENT 'agent',
    `principal_ids` Array(String) COMMENT 'for whom, at most ten',
    `sessions` UInt64 COMMENT 'sessions in which it did',
    `has_alerts` Bool COMMENT 'the agent has an alert',
    `actions` UInt64 COMMENT 'actions that touched it',
    `not_done` UInt64 COMMENT 'of these, failed or denied',
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'first of these actions [UTC]',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'last of these actions [UTC]'
)
AS SELECT
    `tenant`,
    `touched_type`,
    `touched`,
    `agent_id`,
    groupUniqArrayArray(10)(t.principal_ids) AS `principal_ids`,
    uniqExactArray(t.sessions) AS `sessions`,
    agent_id IN (SELECT agent_id FROM tacho.alerts) AS `has_alerts`,
    sum(t.actions) AS `actions`,
    sum(t.not_done) AS `not_done`,
    sum(t.bytes_out) AS `bytes_out`,
    min(t.first_seen) AS `first_seen`,
    max(t.last_seen) AS `last_seen`
FROM tacho.touches_by_hour AS t
GROUP BY tenant, agent_id, touched_type, touched
COMMENT 'Who else called this tool, spoke to this host, read this file, used this credential.';

-- When each tool, host, file, credential, model … was first and last seen, and who began.
CREATE OR REPLACE VIEW tacho.first_and_last_seen ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `touched_type` String COMMENT 'tool, tool_server, host, recipient, file, resource, account, table, repo, credential, secret, memory, document, model, package, agent or delegated_to',
    `touched` String COMMENT 'what was touched; a secret by its fingerprint',
    `agents` UInt64 COMMENT 'agents that touched it',
    `first_agent` String COMMENT 'the agent that was the first',
    `first_event_id` String COMMENT 'the action that was the first',
    `actions` UInt64 COMMENT 'actions that touched it',
    `not_done` UInt64 COMMENT 'of these, failed or denied',
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'first of these actions [UTC]',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'last of these actions [UTC]'
)
AS SELECT
    `tenant`,
    `touched_type`,
    `touched`,
    uniqExact(t.agent_id) AS `agents`,
    argMin(t.agent_id, (t.first_seen, t.first_event_id)) AS `first_agent`,
    argMin(t.first_event_id, (t.first_seen, t.first_event_id)) AS `first_event_id`,
    sum(t.actions) AS `actions`,
    sum(t.not_done) AS `not_done`,
    sum(t.bytes_out) AS `bytes_out`,
    min(t.first_seen) AS `first_seen`,
    max(t.last_seen) AS `last_seen`
FROM tacho.touches_by_hour AS t
GROUP BY tenant, touched_type, touched
COMMENT 'When each tool, host, file, credential, model … was first and last seen, and who began.';

-- How much an agent does a minute, beside what is usual for it: its median busy minute.
CREATE OR REPLACE VIEW tacho.agent_rates ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `agent_id` String COMMENT 'agent',
    `minute` DateTime('UTC') COMMENT 'the minute [UTC]',
    `actions` UInt64 COMMENT 'actions in it',
    `usual` Float64 COMMENT 'median over all minutes in which the agent did anything',
    `times_usual` Float64 COMMENT 'actions / usual',
    `not_done` UInt64 COMMENT 'failed or denied',
    `tools` UInt64 COMMENT 'different tools',
    `sessions` UInt64 COMMENT 'different sessions',
    `tokens` Int64 COMMENT 'tokens in and out [tokens]',
    `bytes_out` Int64 COMMENT 'data sent out [bytes]'
)
AS SELECT
    `tenant`,
    `agent_id`,
    `minute`,
    `actions`,
    toFloat64(usual_actions) AS `usual`,
    round(actions / usual_actions, 2) AS `times_usual`,
    `not_done`,
    `tools`,
    `sessions`,
    `tokens`,
    `bytes_out`
FROM
(
    SELECT *, tokens_in + tokens_out AS tokens,
        quantileExact(0.5)(actions) OVER (PARTITION BY tenant, agent_id) AS usual_actions
    FROM tacho.agent_minutes
)
COMMENT 'How much an agent does a minute, beside what is usual for it: its median busy minute.';
