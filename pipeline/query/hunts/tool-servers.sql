/*
description = "MCP servers and other services that offer tools: when each was first seen, who uses it, how often it changed."
risk_categories = ["ai_supply_chain"]

[parameters.hours]
type = "UInt32"
default = "720"
description = "so many hours back from now"

[example]
tool_server = "ci.example"
first_seen = "2026-11-26 03:11:45.000000"
last_seen = "2026-11-26 03:11:47.000000"
tools = 1
agents = 1
definitions = 2
calls = 2
not_done = 0
*/
SELECT
    if(tool_server != '', tool_server, '(not named)') AS tool_server,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen,
    uniqExact(tool_name) AS tools,
    uniqExact(agent_id) AS agents,
    uniqExactIf(tool_definition_hash, tool_definition_hash != '') AS definitions,
    count() AS calls,
    countIf(outcome IN ('failed', 'denied')) AS not_done
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND tool_name != ''
GROUP BY tool_server
ORDER BY first_seen DESC
LIMIT 500
