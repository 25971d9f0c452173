/*
description = "A session as a conversation: who said what, which tools were called, what they answered."
risk_categories = ["prompt_misuse", "agent_operation"]

[parameters.session]
type = "String"
default = ""
description = "the session; empty: that of the gravest alert"

[example]
time = "2026-11-26 03:10:55.000000"
speaker = "user"
tool_name = ""
text = "Reconcile the invoices, please."
outcome = "succeeded"
content_trust = ""
event_id = "4f52220f5488f73e1d1bf6f1df004008"
*/
WITH
    if({session:String} != '', {session:String},
        (SELECT session_id FROM tacho.alerts ORDER BY risk DESC, alert_id LIMIT 1)) AS sought,
    (SELECT (min(event_time), max(event_time)) FROM tacho.actions_data WHERE session_id = sought) AS between
SELECT time, speaker, tool_name, text, outcome, content_trust, event_id
FROM tacho.session_conversation
WHERE session_id = sought AND time BETWEEN between.1 AND between.2
ORDER BY time, part
LIMIT 2000
