-- Questions about an agent read its own keys, whom it delegated to is kept by who delegated, and what
-- hosts and recipients are new is kept without the agents.

-- Every report of what was done for others, once for each of them; read tacho.blast_radius.
-- Of copies of one action the one with the highest row_version holds.
CREATE TABLE IF NOT EXISTS tacho.delegated_data ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is; part of every id and key' CODEC(ZSTD(1)),
    `boss` LowCardinality(String) COMMENT 'who delegated it or started the agent; the nearest 100' CODEC(ZSTD(1)),
    `event_time` DateTime64(6, 'UTC') COMMENT 'when it ended [UTC, microseconds]' CODEC(Delta(8), ZSTD(1)),
    `action` UInt64 COMMENT 'its event id, as a number' CODEC(ZSTD(1)),
    `agent_id` LowCardinality(String) COMMENT 'the agent that did it' CODEC(ZSTD(1)),
    `principal_id` LowCardinality(String) COMMENT 'human or workload it acted for' CODEC(ZSTD(1)),
    `credential` LowCardinality(String) COMMENT 'credential used: its id, else its fingerprint' CODEC(ZSTD(1)),
    `not_done` Bool COMMENT 'failed or denied' CODEC(ZSTD(1)),
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]' CODEC(T64, ZSTD(1)),
    `is_twin` Bool COMMENT 'another report shows this action' CODEC(ZSTD(1)),
    `row_version` UInt64 COMMENT 'which copy of the row holds: the highest' CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree(row_version)
ORDER BY (tenant, boss, event_time, action)
TTL stored_at + toIntervalDay(${days})
COMMENT 'Every report of what was done for others, once for each of them; read tacho.blast_radius.';

-- Writes down again, of every insert into tacho.actions_data, what was done for others.
CREATE MATERIALIZED VIEW IF NOT EXISTS tacho.delegated_fed ${on_cluster}
TO tacho.delegated_data
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is; part of every id and key',
    `boss` LowCardinality(String) COMMENT 'who delegated it or started the agent; the nearest 100',
    `event_time` DateTime64(6, 'UTC') COMMENT 'when it ended [UTC, microseconds]',
    `action` UInt64 COMMENT 'its event id, as a number',
    `agent_id` LowCardinality(String) COMMENT 'the agent that did it',
    `principal_id` LowCardinality(String) COMMENT 'human or workload it acted for',
    `credential` LowCardinality(String) COMMENT 'credential used: its id, else its fingerprint',
    `not_done` Bool COMMENT 'failed or denied',
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]',
    `is_twin` Bool COMMENT 'another report shows this action',
    `row_version` UInt64 COMMENT 'which copy of the row holds: the highest',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    tenant,
    arrayJoin(arraySlice(arrayDistinct(arrayFilter(one -> one != '', arrayPushBack(delegation_chain, parent_agent_id))), -100)) AS boss,
    event_time,
    cityHash64(event_id) AS action,
    agent_id,
    principal_id,
    if(credential_id != '', credential_id, credential_fingerprint) AS credential,
    outcome IN ('failed', 'denied') AS not_done,
    ifNull(tool_bytes_out, 0) AS bytes_out,
    twin_of != '' AS is_twin,
    row_version,
    stored_at
FROM tacho.actions_data
WHERE notEmpty(delegation_chain) OR parent_agent_id != ''
COMMENT 'Writes down again, of every insert into tacho.actions_data, what was done for others.';

-- What is there already.
INSERT INTO tacho.delegated_data (tenant, boss, event_time, action, agent_id, principal_id, credential, not_done, bytes_out, is_twin, row_version, stored_at)
SELECT
    tenant,
    arrayJoin(arraySlice(arrayDistinct(arrayFilter(one -> one != '', arrayPushBack(delegation_chain, parent_agent_id))), -100)) AS boss,
    event_time,
    cityHash64(event_id) AS action,
    agent_id,
    principal_id,
    if(credential_id != '', credential_id, credential_fingerprint) AS credential,
    outcome IN ('failed', 'denied') AS not_done,
    ifNull(tool_bytes_out, 0) AS bytes_out,
    twin_of != '' AS is_twin,
    row_version,
    stored_at
FROM tacho.actions_data
WHERE notEmpty(delegation_chain) OR parent_agent_id != '';

-- When a host or a recipient was first spoken to in an hour; read tacho.destinations instead.
-- Only rows whose rolled_to is that of their hour count.
CREATE TABLE IF NOT EXISTS tacho.destinations_data ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `touched_type` LowCardinality(String) COMMENT 'what kind of thing it is: tool, host, file …' CODEC(ZSTD(1)),
    `touched` String COMMENT 'what was touched; a secret by its fingerprint' CODEC(ZSTD(1)),
    `hour` DateTime('UTC') COMMENT 'the hour of the actions [UTC]' CODEC(GCD, T64, ZSTD(1)),
    `rolled_to` DateTime64(6, 'UTC') COMMENT 'all that was stored until then is counted [UTC]' CODEC(Delta(8), ZSTD(1)),
    `began_us` SimpleAggregateFunction(min, Int64) COMMENT 'first of these actions, after the hour began [µs]' CODEC(T64, ZSTD(1)),
    `stored_at` SimpleAggregateFunction(max, DateTime('UTC')) DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}AggregatingMergeTree
