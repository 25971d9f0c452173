/*
description = "Actions that were denied or failed and then went through in the same session with other arguments: trying until it works."
risk_categories = ["prompt_misuse", "agent_operation"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.within_minutes]
type = "UInt32"
default = "30"
description = "at most so long after the refusal"

[example]
refused_at = "2026-11-26 03:10:59.000000"
done_at = "2026-11-26 03:11:02.000000"
agent_id = "billing-helper"
session_id = "conv-7c41"
tool_name = "read_file"
refused_because = "not in the workspace"
refused_args = "{\"path\":\".env.prod\"}"
done_args = "{\"path\":\".env\"}"
event_id = "87e465845a5b594d7e5ba1d42a4c5be3"
*/
SELECT
    no.event_time AS refused_at,
    yes.event_time AS done_at,
    no.agent_id AS agent_id,
    no.session_id AS session_id,
    no.tool_name AS tool_name,
    no.why AS refused_because,
    leftUTF8(no.tool_args, 160) AS refused_args,
    leftUTF8(yes.tool_args, 160) AS done_args,
    yes.event_id AS event_id
FROM
(
    SELECT
        event_time, agent_id, session_id, tool_name, tool_args, tool_args_hash,
        coalesce(nullIf(policy_reason, ''), nullIf(error_message, ''), nullIf(policy_decision, ''), toString(outcome)) AS why
    FROM tacho.actions
    WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND tool_name != '' AND (outcome IN ('denied', 'failed') OR policy_decision = 'deny')
) AS no
INNER JOIN
(
    SELECT event_time, agent_id, session_id, tool_name, tool_args, tool_args_hash, event_id
    FROM tacho.actions
    WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND tool_name != '' AND outcome = 'succeeded'
) AS yes USING (agent_id, session_id, tool_name)
WHERE yes.event_time > no.event_time
    AND yes.event_time <= no.event_time + toIntervalMinute({within_minutes:UInt32})
    AND yes.tool_args_hash != no.tool_args_hash
ORDER BY done_at DESC
LIMIT 1 BY session_id, tool_name, done_args
LIMIT 500
