/*
description = "Open alerts, gravest first: what waits, for how long, and who has it."
risk_categories = ["prompt_misuse", "agent_operation", "ai_development", "ai_supply_chain", "governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.severity]
type = "String"
default = "low"
description = "this severity or above: informational, low, medium, high, critical"

[example]
alert_id = "0c3763ae9df3ec99ebf63f1ab0948b0a"
severity = "critical"
risk = 31
title = "billing-helper: secret read, then sent outside ·[31m<script>alert(1)</script>"
agent_id = "billing-helper"
assignee = ""
signals = 3
first_seen = "2026-11-26 03:10:57.000000"
minutes_open = 11
partly_blind = 1
*/
SELECT
    alert_id,
    toString(severity) AS severity,
    round(risk / 1000, 1) AS risk,
    title,
    agent_id,
    assignee,
    signal_count AS signals,
    first_seen,
    dateDiff('minute', created_at, now()) AS minutes_open,
    notEmpty(blind_spots) AS partly_blind
FROM tacho.alerts
WHERE status = 'open' AND last_seen >= now() - toIntervalHour({hours:UInt32})
    AND indexOf(['informational', 'low', 'medium', 'high', 'critical'], toString(severity))
        >= indexOf(['informational', 'low', 'medium', 'high', 'critical'], {severity:String})
ORDER BY indexOf(['critical', 'high', 'medium', 'low', 'informational'], toString(severity)), risk DESC
LIMIT 500
