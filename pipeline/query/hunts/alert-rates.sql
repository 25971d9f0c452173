/*
description = "Alerts by minute and severity, for a curve: when it began and whether it goes on."
risk_categories = ["prompt_misuse", "agent_operation", "ai_development", "ai_supply_chain", "governance"]
plot = { x = "time", y = "alerts", by = "severity" }

[parameters.hours]
type = "UInt32"
default = "24"
description = "so many hours back from now"

[example]
time = "2026-11-26 03:10:00"
severity = "critical"
alerts = 1
agents = 1
*/
SELECT
    toStartOfMinute(first_seen) AS time,
    toString(severity) AS severity,
    count() AS alerts,
    uniqExact(agent_id) AS agents
FROM tacho.alerts
WHERE first_seen >= now() - toIntervalHour({hours:UInt32})
GROUP BY time, severity
ORDER BY time, severity
