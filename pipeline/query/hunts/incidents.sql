/*
description = "Incidents: alerts of one or many agents that belong together, and what joins them."
risk_categories = ["prompt_misuse", "agent_operation", "ai_development", "ai_supply_chain", "governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.alerts]
type = "UInt32"
default = "2"
description = "so many alerts at least"

[example]
incident_id = "0c3763ae9df3ec99ebf63f1ab0948b0a"
severity = "critical"
risk = 35
alerts = 2
agents = 2
agent_ids = ["billing-helper", "shop-assistant"]
joined_by = ["content 0aa76f81"]
not_joined_by = []
title = "billing-helper: secret read, then sent outside ·[31m<script>alert(1)</script>"
first_seen = "2026-11-26 03:10:57.000000"
last_seen = "2026-11-26 03:11:32.000000"
*/
SELECT
    incident_id,
    toString(severity) AS severity,
    round(risk / 1000, 1) AS risk,
    alert_count AS alerts,
    agent_count AS agents,
    arraySlice(i.agents, 1, 8) AS agent_ids,
    arraySlice(arrayDistinct(arrayMap(one -> concat(one.kind, ' ', one.value), arrayFilter(one -> one.refused = '', joins))), 1, 5) AS joined_by,
    arraySlice(arrayDistinct(arrayMap(one -> concat(one.kind, ' ', one.value, ': ', one.refused),
        arrayFilter(one -> one.refused != '', joins))), 1, 5) AS not_joined_by,
    title,
    first_seen,
    last_seen
FROM tacho.incidents AS i
WHERE last_seen >= now() - toIntervalHour({hours:UInt32}) AND alert_count >= {alerts:UInt32}
ORDER BY alert_count DESC, i.risk DESC
LIMIT 500
