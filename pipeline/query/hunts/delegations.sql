/*
description = "Who works for whom: chains of delegation, how deep, and whose alerts lie on them."
risk_categories = ["agent_operation", "governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.depth]
type = "UInt32"
default = "1"
description = "chains of at least this length"

[example]
chain = "dana@acme.example → billing-helper → shop-assistant"
depth = 3
agent_id = "shop-assistant"
principal_id = "olu@acme.example"
actions = 1
sessions = 1
has_alerts = 1
first_seen = "2026-11-26 03:11:28.000000"
last_seen = "2026-11-26 03:11:28.000000"
*/
SELECT
    arrayStringConcat(delegation_chain, ' → ') AS chain,
    length(delegation_chain) AS depth,
    agent_id,
    any(principal_id) AS principal_id,
    count() AS actions,
    uniqExact(session_id) AS sessions,
    agent_id IN (SELECT agent_id FROM tacho.alerts) AS has_alerts,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND length(delegation_chain) >= {depth:UInt32}
GROUP BY delegation_chain, agent_id
ORDER BY depth DESC, actions DESC
LIMIT 500
