/*
description = "Deletes, drops, forced pushes and account changes, each with who asked for it and whether it was approved."
risk_categories = ["agent_operation", "ai_development"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.agent]
type = "String"
default = ""
description = "one agent, by id; empty: all"

[example]
event_time = "2026-11-26 03:11:39.000000"
agent_id = "release-bot"
principal_id = "dana@acme.example"
session_id = "rel-7"
tool_name = "run_shell"
outcome = "succeeded"
approved = 0
what = "rm -rf /srv/releases/old"
event_id = "bfdafa6bb38d73af7039837f51cbac0e"
*/
SELECT
    event_time,
    agent_id,
    principal_id,
    session_id,
    tool_name,
    toString(outcome) AS outcome,
    approval_id != '' AS approved,
    leftUTF8(coalesce(nullIf(process_command_line, ''), nullIf(tool_args, ''), target_resource), 200) AS what,
    event_id
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND ({agent:String} = '' OR (agent_id = {agent:String}
        AND partition_key IN (SELECT partition_key FROM tacho.actions_data WHERE agent_id = {agent:String})))
    AND (
        file_op = 'delete' OR change_action = 'delete' OR tool_risk = 'destructive' OR memory_op = 'delete'
        OR match(concat(tool_name, ' ', tool_args, ' ', process_command_line),
            '(?i)\\b(drop (table|database|schema)|truncate table|delete from|rm -[rf]+|delete_|remove_|purge|destroy|wipe)|push.{0,40}(--force|\"force\": *\"?true)')
    )
ORDER BY event_time DESC
LIMIT 500
