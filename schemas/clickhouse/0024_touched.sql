-- What was touched by hour, without ids and with times after the hour: less than half as large.

-- What each agent touched in an hour; read tacho.touches_by_hour instead.
-- Only rows whose rolled_to is that of their hour count. Sorted by what was touched. Most rows are of
-- few actions: no ids, and no more of times and sessions than tells them apart.
CREATE TABLE IF NOT EXISTS tacho.touched_data ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `touched_type` LowCardinality(String) COMMENT 'what kind of thing it is: tool, host, file …' CODEC(ZSTD(1)),
    `touched` String COMMENT 'what was touched; a secret by its fingerprint' CODEC(ZSTD(1)),
    `agent_id` LowCardinality(String) COMMENT 'agent' CODEC(ZSTD(1)),
    `hour` DateTime('UTC') COMMENT 'the hour of the actions [UTC]' CODEC(Delta(4), ZSTD(1)),
    `actions` UInt64 COMMENT 'actions' CODEC(T64, ZSTD(1)),
    `not_done` UInt64 COMMENT 'of these, failed or denied' CODEC(T64, ZSTD(1)),
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]' CODEC(T64, ZSTD(1)),
    `first_tool` LowCardinality(String) COMMENT 'tool of the first of these actions' CODEC(ZSTD(1)),
    `principal_ids` Array(LowCardinality(String)) COMMENT 'for whom, at most ten' CODEC(ZSTD(1)),
    `sessions` Array(UInt64) COMMENT 'the sessions, each as a number of 48 bits' CODEC(T64, ZSTD(1)),
    `began_us` Int64 COMMENT 'first of these actions, after the hour began [µs]' CODEC(T64, ZSTD(1)),
    `took_us` Int64 COMMENT 'from the first of these actions to the last [µs]' CODEC(ZSTD(1)),
    `rolled_to` DateTime64(6, 'UTC') COMMENT 'all that was stored until then is counted [UTC]' CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree(rolled_to)
ORDER BY (tenant, touched, touched_type, agent_id, hour)
TTL stored_at + toIntervalDay(${days})
COMMENT 'What each agent touched in an hour; read tacho.touches_by_hour instead.';

-- Every hour is rolled up anew, from now on into the table above; until then its actions are read.
INSERT INTO tacho.hours_data (tenant, hour, what, at)
SELECT tenant, hour, 'changed' AS what, now64(6, 'UTC') AS at
FROM tacho.hours_data
GROUP BY tenant, hour;

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
    `first_tool` LowCardinality(String) COMMENT 'tool of the first of these actions',
    `principal_ids` Array(String) COMMENT 'for whom, at most ten',
    `sessions` Array(UInt64) COMMENT 'the sessions, each as a number of 48 bits'
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
    `first_tool`,
    `principal_ids`,
    `sessions`
FROM
(
    SELECT tenant, touched_type, touched, agent_id, hour, actions, not_done, bytes_out, fromUnixTimestamp64Micro(toUnixTimestamp(hour) * 1000000 + began_us, 'UTC') AS first_seen, fromUnixTimestamp64Micro(toUnixTimestamp(hour) * 1000000 + began_us + took_us, 'UTC') AS last_seen, first_tool, principal_ids, sessions
    FROM tacho.touched_data
    WHERE (hour, rolled_to) IN (SELECT arrayJoin(tupleElement((SELECT (groupArrayIf((hour, rolled_to), rolled_to >= changed_at),
        groupArrayIf(hour, rolled_to < changed_at))
    FROM (SELECT hour, maxIf(at, what = 'rolled') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour)), 1)))
    UNION ALL
    SELECT tenant AS tenant, touch.1 AS touched_type, touch.2 AS touched, agent_id AS agent_id, toStartOfHour(event_time) AS hour, count() AS actions, countIf(outcome IN ('failed', 'denied')) AS not_done, sum(ifNull(tool_bytes_out, 0)) AS bytes_out, min(event_time) AS first_seen, max(event_time) AS last_seen, argMin(tool_name, (event_time, event_id)) AS first_tool, groupUniqArrayIf(10)(principal_id, principal_id != '') AS principal_ids, groupUniqArray(bitAnd(cityHash64(session_id), 281474976710655)) AS sessions
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
    `first_tool` String COMMENT 'the tool of its first action',
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
    argMin(t.agent_id, (t.first_seen, t.agent_id)) AS `first_agent`,
    argMin(t.first_tool, (t.first_seen, t.agent_id)) AS `first_tool`,
    sum(t.actions) AS `actions`,
    sum(t.not_done) AS `not_done`,
    sum(t.bytes_out) AS `bytes_out`,
    min(t.first_seen) AS `first_seen`,
    max(t.last_seen) AS `last_seen`
FROM tacho.touches_by_hour AS t
GROUP BY tenant, touched_type, touched
COMMENT 'When each tool, host, file, credential, model … was first and last seen, and who began.';

DROP TABLE IF EXISTS tacho.touches_data ${on_cluster} SYNC;
