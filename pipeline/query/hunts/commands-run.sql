/*
description = "Programs and scripts that agents ran, rarest first: what only one agent ever ran deserves a look."
risk_categories = ["ai_development", "agent_operation"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.agent]
type = "String"
default = ""
description = "one agent, by id; empty: all"

[example]
program = "pip"
command_line = "pip install invoice-tools"
times = 1
agents = 1
first_agent = "release-bot"
failed = 0
first_seen = "2026-11-26 03:11:41.000000"
last_seen = "2026-11-26 03:11:41.000000"
event_id = "f181bb1587ec0aa200d3888cfc71d0a4"
*/
SELECT
    if(process_name != '', process_name, extract(process_command_line, '^\\S+')) AS program,
    any(leftUTF8(process_command_line, 200)) AS command_line,
    count() AS times,
    uniqExact(agent_id) AS agents,
    argMin(agent_id, event_time) AS first_agent,
    countIf(process_exit_code != 0) AS failed,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen,
    argMin(event_id, event_time) AS event_id
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND ({agent:String} = '' OR (agent_id = {agent:String}
        AND partition_key IN (SELECT partition_key FROM tacho.actions_data WHERE agent_id = {agent:String}))) AND process_command_line != ''
GROUP BY program, cityHash64(process_command_line)
ORDER BY agents, times, last_seen DESC
LIMIT 500
