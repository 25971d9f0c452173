/*
description = "Secrets and personal values in files that agents wrote or code that they changed."
risk_categories = ["ai_development"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
event_time = "2026-11-26 03:11:35.000000"
agent_id = "release-bot"
tool_name = "git_push"
place = "acme/billing"
types = ["api_key"]
secret_fingerprints = ["5f2c90aa17d3"]
event_id = "1717cf964ecd8c327b67b1a38185c91f"
*/
SELECT
    event_time,
    agent_id,
    tool_name,
    if(file_path != '', file_path, target_repo) AS place,
    arrayDistinct(arrayConcat(secret_types, redactions)) AS types,
    secret_fingerprints,
    event_id
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND (notEmpty(secret_types) OR notEmpty(redactions))
    AND (kind IN ('code_change', 'file') OR file_op IN ('write', 'create', 'append')
        OR match(tool_name, '(?i)(git_|commit|push|write_file|edit_file|apply_patch|create_file)'))
ORDER BY event_time DESC
LIMIT 500
