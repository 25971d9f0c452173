/*
description = "What agents and gateways were told to do, and whether they did it."
risk_categories = ["agent_operation", "governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
issued_at = "2026-11-26 03:11:05.000000"
kind = "capture"
agent_id = "billing-helper"
session_id = "conv-7c41"
reason = "Critical alert: captured state is asked for before the agent goes on."
dry_run = false
answer = "applied"
answered_at = "2026-11-26 03:11:06.000000"
alert_id = "0c3763ae9df3ec99ebf63f1ab0948b0a"
directive_id = "c0938381d326c5bb022c277c6c73a79f"
*/
SELECT
    issued_at,
    toString(kind) AS kind,
    agent_id,
    session_id,
    reason,
    dry_run,
    if(answer != '', answer, if(expires_at < now(), 'none: expired', 'none yet')) AS answer,
    answered_at,
    alert_id,
    directive_id
FROM tacho.directives
WHERE issued_at >= now() - toIntervalHour({hours:UInt32})
ORDER BY issued_at DESC
LIMIT 500
