/*
description = "What agents tried and were not let: by agent, tool and reason."
risk_categories = ["agent_operation", "governance"]

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
target = "/srv/billing/.env.prod"
reason = "not in the workspace"
times = 1
sessions = 1
first_seen = "2026-11-26 03:10:59.000000"
last_seen = "2026-11-26 03:10:59.000000"
*/
SELECT
    agent_id,
    tool_name,
    any(target) AS target,
    reason,
    count() AS times,
    uniqExact(session_id) AS sessions,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen
FROM tacho.denials
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND ({agent:String} = '' OR agent_id = {agent:String})
GROUP BY agent_id, tool_name, reason
ORDER BY times DESC
LIMIT 500
