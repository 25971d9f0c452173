/*
description = "Prompts, arguments and answers that carry long encoded runs (base64, hex) or invisible characters."
risk_categories = ["prompt_misuse", "agent_operation"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.agent]
type = "String"
default = ""
description = "one agent, by id; empty: all"

[parameters.run_chars]
type = "UInt32"
default = "120"
description = "shortest run of encoded characters"

[example]
event_time = "2026-11-26 03:11:43.000000"
agent_id = "release-bot"
session_id = "rel-7"
kind = "tool_call"
tool_name = "run_shell"
found = "encoded run"
characters = 240
event_id = "58dde394d2d5bf553142228cf44686e2"
*/
SELECT
    event_time,
    agent_id,
    session_id,
    kind,
    tool_name,
    multiIf(invisible > 0, 'invisible characters', 'encoded run') AS found,
    greatest(invisible, longest) AS characters,
    event_id
FROM
(
    SELECT
        event_time, agent_id, session_id, kind, tool_name, event_id,
        concat(content_text, ' ', tool_args, ' ', tool_result) AS text,
        length(extractAll(text, '[\\x{200B}-\\x{200F}\\x{202A}-\\x{202E}\\x{2060}-\\x{2064}\\x{E0000}-\\x{E007F}]')) AS invisible,
        arrayMax(arrayMap(run -> length(run), extractAll(text, '[A-Za-z0-9+/=]{60,}'))) AS longest
    FROM tacho.actions
    WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND ({agent:String} = '' OR (agent_id = {agent:String}
        AND partition_key IN (SELECT partition_key FROM tacho.actions_data WHERE agent_id = {agent:String})))
)
WHERE invisible > 0 OR longest >= {run_chars:UInt32}
ORDER BY characters DESC, event_time DESC
LIMIT 500
