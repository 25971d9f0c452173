/*
description = "Risk of principals, credentials or agents: that of their open alerts, halving with age."
risk_categories = ["prompt_misuse", "agent_operation", "governance"]

[parameters.type]
type = "String"
default = "principal"
description = "principal, credential or agent"

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
entity = "dana@acme.example"
risk = 34.9
risk_now = 22.1
alerts = 2
agents = 2
incidents = 1
first_seen = "2026-11-26 03:10:57.000000"
last_seen = "2026-11-26 03:11:32.000000"
*/
SELECT
    entity,
    round(risk / 1000, 1) AS risk,
    round(risk_now / 1000, 1) AS risk_now,
    alerts,
    agents,
    incidents,
    first_seen,
    last_seen
FROM tacho.entity_risk AS r
WHERE entity_type = {type:String} AND last_seen >= now() - toIntervalHour({hours:UInt32})
ORDER BY r.risk_now DESC, r.risk DESC, entity
LIMIT 500
