/*
description = "Who else called this tool, spoke to this host, read this file or used this credential."
risk_categories = ["agent_operation", "ai_supply_chain", "prompt_misuse"]

[parameters.touched]
type = "String"
default = ""
description = "tool, host, file, credential …; empty: the first thing that the newest alert points at"

[example]
touched_type = "host"
touched = "paste.example"
agent_id = "billing-helper"
principal_ids = ["dana@acme.example"]
sessions = 1
actions = 1
not_done = 0
has_alerts = 1
first_seen = "2026-11-26 03:11:04.000000"
last_seen = "2026-11-26 03:11:04.000000"
*/
SELECT touched_type, touched, agent_id, principal_ids, sessions, actions, not_done, has_alerts, first_seen, last_seen
FROM tacho.who_else
WHERE touched = if({touched:String} != '', {touched:String},
    (SELECT arrayFirst(one -> one.type != 'agent', observables).value FROM tacho.alerts
        WHERE arrayExists(one -> one.type != 'agent', observables) ORDER BY last_seen DESC, alert_id LIMIT 1))
ORDER BY has_alerts DESC, actions DESC, agent_id
LIMIT 500
