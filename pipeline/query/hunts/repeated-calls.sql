/*
description = "The same call with the same arguments again and again in one session: loops that cost money or hammer a system."
risk_categories = ["agent_operation"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[parameters.times]
type = "UInt32"
default = "5"
description = "at least so many times"

[example]
agent_id = "report-bot"
session_id = "rep-2"
tool_name = "query"
times = 12
not_done = 0
args = "{\"sql\":\"SELECT 1\"}"
first_seen = "2026-11-26 03:11:51.000000"
last_seen = "2026-11-26 03:11:52.100000"
seconds = 1
*/
SELECT
    agent_id,
    session_id,
    tool_name,
    count() AS times,
    countIf(outcome IN ('failed', 'denied')) AS not_done,
    any(leftUTF8(tool_args, 160)) AS args,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen,
    dateDiff('second', min(event_time), max(event_time)) AS seconds
FROM tacho.actions
WHERE event_time >= now() - toIntervalHour({hours:UInt32}) AND tool_name != ''
GROUP BY agent_id, session_id, tool_name, tool_args_hash
HAVING times >= {times:UInt32}
ORDER BY times DESC
LIMIT 500
