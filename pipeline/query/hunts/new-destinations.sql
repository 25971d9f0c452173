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
*/
SELECT
    touched AS destination,
    min(t.first_seen) AS first_seen,
    argMin(agent_id, (t.first_seen, agent_id)) AS first_agent,
    argMin(t.first_tool, (t.first_seen, agent_id)) AS first_tool,
    uniqExact(agent_id) AS agents,
    sum(t.actions) AS actions,
    sum(t.bytes_out) AS bytes_out
FROM tacho.touches_by_hour AS t
WHERE touched_type IN ('host', 'recipient') AND touched IN
    -- Those that are new are few: of them alone is all the rest asked.
    (
        SELECT touched
        FROM tacho.destinations
        GROUP BY touched
        HAVING min(first_seen) >= now() - toIntervalHour({recent_hours:UInt32})
    )
GROUP BY destination
ORDER BY agents DESC, first_seen DESC
LIMIT 500
