/*
description = "Everything that an agent, a principal or a credential touched, and everyone it delegated to."
risk_categories = ["agent_operation", "ai_supply_chain", "governance"]

[parameters.agent]
type = "String"
default = ""
description = "the agent; empty: that of the gravest alert"

[parameters.principal]
type = "String"
default = ""
description = "a principal, instead of an agent"

[parameters.credential]
type = "String"
default = ""
description = "a credential, instead of an agent"

[parameters.tenant]
type = "String"
default = ""
description = "whose data; empty: all"

[parameters.each]
type = "UInt32"
default = "100"
description = "of each type at most so many, those touched most; `different` says how many there are"

[example]
touched_type = "credential"
touched = "key-billing"
actions = 1
not_done = 0
bytes_out = 0
agents = ["billing-helper"]
first_seen = "2026-11-26 03:11:02.000000"
last_seen = "2026-11-26 03:11:02.000000"
different = 1
*/
WITH if({agent:String} != '' OR {principal:String} != '' OR {credential:String} != '', {agent:String},
    (SELECT agent_id FROM tacho.alerts WHERE {tenant:String} IN ('', tenant) ORDER BY risk DESC, alert_id LIMIT 1)) AS sought,
-- All their actions have one of these, and telling copies apart reads whole services otherwise.
keys AS
(
    SELECT partition_key FROM tacho.actions_data WHERE sought != '' AND agent_id = sought
    UNION ALL
    SELECT partition_key FROM tacho.actions_data WHERE {principal:String} != '' AND principal_id = {principal:String}
    UNION ALL
    SELECT partition_key FROM tacho.actions_data WHERE {credential:String} != '' AND credential_id = {credential:String}
    UNION ALL
    SELECT partition_key FROM tacho.actions_data WHERE {credential:String} != '' AND credential_fingerprint = {credential:String}
),
done AS
(
    SELECT
        if(sought = '', agent_id, '') AS who, event_time, outcome IN ('failed', 'denied') AS was_not_done, ifNull(tool_bytes_out, 0) AS sent,
        if(target_domain != '', target_domain, if(target_host != '', target_host, target_ip)) AS host,
        if(credential_id != '', credential_id, credential_fingerprint) AS credential,
        tool_name, tool_server, file_path, target_resource, target_account, target_table, target_repo,
        memory_key, model_name, artifact_name, peer_agent_id, recipients, secret_fingerprints, retrieval_doc_ids
    FROM tacho.actions
    WHERE ({tenant:String} = '' OR tenant = {tenant:String})
        AND ({principal:String} = '' OR principal_id = {principal:String})
        AND ({credential:String} = '' OR credential = {credential:String})
        AND (sought = '' OR agent_id = sought)
        AND partition_key IN keys
),
-- The same as tacho.blast_radius, cheaper: counted by what was touched, and pairs made of that alone. What has
-- many values is counted alone; in a row of one set the columns of all others are empty. Of many agents each is
-- counted by itself: who they are is then gathered of few rows.
counted AS
(
    SELECT
        multiIf(
            host != '', [('host', host)],
            file_path != '', [('file', file_path)],
            target_resource != '', [('resource', target_resource)],
            arrayFilter(one -> one.2 != '', arrayConcat(
                [('tool', tool_name), ('tool_server', tool_server), ('model', model_name), ('credential', credential),
                    ('agent', peer_agent_id), ('account', target_account), ('table', target_table),
                    ('repo', target_repo), ('memory', memory_key), ('package', artifact_name)],
                arrayMap(one -> ('recipient', one), recipients),
                arrayMap(one -> ('secret', one), secret_fingerprints),
                arrayMap(one -> ('document', one), retrieval_doc_ids)))) AS touches,
        count() AS actions,
        countIf(was_not_done) AS not_done,
        sum(sent) AS bytes_out,
        who,
        min(event_time) AS first_seen,
        max(event_time) AS last_seen
    FROM done
    GROUP BY GROUPING SETS ((who, host), (who, file_path), (who, target_resource),
        (who, tool_name, tool_server, model_name, credential, peer_agent_id),
        (who, target_account, target_table, target_repo, memory_key, artifact_name),
        (who, recipients, secret_fingerprints, retrieval_doc_ids))
),
-- As the view has it, of each action the copy that holds.
delegated AS
(
    SELECT
        [('delegated_to', held.1)] AS touches, count() AS actions, countIf(held.4) AS not_done, sum(held.5) AS bytes_out,
        if(sought = '', boss, '') AS who, min(event_time) AS first_seen, max(event_time) AS last_seen
    FROM
    (
        SELECT
            boss, event_time,
            argMax((agent_id, principal_id, credential, not_done, bytes_out, is_twin), row_version) AS held
        FROM tacho.delegated_data FINAL
        WHERE ({tenant:String} = '' OR tenant = {tenant:String}) AND (sought = '' OR boss = sought)
        GROUP BY tenant, boss, event_time, action
    )
    WHERE NOT held.6
        AND boss != held.1
        AND ({principal:String} = '' OR held.2 = {principal:String})
        AND ({credential:String} = '' OR held.3 = {credential:String})
    GROUP BY boss, held.1
)
SELECT
    touch.1 AS touched_type,
    touch.2 AS touched,
    sum(c.actions) AS actions,
    sum(c.not_done) AS not_done,
    sum(c.bytes_out) AS bytes_out,
    if(sought != '', [sought], groupUniqArrayIf(5)(c.who, sought = '')) AS agents,
    min(c.first_seen) AS first_seen,
    max(c.last_seen) AS last_seen,
    count() OVER (PARTITION BY touch.1) AS different
FROM (SELECT * FROM counted UNION ALL SELECT * FROM delegated) AS c
ARRAY JOIN arrayFilter(one -> one.2 != '', touches) AS touch
GROUP BY touch
ORDER BY touched_type, actions DESC, touched
LIMIT {each:UInt32} BY touched_type
