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
    coalesce(nullIf(policy_reason, ''), nullIf(error_message, ''), nullIf(policy_decision, ''), toString(outcome)) AS reason,
    count() AS times,
    uniqExact(session_id) AS sessions,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen
FROM
(
    SELECT
        *, coalesce(nullIf(target_resource, ''), nullIf(target_url, ''), nullIf(target_host, ''), file_path) AS target
    -- Few rows, chosen before copies are told apart: no later copy of an action says otherwise.
    FROM tacho.actions_data FINAL
    PREWHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND (outcome = 'denied' OR policy_decision = 'deny' OR approval_decision = 'refused')
    WHERE twin_of = '' AND ({agent:String} = '' OR agent_id = {agent:String})
)
GROUP BY agent_id, tool_name, reason
ORDER BY times DESC
LIMIT 500
