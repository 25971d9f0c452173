/*
description = "Tools by share of failures, with the commonest error: broken, blocked or being probed."
risk_categories = ["agent_operation"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.calls]
type = "UInt32"
default = "5"
description = "tools with at least so many calls"

[example]
tool_name = "export"
calls = 5
failed = 5
denied = 0
share = 1
commonest_error = "no answer"
agents = 1
*/
SELECT
    tool_name,
    count() AS calls,
    countIf(outcome = 'failed') AS failed,
    countIf(outcome = 'denied') AS denied,
    round((failed + denied) / calls, 3) AS share,
    topKIf(1)(leftUTF8(if(error_message != '', error_message, error_type), 120), error_type != '' OR error_message != '')[1] AS commonest_error,
    uniqExactIf(agent_id, outcome IN ('failed', 'denied')) AS agents
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND tool_name != ''
GROUP BY tool_name
HAVING calls >= {calls:UInt32} AND failed + denied > 0
ORDER BY share DESC, calls DESC
LIMIT 200
