/*
description = "Alerts by framework id (ATLAS, OWASP, NIST AI RMF, ISO/IEC 42001): what was seen of what, for a report."
risk_categories = ["governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
framework = "atlas.AML.T0051.001"
alerts = 2
agents = 2
high_or_critical = 1
true_positives = 0
false_positives = 1
last_seen = "2026-11-26 03:11:32.000000"
*/
SELECT
    framework,
    count() AS alerts,
    uniqExact(agent_id) AS agents,
    countIf(severity IN ('high', 'critical')) AS high_or_critical,
    countIf(disposition = 'true_positive') AS true_positives,
    countIf(disposition IN ('false_positive', 'benign')) AS false_positives,
    max(last_seen) AS last_seen
FROM
(
    SELECT agent_id, severity, disposition, last_seen, arrayJoin(frameworks) AS framework
    FROM tacho.alerts
    WHERE last_seen >= now() - toIntervalHour({hours:UInt32})
)
GROUP BY framework
ORDER BY alerts DESC, framework
