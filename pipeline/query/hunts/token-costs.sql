/*
description = "Tokens and money by agent and hour, for a curve: runaway loops and hidden work show here first."
risk_categories = ["agent_operation", "governance"]
plot = { x = "time", y = "tokens", by = "agent_id" }

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.agent]
type = "String"
default = ""
description = "one agent, by id; empty: all"

[example]
time = "2026-11-26 03:00:00"
agent_id = "billing-helper"
model = "model-a"
calls = 1
tokens_in = 900
tokens_out = 60
tokens = 960
cost_usd = 0
*/
SELECT
    hour AS time,
    agent_id,
    max(model_name) AS model,
    sum(model_calls) AS calls,
    sum(m.tokens_in) AS tokens_in,
    sum(m.tokens_out) AS tokens_out,
    tokens_in + tokens_out AS tokens,
    round(sum(m.cost_usd), 4) AS cost_usd
FROM tacho.agent_minutes AS m
WHERE minute >= now() - toIntervalHour({hours:UInt32}) AND ({agent:String} = '' OR agent_id = {agent:String}) AND model_calls > 0
GROUP BY time, agent_id
ORDER BY tokens DESC, time, agent_id
LIMIT 20000
