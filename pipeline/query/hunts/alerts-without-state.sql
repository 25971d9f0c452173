/*
description = "Grave alerts that stand without what an investigation needs to know of the agent, and what is missing."
risk_categories = ["governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.severity]
type = "String"
default = "high"
description = "this severity or above: informational, low, medium, high, critical"

[example]
agent_id = "fleet-00"
alerts = 1
unanswered = 1
answered = 0
least_complete = 21
missing = ["memory", "model", "policies", "system_prompt_hash", "tools"]
gravest_alert = "f574c5f57adc19fdbdbcac37d6497684"
newest = "2026-11-27 08:28:44.369381"
*/
SELECT
    agent_id,
    count() AS alerts,
    countIf(stage = 'unanswered') AS unanswered,
    countIf(stage = 'answered') AS answered,
    min(JSONExtractInt(state, 'completeness')) AS least_complete,
    arraySort(arrayDistinct(arrayFlatten(groupArray(arrayFilter(
        part -> NOT JSONHas(state, part)
            AND NOT (stage = 'answered' AND part IN ('memory', 'policies', 'tools')),
        ['last_actions', 'memory', 'model', 'policies', 'system_prompt_hash', 'tools']
    ))))) AS missing,
    argMax(alert_id, risk) AS gravest_alert,
    max(last_seen) AS newest
FROM tacho.alerts
WHERE last_seen >= now() - toIntervalHour({hours:UInt32})
    AND agent_id != '' AND NOT replay
    AND indexOf(['informational', 'low', 'medium', 'high', 'critical'], toString(severity))
        >= indexOf(['informational', 'low', 'medium', 'high', 'critical'], {severity:String})
GROUP BY agent_id
HAVING notEmpty(missing)
ORDER BY alerts DESC, agent_id
LIMIT 500
