/*
description = "What was dropped, refused, late or far from its time, and when: where an answer may be incomplete."
risk_categories = ["governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
time = "2026-11-26 02:00:00"
what = "dropped: late"
source = "detect"
count = 2
detail = "counted since the stage began"
*/
SELECT time, what, source, count, detail
FROM
(
    SELECT toStartOfHour(observed_time) AS time, 'late' AS what, if(source_id != '', source_id, toString(source_kind)) AS source,
        count() AS count, concat('up to ', toString(max(dateDiff('second', event_time, observed_time))), ' s') AS detail
    FROM tacho.actions WHERE late AND observed_time >= now() - toIntervalHour({hours:UInt32})
    GROUP BY time, source
    UNION ALL
    SELECT toStartOfHour(observed_time) AS time, 'far from its time' AS what, if(source_id != '', source_id, toString(source_kind)) AS source,
        count() AS count, concat(toString(min(event_time)), ' to ', toString(max(event_time))) AS detail
    FROM tacho.actions WHERE far AND observed_time >= now() - toIntervalHour({hours:UInt32})
    GROUP BY time, source
    UNION ALL
    SELECT toStartOfHour(observed_time) AS time, concat('refused: ', reason) AS what, if(source != '', source, topic) AS source,
        count() AS count, any(detail) AS detail
    FROM tacho.dead_letters WHERE observed_time >= now() - toIntervalHour({hours:UInt32})
    GROUP BY time, reason, source
    UNION ALL
    SELECT toStartOfHour(at) AS time, concat('dropped: ', drop.1) AS what, component AS source,
        toUInt64(max(drop.2)) AS count, 'counted since the stage began' AS detail
    FROM (SELECT at, component, arrayJoin(arrayZip(mapKeys(drops), mapValues(drops))) AS drop FROM tacho.health
        WHERE at >= now() - toIntervalHour({hours:UInt32}))
    WHERE drop.2 > 0
    GROUP BY time, drop.1, component
)
ORDER BY time DESC, count DESC
LIMIT 1000
