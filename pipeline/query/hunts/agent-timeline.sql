/*
description = "What an agent did and what was said of it, in order: actions, signals, alerts, states and directives."
risk_categories = ["agent_operation", "prompt_misuse"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.agent]
type = "String"
default = ""
description = "the agent; empty: that of the gravest alert"

[example]
time = "2026-11-26 03:10:55.000000"
what = "action"
kind = "prompt"
title = "prompt"
detail = "Reconcile the invoices, please."
outcome = "succeeded"
severity = ""
session_id = "conv-7c41"
id = "4f52220f5488f73e1d1bf6f1df004008"
*/
WITH
    if({agent:String} != '', {agent:String}, (SELECT agent_id FROM tacho.alerts ORDER BY risk DESC, alert_id LIMIT 1)) AS sought,
    -- Of a busy agent the words of what is not shown are not read: no action after the last of so many is.
    (
        SELECT if(count() < 2000, toDateTime64('2299-01-01', 6, 'UTC'), max(event_time)) FROM
        (
            SELECT event_time
            FROM tacho.actions
            WHERE agent_id = sought AND event_time >= now() - toIntervalHour({hours:UInt32})
                AND partition_key IN (SELECT partition_key FROM tacho.actions_data WHERE agent_id = sought)
            ORDER BY event_time
            LIMIT 2000
        )
    ) AS until
SELECT time, what, kind, title, leftUTF8(detail, 160) AS detail, outcome, severity, session_id, id
FROM tacho.agent_timeline
WHERE agent_id = sought AND time BETWEEN now() - toIntervalHour({hours:UInt32}) AND until
    AND (partition_key = '' OR partition_key IN (SELECT partition_key FROM tacho.actions_data WHERE agent_id = sought))
ORDER BY time, what, id
LIMIT 2000
