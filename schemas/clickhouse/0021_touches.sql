-- What was touched is joined by the clause of that name, so that a condition on agent, principal or credential
-- reaches the indexes of the actions; who works for others is chosen before copies are told apart.

-- Everything an agent, a principal or a credential touched, and everyone it delegated to.
-- Filter by agent_id, principal_id or credential. Those who work for others are few, and are chosen
-- before copies are told apart (PREWHERE): no later copy of an action says otherwise.
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
    `last_seen` DateTime64(6, 'UTC') COMMENT 'last of these actions [UTC]'
)
AS SELECT
    `tenant`,
    `agent_id`,
    `principal_id`,
    `credential`,
    touch.1 AS `touched_type`,
    touch.2 AS `touched`,
    count() AS `actions`,
    countIf(outcome IN ('failed', 'denied')) AS `not_done`,
    sum(bytes_out) AS `bytes_out`,
    min(event_time) AS `first_seen`,
    max(event_time) AS `last_seen`
FROM
(
    SELECT tenant, agent_id, principal_id, if(credential_id != '', credential_id, credential_fingerprint) AS credential, event_time, outcome, session_id, ifNull(tool_bytes_out, 0) AS bytes_out, touch
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
    SELECT tenant, boss AS agent_id, principal_id, if(credential_id != '', credential_id, credential_fingerprint) AS credential, event_time, outcome, session_id, ifNull(tool_bytes_out, 0) AS bytes_out,
        ('delegated_to', a.agent_id) AS touch
    FROM tacho.actions_data AS a FINAL
    ARRAY JOIN arrayDistinct(arrayFilter(one -> one NOT IN ('', a.agent_id),
        arrayPushBack(delegation_chain, parent_agent_id))) AS boss
    PREWHERE notEmpty(delegation_chain) OR parent_agent_id != ''
    WHERE twin_of = ''
)
GROUP BY tenant, agent_id, principal_id, credential, touch
COMMENT 'Everything an agent, a principal or a credential touched, and everyone it delegated to.';

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
    touch.1 AS `touched_type`,
    touch.2 AS `touched`,
    `agent_id`,
    groupUniqArrayIf(10)(principal_id, principal_id != '') AS `principal_ids`,
    uniqExact(session_id) AS `sessions`,
    agent_id IN (SELECT agent_id FROM tacho.alerts) AS `has_alerts`,
    count() AS `actions`,
    countIf(outcome IN ('failed', 'denied')) AS `not_done`,
    sum(bytes_out) AS `bytes_out`,
    min(event_time) AS `first_seen`,
    max(event_time) AS `last_seen`
FROM
(
    SELECT tenant, agent_id, principal_id, event_time, outcome, session_id, ifNull(tool_bytes_out, 0) AS bytes_out, touch
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
)
GROUP BY tenant, agent_id, touch
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
    touch.1 AS `touched_type`,
    touch.2 AS `touched`,
    uniqExact(agent_id) AS `agents`,
    argMin(agent_id, event_time) AS `first_agent`,
    argMin(event_id, event_time) AS `first_event_id`,
    count() AS `actions`,
    countIf(outcome IN ('failed', 'denied')) AS `not_done`,
    sum(bytes_out) AS `bytes_out`,
    min(event_time) AS `first_seen`,
    max(event_time) AS `last_seen`
FROM
(
    SELECT tenant, agent_id, event_id, event_time, outcome, session_id, ifNull(tool_bytes_out, 0) AS bytes_out, touch
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
)
GROUP BY tenant, touch
COMMENT 'When each tool, host, file, credential, model … was first and last seen, and who began.';
