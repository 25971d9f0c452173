/*
description = "People and agents that act outside working hours, with how much of it was like that."
risk_categories = ["governance", "agent_operation"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.from_hour]
type = "UInt8"
default = "7"
description = "working day begins [hour, UTC]"

[parameters.to_hour]
type = "UInt8"
default = "19"
description = "working day ends [hour, UTC]"

[example]
principal = "dana@acme.example"
agent_id = "report-bot"
outside = 23
actions = 23
share = 1
tools_outside = ["query", "export"]
last_outside = "2026-11-26 03:11:59.000000"
*/
SELECT
    if(principal_id != '', principal_id, '(not named)') AS principal,
    agent_id,
    countIf(away) AS outside,
    count() AS actions,
    round(outside / actions, 3) AS share,
    groupUniqArrayIf(6)(tool_name, away AND tool_name != '') AS tools_outside,
    maxIf(event_time, away) AS last_outside
FROM
(
    SELECT
        principal_id, agent_id, tool_name, event_time,
        toHour(event_time, 'UTC') < {from_hour:UInt8} OR toHour(event_time, 'UTC') >= {to_hour:UInt8}
            OR toDayOfWeek(event_time) > 5 AS away
    FROM tacho.actions
    WHERE event_time >= now() - toIntervalHour({hours:UInt32})
)
GROUP BY principal, agent_id
HAVING outside > 0
ORDER BY outside DESC
LIMIT 500
