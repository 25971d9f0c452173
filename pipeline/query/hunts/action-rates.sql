/*
description = "Actions a minute of each agent, for a curve: who works at which pace, and when it changed."
risk_categories = ["agent_operation"]
plot = { x = "time", y = "actions", by = "agent_id" }

[parameters.hours]
type = "UInt32"
default = "24"
description = "so many hours back from now"

[parameters.agent]
type = "String"
default = ""
description = "one agent, by id; empty: all"

[example]
time = "2026-11-26 00:10:00"
agent_id = "gone-bot"
actions = 1
not_done = 0
*/
SELECT
    minute AS time,
    agent_id,
    sum(m.actions) AS actions,
    sum(m.not_done) AS not_done
FROM tacho.agent_minutes AS m
WHERE minute >= now() - toIntervalHour({hours:UInt32}) AND ({agent:String} = '' OR agent_id = {agent:String})
GROUP BY time, agent_id
ORDER BY time, agent_id
LIMIT 50000
