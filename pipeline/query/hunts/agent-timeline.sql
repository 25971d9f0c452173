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
SELECT time, what, kind, title, leftUTF8(detail, 160) AS detail, outcome, severity, session_id, id
FROM tacho.agent_timeline
WHERE agent_id = if({agent:String} != '', {agent:String}, (SELECT agent_id FROM tacho.alerts ORDER BY risk DESC, alert_id LIMIT 1)) AND time >= now() - toIntervalHour({hours:UInt32})
ORDER BY time, what, id
LIMIT 2000
