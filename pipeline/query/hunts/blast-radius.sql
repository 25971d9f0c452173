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

[example]
touched_type = "credential"
touched = "key-billing"
actions = 1
not_done = 0
bytes_out = 0
agents = ["billing-helper"]
first_seen = "2026-11-26 03:11:02.000000"
last_seen = "2026-11-26 03:11:02.000000"
*/
WITH if({agent:String} != '' OR {principal:String} != '' OR {credential:String} != '', {agent:String},
    (SELECT agent_id FROM tacho.alerts ORDER BY risk DESC, alert_id LIMIT 1)) AS sought,
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
)
SELECT
    touched_type,
    touched,
    sum(actions) AS actions,
    sum(not_done) AS not_done,
    sum(bytes_out) AS bytes_out,
    groupUniqArray(5)(agent_id) AS agents,
    min(first_seen) AS first_seen,
    max(last_seen) AS last_seen
FROM tacho.blast_radius
WHERE ({principal:String} = '' OR principal_id = {principal:String})
    AND ({credential:String} = '' OR credential = {credential:String})
    AND (sought = '' OR agent_id = sought)
    AND (partition_key = '' OR partition_key IN keys)
GROUP BY touched_type, touched
ORDER BY touched_type, actions DESC, touched
LIMIT 1000
