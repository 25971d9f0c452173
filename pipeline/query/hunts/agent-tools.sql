/*
description = "What each agent does: tools with counts, failures, and when first and last used."
risk_categories = ["agent_operation"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.agent]
type = "String"
default = ""
description = "one agent, by id; empty: all"

[example]
agent_id = "billing-helper"
tool_name = "read_file"
tool_server = ""
calls = 2
not_done = 1
sessions = 1
first_used = "2026-11-26 03:10:59.000000"
last_used = "2026-11-26 03:11:02.000000"
*/
SELECT
    agent_id,
    tool_name,
    tool_server,
    count() AS calls,
    countIf(outcome IN ('failed', 'denied')) AS not_done,
    uniqExact(session_id) AS sessions,
    min(event_time) AS first_used,
    max(event_time) AS last_used
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND ({agent:String} = '' OR (agent_id = {agent:String}
        AND partition_key IN (SELECT partition_key FROM tacho.actions_data WHERE agent_id = {agent:String}))) AND tool_name != ''
GROUP BY agent_id, tool_name, tool_server
ORDER BY agent_id, calls DESC, tool_name
LIMIT 2000
