/*
description = "Credentials used by more than one agent or principal, or beyond their owner."
risk_categories = ["agent_operation", "governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
credential = "key-billing"
owner = "finance"
agents = 2
principals = 2
agent_ids = ["shop-assistant", "billing-helper"]
scopes = ["billing:read"]
actions = 2
first_seen = "2026-11-26 03:11:02.000000"
last_seen = "2026-11-26 03:11:28.000000"
*/
SELECT
    if(credential_id != '', credential_id, credential_fingerprint) AS credential,
    any(credential_owner) AS owner,
    uniqExact(agent_id) AS agents,
    uniqExact(principal_id) AS principals,
    groupUniqArray(8)(agent_id) AS agent_ids,
    arrayDistinct(arrayFlatten(groupUniqArray(20)(credential_scopes))) AS scopes,
    count() AS actions,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND (credential_id != '' OR credential_fingerprint != '')
GROUP BY credential
HAVING agents > 1 OR principals > 1
ORDER BY agents DESC, principals DESC
LIMIT 200
