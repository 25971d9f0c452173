/*
description = "How far the identity of each agent is proved, and who spoke for an agent that it may not speak for."
risk_categories = ["governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
agent_id = "shop-assistant"
service_name = "svc-shop-assistant"
assurance = "asserted"
authenticated_as = "svc-other"
actions = 1
mismatches = 1
owner = ""
last_seen = "2026-11-26 03:11:28.000000"
*/
SELECT
    agent_id,
    any(service_name) AS service_name,
    toString(assurance) AS assurance,
    authenticated_as,
    count() AS actions,
    countIf(identity_mismatch) AS mismatches,
    any(agent_owner) AS owner,
    max(event_time) AS last_seen
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32})
GROUP BY agent_id, assurance, authenticated_as
ORDER BY mismatches DESC, assurance = 'authenticated', actions DESC
LIMIT 500
