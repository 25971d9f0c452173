-- Less at rest: what is written or merged from now on. Nothing is read or written for it.

ALTER TABLE tacho.actions_data ${on_cluster}
    MODIFY COLUMN `raw_partition` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `raw_index` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `delegation_depth` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `tool_result_bytes` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `tool_bytes_out` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `tool_rows_returned` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `tool_rows_affected` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `target_port` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `recipient_count` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `http_status` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `process_exit_code` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `content_bytes` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `usage_input_tokens` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `usage_output_tokens` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `usage_cached_tokens` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `usage_reasoning_tokens` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `context_tokens_used` CODEC(T64, ZSTD(1)),
    MODIFY COLUMN `context_limit` CODEC(T64, ZSTD(1));

ALTER TABLE tacho.touched_data ${on_cluster}
    MODIFY COLUMN `hour` CODEC(GCD, T64, ZSTD(1)),
    COMMENT COLUMN `sessions` 'the sessions, each as a number of 40 bits';

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
    `sessions` Array(UInt64) COMMENT 'the sessions, each as a number of 40 bits'
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
    SELECT tenant, touched_type, touched, agent_id, hour, actions, not_done, bytes_out, fromUnixTimestamp64Micro(toUnixTimestamp(hour) * 1000000 + began_us, 'UTC') AS first_seen, fromUnixTimestamp64Micro(toUnixTimestamp(hour) * 1000000 + began_us + took_us, 'UTC') AS last_seen, first_tool, principal_ids, arrayMap(one -> bitAnd(one, 1099511627775), sessions) AS sessions
    FROM tacho.touched_data
    WHERE (hour, rolled_to) IN (SELECT arrayJoin(tupleElement((SELECT (groupArrayIf((hour, rolled_to), rolled_to >= changed_at),
        groupArrayIf(hour, rolled_to < changed_at))
    FROM (SELECT hour, maxIf(at, what = 'rolled') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour)), 1)))
    UNION ALL
    SELECT tenant AS tenant, touch.1 AS touched_type, touch.2 AS touched, agent_id AS agent_id, toStartOfHour(event_time) AS hour, count() AS actions, countIf(outcome IN ('failed', 'denied')) AS not_done, sum(ifNull(tool_bytes_out, 0)) AS bytes_out, min(event_time) AS first_seen, max(event_time) AS last_seen, argMin(tool_name, (event_time, event_id)) AS first_tool, groupUniqArrayIf(10)(principal_id, principal_id != '') AS principal_ids, groupUniqArray(bitAnd(cityHash64(session_id), 1099511627775)) AS sessions
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
