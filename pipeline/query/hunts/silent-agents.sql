/*
description = "Agents that were busy and then stopped: no action for a while, though they acted before."
risk_categories = ["governance", "agent_operation"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.silent_minutes]
type = "UInt32"
default = "60"
description = "silent for at least so long"

[example]
agent_id = "gone-bot"
service_name = "svc-gone-bot"
last_seen = "2026-11-26 00:10:55.000000"
silent_minutes = 191
actions = 1
last_kind = "tool_call"
last_tool = "query"
has_alerts = 0
*/
SELECT
    agent_id,
    any(service_name) AS service_name,
    max(event_time) AS last_seen,
    dateDiff('minute', max(event_time), now()) AS silent_minutes,
    count() AS actions,
    argMax(toString(kind), event_time) AS last_kind,
    argMax(tool_name, event_time) AS last_tool,
    agent_id IN (SELECT agent_id FROM tacho.alerts) AS has_alerts
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32})
GROUP BY agent_id
HAVING silent_minutes >= {silent_minutes:UInt32}
ORDER BY has_alerts DESC, silent_minutes
LIMIT 500
