/*
description = "Models asked for and models that answered, by agent: a model that nobody chose, a new endpoint, a silent change."
risk_categories = ["ai_supply_chain", "governance"]

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
model_name = "model-a"
model_served = "model-b"
model_provider = ""
model_base_url = ""
model_region = ""
calls = 1
other_than_asked = 1
first_seen = "2026-11-26 03:10:56.000000"
last_seen = "2026-11-26 03:10:56.000000"
*/
SELECT
    agent_id,
    model_name,
    model_served,
    model_provider,
    model_base_url,
    model_region,
    count() AS calls,
    model_served != '' AND model_served != model_name AS other_than_asked,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND ({agent:String} = '' OR (agent_id = {agent:String}
        AND partition_key IN (SELECT partition_key FROM tacho.actions_data WHERE agent_id = {agent:String}))) AND model_name != ''
GROUP BY agent_id, model_name, model_served, model_provider, model_base_url, model_region
ORDER BY other_than_asked DESC, first_seen DESC
LIMIT 500
