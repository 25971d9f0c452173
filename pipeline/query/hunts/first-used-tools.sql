/*
description = "Tools that an agent used for the first time lately, though it was seen before."
risk_categories = ["agent_operation", "ai_supply_chain"]

[parameters.recent_hours]
type = "UInt32"
default = "24"
description = "what counts as lately"

[parameters.agent]
type = "String"
default = ""
description = "one agent, by id; empty: all"

[example]
agent_id = "report-bot"
tool_name = "export"
tool_server = ""
first_used = "2026-11-26 03:11:55.000000"
calls = 5
agent_since = "2025-10-22 03:10:55.000000"
first_args = ""
event_id = "2e99b1924e734f04b8cfc23c0dcb987b"
*/
SELECT
    agent_id,
    tool_name,
    any(tool_server) AS tool_server,
    min(event_time) AS first_used,
    count() AS calls,
    any(agent_since) AS agent_since,
    argMin(leftUTF8(tool_args, 160), event_time) AS first_args,
    argMin(event_id, event_time) AS event_id
FROM
(
    SELECT *, min(event_time) OVER (PARTITION BY tenant, agent_id) AS agent_since
    FROM (SELECT tenant, agent_id, tool_name, tool_server, tool_args, event_time, event_id FROM tacho.actions WHERE ({agent:String} = '' OR (agent_id = {agent:String}
        AND partition_key IN (SELECT partition_key FROM tacho.actions_data WHERE agent_id = {agent:String}))))
)
WHERE tool_name != ''
GROUP BY tenant, agent_id, tool_name
HAVING first_used >= now() - toIntervalHour({recent_hours:UInt32}) AND first_used > agent_since
ORDER BY first_used DESC
LIMIT 500
