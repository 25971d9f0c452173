/*
description = "Which tools and sources brought text that alerts speak of, and how many agents it reached."
risk_categories = ["prompt_misuse"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
source = "read_mail"
tool_server = "evil.example"
signals = 1
agents = 1
sessions = 1
rules = ["Instruction-like text in a tool result"]
first_seen = "2026-11-26 03:11:25.000000"
last_seen = "2026-11-26 03:11:25.000000"
*/
SELECT
    if(act.tool_name != '', act.tool_name, act.content_source) AS source,
    act.tool_server AS tool_server,
    count() AS signals,
    uniqExact(sig.agent_id) AS agents,
    uniqExact(sig.session_id) AS sessions,
    groupUniqArray(5)(sig.title) AS rules,
    min(sig.event_time) AS first_seen,
    max(sig.event_time) AS last_seen
FROM
(
    SELECT signal_id, agent_id, session_id, title, event_time, arrayJoin(event_ids) AS event_id
    FROM tacho.signals
    WHERE risk_category = 'prompt_misuse' AND event_time >= now() - toIntervalHour({hours:UInt32})
) AS sig
INNER JOIN
(
    SELECT event_id, tool_name, tool_server, content_source
    FROM tacho.actions
    WHERE event_time >= now() - toIntervalHour({hours:UInt32})
) AS act USING (event_id)
WHERE source != ''
GROUP BY source, tool_server
ORDER BY agents DESC, signals DESC, source
