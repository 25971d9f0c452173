/*
description = "How much each agent sent out, where to, and to whom."
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
destination = "paste.example"
bytes_out = 1184
actions = 1
with_labels = 1
tools = ["http_post"]
last_seen = "2026-11-26 03:11:04.000000"
*/
SELECT
    agent_id,
    destination,
    sum(bytes) AS bytes_out,
    count() AS actions,
    countIf(labelled) AS with_labels,
    groupUniqArray(5)(tool_name) AS tools,
    max(event_time) AS last_seen
FROM
(
    SELECT
        agent_id, tool_name, event_time,
        coalesce(tool_bytes_out, content_bytes, toInt64(length(tool_args))) AS bytes,
        notEmpty(content_labels) OR notEmpty(secret_types) OR notEmpty(redactions) AS labelled,
        arrayJoin(arrayFilter(one -> one != '', arrayConcat(
            [if(target_domain != '', target_domain, if(target_host != '', target_host, target_ip))],
            recipients))) AS destination
    FROM tacho.actions
    WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND ({agent:String} = '' OR (agent_id = {agent:String}
        AND partition_key IN (SELECT partition_key FROM tacho.actions_data WHERE agent_id = {agent:String})))
)
GROUP BY agent_id, destination
ORDER BY with_labels DESC, bytes_out DESC
LIMIT 500
