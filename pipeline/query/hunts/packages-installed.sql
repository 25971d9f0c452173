/*
description = "Packages, models and skills that agents fetched, from where, how old and whether signed."
risk_categories = ["ai_supply_chain", "ai_development"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
event_time = "2026-11-26 03:11:41.000000"
agent_id = "release-bot"
package = "invoice-tools"
version = ""
type = ""
registry = ""
publisher = ""
signed = ""
age_days = ""
command = "pip install invoice-tools"
event_id = "f181bb1587ec0aa200d3888cfc71d0a4"
*/
SELECT
    event_time,
    agent_id,
    if(artifact_name != '', artifact_name, extract(command, '(?i)(?:pip3?|uv|npm|yarn|pnpm|cargo|gem|go) +(?:install|add|get|i) +([^ &|;]+)')) AS package,
    artifact_version AS version,
    artifact_type AS type,
    artifact_registry AS registry,
    artifact_publisher AS publisher,
    artifact_signed AS signed,
    artifact_age_days AS age_days,
    leftUTF8(command, 160) AS command,
    event_id
FROM
(
    SELECT *, if(process_command_line != '', process_command_line, tool_args) AS command
    FROM tacho.actions
    WHERE event_time >= now() - toIntervalHour({hours:UInt32})
)
WHERE kind = 'artifact' OR artifact_name != ''
    OR match(command, '(?i)\\b(pip3?|uv|npm|yarn|pnpm|cargo|gem|go) +(install|add|get|i) +|curl[^|]*\\| *(ba|z)?sh')
ORDER BY event_time DESC
LIMIT 500
