/*
description = "How the stages are: the newest word of each, its lag, and how long it was not well."
risk_categories = ["governance"]

[parameters.hours]
type = "UInt32"
default = "168"
description = "so many hours back from now"

[example]
component = "detect"
status = "ok"
lag = 3
watermark = "2026-11-26 03:11:13.000000"
said_at = "2026-11-26 03:11:15.000000"
reports_not_ok = 0
reports = 1
last_detail = ""
*/
SELECT
    component,
    argMax(toString(h.status), at) AS status,
    argMax(h.lag, at) AS lag,
    argMax(h.watermark, at) AS watermark,
    max(at) AS said_at,
    countIf(h.status != 'ok') AS reports_not_ok,
    count() AS reports,
    argMaxIf(detail, at, detail != '') AS last_detail
FROM tacho.health AS h
WHERE at >= now() - toIntervalHour({hours:UInt32})
GROUP BY component
ORDER BY status = 'ok', component
