/*
description = "Personal values and secrets that agents handled, by type: how many, through which tools."
risk_categories = ["governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.agent]
type = "String"
default = ""
description = "one agent, by id; empty: all"

[example]
agent_id = "shop-assistant"
type = "pii"
actions = 1
sessions = 1
tools = ["send_mail"]
first_seen = "2026-11-26 03:11:31.000000"
last_seen = "2026-11-26 03:11:31.000000"
*/
SELECT
    agent_id,
    type,
    count() AS actions,
    uniqExact(session_id) AS sessions,
    groupUniqArrayIf(6)(tool_name, tool_name != '') AS tools,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen
FROM
(
    SELECT agent_id, session_id, tool_name, event_time, arrayJoin(arrayDistinct(arrayConcat(redactions, content_labels))) AS type
    FROM tacho.actions
    WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND ({agent:String} = '' OR (agent_id = {agent:String}
        AND partition_key IN (SELECT partition_key FROM tacho.actions_data WHERE agent_id = {agent:String})))
)
GROUP BY agent_id, type
ORDER BY actions DESC
LIMIT 500
