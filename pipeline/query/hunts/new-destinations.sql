/*
description = "Hosts, domains and recipients that nobody in the fleet had spoken to before, with the agent that began."
risk_categories = ["agent_operation"]

[parameters.recent_hours]
type = "UInt32"
default = "24"
description = "what counts as new"

[example]
destination = "olu@acme.example"
first_seen = "2026-11-26 03:11:31.000000"
first_agent = "shop-assistant"
first_tool = "send_mail"
agents = 1
actions = 1
bytes_out = 0
event_id = "0d8cab5590866173c737912479350968"
*/
SELECT
    destination,
    min(event_time) AS first_seen,
    argMin(agent_id, event_time) AS first_agent,
    argMin(tool_name, event_time) AS first_tool,
    uniqExact(agent_id) AS agents,
    count() AS actions,
    sum(bytes_out) AS bytes_out,
    argMin(event_id, event_time) AS event_id
FROM
(
    SELECT
        event_time, agent_id, tool_name, event_id, ifNull(tool_bytes_out, 0) AS bytes_out,
        arrayJoin(arrayFilter(one -> one != '', arrayConcat(
            [if(target_domain != '', target_domain, if(target_host != '', target_host, target_ip))],
            recipients))) AS destination
    FROM tacho.actions
)
GROUP BY destination
HAVING first_seen >= now() - toIntervalHour({recent_hours:UInt32})
ORDER BY agents DESC, first_seen DESC
LIMIT 500
