/*
description = "What was dropped, refused, late or far from its time, and when: where an answer may be incomplete."
risk_categories = ["governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
hour = "2026-11-26 03:00:00"
what = "dropped: late"
source = "detect"
count = 2
detail = "counted since the stage began"
*/
SELECT hour, what, source, count, detail
FROM tacho.dropped_or_late
WHERE hour >= now() - toIntervalHour({hours:UInt32})
ORDER BY hour DESC, count DESC
LIMIT 1000
