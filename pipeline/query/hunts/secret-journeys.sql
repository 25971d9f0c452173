/*
description = "One secret in several hands: seen with more than one agent, session or destination. Secrets are tokens here; equal ones still meet."
risk_categories = ["agent_operation", "governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
fingerprint = "5f2c90aa17d3"
types = ["api_key"]
agents = 2
sessions = 2
times = 3
tools = ["read_file", "http_post", "git_push"]
destinations = ["paste.example"]
first_agent = "billing-helper"
first_seen = "2026-11-26 03:11:02.000000"
last_seen = "2026-11-26 03:11:35.000000"
*/
SELECT
    fingerprint,
    groupUniqArray(4)(secret_type) AS types,
    uniqExact(agent_id) AS agents,
    uniqExact(session_id) AS sessions,
    count() AS times,
    groupUniqArrayIf(5)(tool_name, tool_name != '') AS tools,
    groupUniqArrayIf(5)(destination, destination != '') AS destinations,
    argMin(agent_id, event_time) AS first_agent,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen
FROM
(
    SELECT
        agent_id, session_id, tool_name, event_time, arrayJoin(secret_fingerprints) AS fingerprint,
        arrayStringConcat(secret_types, ', ') AS secret_type,
        coalesce(nullIf(target_domain, ''), nullIf(target_host, ''), arrayStringConcat(recipients, ', ')) AS destination
    FROM tacho.actions
    WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND notEmpty(secret_fingerprints)
)
GROUP BY fingerprint
HAVING agents > 1 OR sessions > 1 OR notEmpty(destinations)
ORDER BY agents DESC, sessions DESC, times DESC
LIMIT 200
