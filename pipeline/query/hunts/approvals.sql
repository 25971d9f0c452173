/*
description = "Approvals: who approved what for which agent, how fast, and whether what was done is what was approved."
risk_categories = ["governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
event_time = "2026-11-26 03:11:33.000000"
agent_id = "shop-assistant"
approval_actor = "dana@acme.example"
approval_decision = "approved"
tool_name = "refund"
seconds_taken = 0.9
approved_itself = 1
other_arguments = 1
approval_id = "ap-1"
event_id = "12d38a4785db0954cca55a351ac345aa"
*/
SELECT
    event_time,
    agent_id,
    approval_actor,
    approval_decision,
    tool_name,
    round(approval_latency_ms / 1000, 1) AS seconds_taken,
    approval_actor != '' AND approval_actor IN (agent_id, principal_id) AS approved_itself,
    approval_args_hash != '' AND tool_args_hash != '' AND approval_args_hash != tool_args_hash AS other_arguments,
    approval_id,
    event_id
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND (approval_id != '' OR approval_decision != '' OR kind = 'approval')
ORDER BY other_arguments DESC, approved_itself DESC, seconds_taken
LIMIT 500
