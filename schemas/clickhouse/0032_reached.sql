-- What somebody touched is answered from a roll-up sorted by who did it.

-- What each agent touched in an hour, for whom; read tacho.touches_by_agent instead.
-- Only rows whose rolled is that of their hour count. Sorted by who did it, with skip indexes for whom
-- and with what. Rows stay until the end of their last day.
CREATE TABLE IF NOT EXISTS tacho.reached_data ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `agent_id` String COMMENT 'agent' CODEC(ZSTD(1)),
    `principal_id` String COMMENT 'human or workload acted for' CODEC(ZSTD(1)),
    `credential` String COMMENT 'credential used: its id, else its fingerprint' CODEC(ZSTD(1)),
    `partition_key` LowCardinality(String) COMMENT 'key under which the actions lie' CODEC(ZSTD(1)),
    `touched_type` LowCardinality(String) COMMENT 'what kind of thing it is: tool, host, file …' CODEC(ZSTD(1)),
    `touched` String COMMENT 'what was touched; a secret by its fingerprint' CODEC(ZSTD(1)),
    `rolled` LowCardinality(String) COMMENT 'the hour [s], and until when what was stored is counted [µs]' CODEC(ZSTD(1)),
    `actions` UInt64 COMMENT 'actions' CODEC(T64, ZSTD(1)),
    `not_done` UInt64 COMMENT 'of these, failed or denied' CODEC(T64, ZSTD(1)),
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]' CODEC(T64, ZSTD(1)),
    `began_us` Int64 COMMENT 'first of these actions, after the hour began [µs]' CODEC(T64, ZSTD(1)),
    `took_us` Int64 COMMENT 'from the first of these actions to the last [µs]' CODEC(ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1)),
    INDEX of_principal_id principal_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    INDEX of_credential credential TYPE bloom_filter(0.0001) GRANULARITY 1
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (tenant, agent_id, principal_id, credential, partition_key, touched_type, touched, rolled)
TTL stored_at + toIntervalDay(${days})
COMMENT 'What each agent touched in an hour, for whom; read tacho.touches_by_agent instead.';

-- What each agent touched in each hour, for whom and with what: rolled up where nothing comes.
-- Filter by agent_id, principal_id or credential.
CREATE OR REPLACE VIEW tacho.touches_by_agent ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `agent_id` String COMMENT 'agent',
    `principal_id` String COMMENT 'human or workload acted for',
    `credential` String COMMENT 'credential used: its id, else its fingerprint',
    `partition_key` LowCardinality(String) COMMENT 'key under which the actions lie',
    `touched_type` LowCardinality(String) COMMENT 'what kind of thing it is: tool, host, file …',
    `touched` String COMMENT 'what was touched; a secret by its fingerprint',
    `hour` DateTime('UTC') COMMENT 'the hour of the actions [UTC]',
    `actions` UInt64 COMMENT 'actions',
    `not_done` UInt64 COMMENT 'of these, failed or denied',
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'first of these actions [UTC]',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'last of these actions [UTC]'
)
AS SELECT
    `tenant`,
    `agent_id`,
    `principal_id`,
    `credential`,
    `partition_key`,
    `touched_type`,
    `touched`,
    `hour`,
    `actions`,
    `not_done`,
    `bytes_out`,
    `first_seen`,
    `last_seen`
FROM
(
    SELECT tenant, agent_id, principal_id, credential, partition_key, touched_type, touched, toDateTime(toUInt32(extract(rolled, '^[0-9]+')), 'UTC') AS hour, actions, not_done, bytes_out, fromUnixTimestamp64Micro(toInt64(toUInt32(extract(rolled, '^[0-9]+'))) * 1000000 + began_us, 'UTC') AS first_seen, fromUnixTimestamp64Micro(toInt64(toUInt32(extract(rolled, '^[0-9]+'))) * 1000000 + began_us + took_us, 'UTC') AS last_seen
    FROM tacho.reached_data
    WHERE rolled IN (SELECT concat(toString(toUnixTimestamp(one.1)), ' ', toString(toUnixTimestamp64Micro(one.2))) FROM (SELECT arrayJoin(tupleElement((SELECT (groupArrayIf((hour, rolled_to), rolled_to >= changed_at),
        groupArrayIf(hour, rolled_to < changed_at))
    FROM (SELECT hour, maxIf(at, what = 'reached') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour)), 1)) AS one))
    UNION ALL
    SELECT tenant AS tenant, agent_id AS agent_id, principal_id AS principal_id, if(credential_id != '', credential_id, credential_fingerprint) AS credential, partition_key AS partition_key, touch.1 AS touched_type, touch.2 AS touched, toStartOfHour(event_time) AS hour, count() AS actions, countIf(outcome IN ('failed', 'denied')) AS not_done, sum(ifNull(tool_bytes_out, 0)) AS bytes_out, min(event_time) AS first_seen, max(event_time) AS last_seen
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
    FROM (SELECT hour, maxIf(at, what = 'reached') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour)), 2)))
    GROUP BY tenant, touch, agent_id, principal_id, credential, partition_key, toStartOfHour(event_time)
)
COMMENT 'What each agent touched in each hour, for whom and with what: rolled up where nothing comes.';

-- Everything an agent, a principal or a credential touched, and everyone it delegated to.
-- Filter by agent_id, principal_id or credential.
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
    `touched_type`,
    `touched`,
    sum(t.actions) AS `actions`,
    sum(t.not_done) AS `not_done`,
    sum(t.bytes_out) AS `bytes_out`,
    min(t.first_seen) AS `first_seen`,
    max(t.last_seen) AS `last_seen`,
    `partition_key`
FROM
(
    SELECT tenant, agent_id, principal_id, credential, partition_key, touched_type, touched,
        actions, not_done, bytes_out, first_seen, last_seen
    FROM tacho.touches_by_agent
    UNION ALL
    SELECT tenant, boss, principal_id, credential, '', 'delegated_to', agent_id,
        1, not_done, bytes_out, event_time, event_time
    FROM
    (
    SELECT tenant, boss, event_time,
        held.1 AS agent_id, held.2 AS principal_id, held.3 AS credential, held.4 AS not_done, held.5 AS bytes_out, held.6 AS is_twin
    FROM (SELECT tenant, boss, event_time, action, argMax((agent_id, principal_id, credential, not_done, bytes_out, is_twin), row_version) AS held
        FROM tacho.delegated_data FINAL GROUP BY tenant, boss, event_time, action)
    WHERE NOT is_twin AND boss != agent_id
    )
) AS t
GROUP BY tenant, agent_id, principal_id, credential, partition_key, touched_type, touched
COMMENT 'Everything an agent, a principal or a credential touched, and everyone it delegated to.';

ALTER TABLE tacho.hours_data ${on_cluster}
    COMMENT COLUMN `what` 'changed: an action was stored; rolled, texts, reached: all until then are counted';