ORDER BY (tenant, touched_type, touched, hour, rolled_to)
TTL stored_at + toIntervalDay(${days})
COMMENT 'When a host or a recipient was first spoken to in an hour; read tacho.destinations instead.';

-- Writes down again, of what is rolled up, hosts and recipients.
CREATE MATERIALIZED VIEW IF NOT EXISTS tacho.destinations_fed ${on_cluster}
TO tacho.destinations_data
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `touched_type` LowCardinality(String) COMMENT 'what kind of thing it is: tool, host, file …',
    `touched` String COMMENT 'what was touched; a secret by its fingerprint',
    `hour` DateTime('UTC') COMMENT 'the hour of the actions [UTC]',
    `rolled_to` DateTime64(6, 'UTC') COMMENT 'all that was stored until then is counted [UTC]',
    `began_us` Int64 COMMENT 'first of these actions, after the hour began [µs]',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT tenant, touched_type, touched, hour, rolled_to, min(began_us) AS began_us, max(stored_at) AS stored_at
FROM tacho.touched_data
WHERE touched_type IN ('host', 'recipient')
GROUP BY tenant, touched_type, touched, hour, rolled_to
COMMENT 'Writes down again, of what is rolled up, hosts and recipients.';

-- What is rolled up already.
INSERT INTO tacho.destinations_data (tenant, touched_type, touched, hour, rolled_to, began_us, stored_at)
SELECT tenant, touched_type, touched, hour, rolled_to, min(began_us) AS began_us, max(stored_at) AS stored_at
FROM tacho.touched_data
WHERE touched_type IN ('host', 'recipient')
GROUP BY tenant, touched_type, touched, hour, rolled_to;

-- When each host and each recipient was first spoken to in each hour.
-- The least first_seen of one is when it was new.
CREATE OR REPLACE VIEW tacho.destinations ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `touched_type` LowCardinality(String) COMMENT 'what kind of thing it is: tool, host, file …',
    `touched` String COMMENT 'what was touched; a secret by its fingerprint',
    `hour` DateTime('UTC') COMMENT 'the hour of the actions [UTC]',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'first of these actions [UTC]'
)
AS SELECT
    `tenant`,
    `touched_type`,
    `touched`,
    `hour`,
    `first_seen`
FROM
(
    SELECT tenant, touched_type, touched, hour, fromUnixTimestamp64Micro(toUnixTimestamp(hour) * 1000000 + began_us, 'UTC') AS first_seen
    FROM tacho.destinations_data
    WHERE (hour, rolled_to) IN (SELECT arrayJoin(tupleElement((SELECT (groupArrayIf((hour, rolled_to), rolled_to >= changed_at),
        groupArrayIf(hour, rolled_to < changed_at))
    FROM (SELECT hour, maxIf(at, what = 'rolled') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour)), 1)))
    UNION ALL
    SELECT tenant AS tenant, touch.1 AS touched_type, touch.2 AS touched, toStartOfHour(event_time) AS hour, min(event_time) AS first_seen
    FROM tacho.actions_data AS a FINAL
    ARRAY JOIN arrayFilter(one -> one.2 != '', arrayConcat([('host', if(target_domain != '', target_domain,
                    if(target_host != '', target_host, target_ip)))], arrayMap(one -> ('recipient', one), recipients))) AS touch
    WHERE twin_of = '' AND toStartOfHour(event_time) IN (SELECT arrayJoin(tupleElement((SELECT (groupArrayIf((hour, rolled_to), rolled_to >= changed_at),
        groupArrayIf(hour, rolled_to < changed_at))
    FROM (SELECT hour, maxIf(at, what = 'rolled') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour)), 2)))
    GROUP BY tenant, touch, hour
)
COMMENT 'When each host and each recipient was first spoken to in each hour.';

