/*
description = "Minutes in which an agent did many times what is usual for it."
risk_categories = ["agent_operation"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.times_usual]
type = "Float64"
default = "3"
description = "at least so many times its usual minute"

[example]
minute = "2026-11-26 03:11:00"
agent_id = "report-bot"
actions = 18
usual = 1
times_usual = 18
not_done = 5
tools = 2
tokens = 0
bytes_out = 0
*/
SELECT minute, agent_id, actions, usual, times_usual, not_done, tools, tokens, bytes_out
FROM tacho.agent_rates
WHERE minute >= now() - toIntervalHour({hours:UInt32}) AND times_usual >= {times_usual:Float64}
ORDER BY times_usual DESC, minute
LIMIT 500
