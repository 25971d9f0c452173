/*
description = "Seconds in which an agent acted faster than a person could follow, beside its own usual pace."
risk_categories = ["agent_operation"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.actions_a_second]
type = "UInt32"
default = "5"
description = "at least so many actions in one second"

[example]
agent_id = "report-bot"
most_in_a_second = 10
at_second = "2026-11-26 03:11:51.000000"
usual = 1
fast_seconds = 1
tools_then = ["query"]
*/
SELECT
    agent_id,
    max(actions) AS most_in_a_second,
    argMax(second, actions) AS at_second,
    quantileExact(0.5)(actions) AS usual,
    countIf(actions >= {actions_a_second:UInt32}) AS fast_seconds,
    argMax(tools, actions) AS tools_then
FROM
(
    SELECT agent_id, toStartOfSecond(event_time) AS second, count() AS actions, groupUniqArray(5)(tool_name) AS tools
    FROM tacho.actions
    WHERE event_time >= now() - toIntervalHour({hours:UInt32})
    GROUP BY agent_id, second
)
GROUP BY agent_id
HAVING most_in_a_second >= {actions_a_second:UInt32}
ORDER BY most_in_a_second DESC
LIMIT 200
