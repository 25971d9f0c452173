/*
description = "One tool name offered by several servers: an agent may call the wrong one."
risk_categories = ["ai_supply_chain"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
tool_name = "read_mail"
servers = 2
tool_servers = ["evil.example", "mail.acme.example"]
agents = 2
newest_server = "evil.example"
first_seen = "2026-11-26 03:10:57.000000"
last_seen = "2026-11-26 03:11:25.000000"
*/
SELECT
    tool_name,
    uniqExact(tool_server) AS servers,
    groupUniqArray(8)(tool_server) AS tool_servers,
    uniqExact(agent_id) AS agents,
    argMax(tool_server, event_time) AS newest_server,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND tool_name != '' AND tool_server != ''
GROUP BY tool_name
HAVING servers > 1
ORDER BY agents DESC, tool_name
LIMIT 200