-- What an agent did and what was said of it, in order: actions, signals, alerts, states.
-- Filter by agent_id or session_id, by time, and by the agent's keys: partition_key, empty or one of
-- those.
CREATE OR REPLACE VIEW tacho.agent_timeline ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `agent_id` String COMMENT 'agent',
    `session_id` String COMMENT 'session',
    `time` DateTime64(6, 'UTC') COMMENT 'when [UTC]',
    `what` String COMMENT 'action, signal, alert, state or directive',
    `kind` String COMMENT 'kind of action, signal or directive; stage of an alert',
    `title` String COMMENT 'tool of an action, title of a signal or alert',
    `detail` String COMMENT 'arguments, words, reason: at most 2,000 characters',
    `outcome` String COMMENT 'how an action ended; status of an alert; an answer',
    `severity` String COMMENT 'severity of a signal or alert',
    `id` String COMMENT 'event, signal, alert, snapshot or directive id',
    `event_ids` Array(String) COMMENT 'events that a signal or alert rests on',
    `partition_key` String COMMENT 'key under which an action lies; else empty'
)
AS SELECT
    `tenant`,
    `agent_id`,
    `session_id`,
    `time`,
    `what`,
    `kind`,
    `title`,
    `detail`,
    `outcome`,
    `severity`,
    `id`,
    `event_ids`,
    `partition_key`
FROM
(
    SELECT tenant, agent_id, session_id, event_time AS time, 'action' AS what, kind AS kind,
        coalesce(nullIf(tool_name, ''), nullIf(operation, ''), kind) AS title,
        leftUTF8(coalesce(nullIf(process_command_line, ''), nullIf(tool_args, ''),
            nullIf(content_text, ''), nullIf(target_url, ''), nullIf(file_path, ''),
            nullIf(memory_key, ''), error_message), 2000) AS detail,
        outcome AS outcome, '' AS severity, event_id AS id, CAST([], 'Array(String)') AS event_ids,
        partition_key
    FROM tacho.actions
    UNION ALL
    SELECT tenant, agent_id, session_id, event_time, 'signal', kind, title, reason.text,
        '', severity, signal_id, event_ids, ''
    FROM tacho.signals
    UNION ALL
    SELECT tenant, agent_id, session_id, last_seen, 'alert', stage, title,
        arrayStringConcat(arrayMap(one -> one.text, reasons), '; '), status, severity, alert_id,
        event_ids, ''
    FROM tacho.alerts
    UNION ALL
    SELECT tenant, agent_id, session_id, taken_at, 'state', source, concat(toString(completeness),
        ' % known'), arrayStringConcat(missing, '; '), '', '', snapshot_id, [], ''
    FROM tacho.agent_state
    UNION ALL
    SELECT tenant, agent_id, session_id, issued_at, 'directive', kind, kind, reason, answer, '',
        directive_id, [], ''
    FROM tacho.directives
)
COMMENT 'What an agent did and what was said of it, in order: actions, signals, alerts, states.';

-- Everything an agent, a principal or a credential touched, and everyone it delegated to.
-- Filter by agent_id, principal_id or credential, and by the agent's keys: partition_key, empty or one
-- of those.
CREATE OR REPLACE VIEW tacho.blast_radius ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `agent_id` String COMMENT 'agent',
    `principal_id` String COMMENT 'human or workload acted for',
    `credential` String COMMENT 'credential used: its id, else its fingerprint',
    `touched_type` String COMMENT 'tool, tool_server, host, recipient, file, resource, account, table, repo, credential, secret, memory, document, model, package, agent or delegated_to',
    `touched` String COMMENT 'what was touched; a secret by its fingerprint',
    `actions` UInt64 COMMENT 'actions that touched it',
    `not_done` UInt64 COMMENT 'of these, failed or denied',
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'first of these actions [UTC]',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'last of these actions [UTC]',
    `partition_key` String COMMENT 'key under which an action lies; else empty'
)
AS SELECT
    `tenant`,
    `agent_id`,
    `principal_id`,
    `credential`,
    touch.1 AS `touched_type`,
    touch.2 AS `touched`,
    count() AS `actions`,
    countIf(not_done) AS `not_done`,
    sum(bytes_out) AS `bytes_out`,
    min(event_time) AS `first_seen`,
    max(event_time) AS `last_seen`,
    `partition_key`
FROM
(
    SELECT tenant, agent_id, principal_id, if(credential_id != '', credential_id, credential_fingerprint) AS credential, partition_key, event_time,
        outcome IN ('failed', 'denied') AS not_done, ifNull(tool_bytes_out, 0) AS bytes_out, touch
    FROM tacho.actions
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
    UNION ALL
    SELECT tenant, boss, principal_id, credential, '', event_time, not_done, bytes_out,
        ('delegated_to', agent_id)
    FROM
    (
    SELECT tenant, boss, event_time,
        held.1 AS agent_id, held.2 AS principal_id, held.3 AS credential, held.4 AS not_done, held.5 AS bytes_out, held.6 AS is_twin
    FROM (SELECT tenant, boss, event_time, action, argMax((agent_id, principal_id, credential, not_done, bytes_out, is_twin), row_version) AS held
        FROM tacho.delegated_data FINAL GROUP BY tenant, boss, event_time, action)
    WHERE NOT is_twin AND boss != agent_id
    )
)
GROUP BY tenant, agent_id, principal_id, credential, partition_key, touch
COMMENT 'Everything an agent, a principal or a credential touched, and everyone it delegated to.';
