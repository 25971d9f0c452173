/*
description = "What agents changed in code: files, branches, who approved, and whether a person wrote it too."
risk_categories = ["ai_development"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.agent]
type = "String"
default = ""
description = "one agent, by id; empty: all"

[example]
event_time = "2026-11-26 03:11:35.000000"
agent_id = "release-bot"
principal_id = "dana@acme.example"
target_repo = "acme/billing"
target_branch = "main"
change = "git_push"
files = "billing/pay.py"
author = "agent"
approval_actor = ""
outcome = "succeeded"
event_id = "1717cf964ecd8c327b67b1a38185c91f"
*/
SELECT
    event_time,
    agent_id,
    principal_id,
    target_repo,
    target_branch,
    coalesce(nullIf(change_action, ''), nullIf(operation, ''), tool_name) AS change,
    if(empty(change_files), file_path, arrayStringConcat(arraySlice(change_files, 1, 5), ', ')) AS files,
    change_author_kind AS author,
    approval_actor,
    toString(outcome) AS outcome,
    event_id
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND ({agent:String} = '' OR (agent_id = {agent:String}
        AND partition_key IN (SELECT partition_key FROM tacho.actions_data WHERE agent_id = {agent:String})))
    AND (kind = 'code_change' OR target_repo != '' OR notEmpty(change_files)
        OR match(tool_name, '(?i)(git_|commit|push|merge|pull_request|write_file|edit_file|apply_patch)')
        OR match(process_command_line, '\\bgit +(push|commit|merge|rebase|reset)'))
ORDER BY event_time DESC
LIMIT 500
