/*
description = "Everything that an agent, a principal or a credential touched, and everyone it delegated to."
risk_categories = ["agent_operation", "ai_supply_chain", "governance"]

[parameters.agent]
type = "String"
default = ""
description = "the agent; empty: that of the gravest alert"

[parameters.principal]
type = "String"
default = ""
description = "a principal, instead of an agent"

[parameters.credential]
type = "String"
default = ""
description = "a credential, instead of an agent"

[parameters.tenant]
type = "String"
default = ""
description = "whose data; empty: all"

[parameters.each]
type = "UInt32"
default = "100"
description = "of each type at most so many, those touched most; `different` says how many there are"

[example]
touched_type = "credential"
touched = "key-billing"
actions = 1
not_done = 0
bytes_out = 0
agents = ["billing-helper"]
first_seen = "2026-11-26 03:11:02.000000"
last_seen = "2026-11-26 03:11:02.000000"
different = 1
*/
WITH if({agent:String} != '' OR {principal:String} != '' OR {credential:String} != '', {agent:String},
    (SELECT agent_id FROM tacho.alerts WHERE {tenant:String} IN ('', tenant) ORDER BY risk DESC, alert_id LIMIT 1)) AS sought,
-- Hours that are not rolled up are read from the actions, where telling copies apart reads whole services unless the
-- keys are named under which they lie. A principal has agents in many: there it would gain nothing.
opened AS
(
    SELECT hour FROM tacho.hours_data GROUP BY hour HAVING maxIf(at, what = 'reached') < maxIf(at, what = 'changed')
),
keys AS
(
    SELECT partition_key FROM tacho.actions_data
    WHERE sought != '' AND agent_id = sought AND toStartOfHour(event_time) IN opened
    UNION ALL
    SELECT partition_key FROM tacho.actions_data
    WHERE {credential:String} != '' AND credential_id = {credential:String} AND toStartOfHour(event_time) IN opened
    UNION ALL
    SELECT partition_key FROM tacho.actions_data
    WHERE {credential:String} != '' AND credential_fingerprint = {credential:String} AND toStartOfHour(event_time) IN opened
    UNION ALL
    SELECT partition_key FROM tacho.reached_data
    WHERE ({credential:String} = '' OR credential = {credential:String}) AND (sought = '' OR agent_id = sought)
),
-- The same as tacho.blast_radius, cheaper: it parts what is counted here by agent, principal and credential, too.
reached AS
(
    SELECT tenant, agent_id, touched_type, touched, actions, not_done, bytes_out, first_seen, last_seen
    FROM tacho.touches_by_agent
    WHERE ({tenant:String} = '' OR tenant = {tenant:String})
        AND ({principal:String} = '' OR principal_id = {principal:String})
        AND ({credential:String} = '' OR credential = {credential:String})
        AND (sought = '' OR agent_id = sought)
        AND (sought = '' AND {credential:String} = '' OR partition_key IN keys)
),
-- As the view has it, of each action the copy that holds.
delegated AS
(
    SELECT tenant, boss, 'delegated_to', held.1, 1, held.4, held.5, event_time, event_time
    FROM
    (
        SELECT
            tenant, boss, event_time,
            argMax((agent_id, principal_id, credential, not_done, bytes_out, is_twin), row_version) AS held
        FROM tacho.delegated_data FINAL
        WHERE ({tenant:String} = '' OR tenant = {tenant:String}) AND (sought = '' OR boss = sought)
        GROUP BY tenant, boss, event_time, action
    )
    WHERE NOT held.6
        AND boss != held.1
        AND ({principal:String} = '' OR held.2 = {principal:String})
        AND ({credential:String} = '' OR held.3 = {credential:String})
),
counted AS
(
    SELECT
        r.touched_type, r.touched, sum(r.actions) AS actions, sum(r.not_done) AS not_done, sum(r.bytes_out) AS bytes_out,
        min(r.first_seen) AS first_seen, max(r.last_seen) AS last_seen
    FROM (SELECT * FROM reached UNION ALL SELECT * FROM delegated) AS r
    GROUP BY r.touched_type, r.touched
),
-- Once a question, as one value: whose they are is then gathered for these few alone.
(
    SELECT groupArrayArray(arrayMap(one -> (touched_type, one.2, toUInt64(-one.1), one.3, one.4, one.5, one.6, different), most))
    FROM
    (
        SELECT touched_type, count() AS different,
            groupArraySorted({each:UInt32})((-toInt64(actions), touched, not_done, bytes_out, first_seen, last_seen)) AS most
        FROM counted
        GROUP BY touched_type
    )
) AS shown,
whose AS
(
    SELECT r.touched_type, r.touched, groupUniqArray(5)(r.agent_id) AS agents
    FROM (SELECT * FROM reached UNION ALL SELECT * FROM delegated) AS r
    WHERE sought = '' AND (r.touched_type, r.touched) IN (SELECT (one.1, one.2) FROM (SELECT arrayJoin(shown) AS one))
    GROUP BY r.touched_type, r.touched
)
SELECT
    one.1 AS touched_type,
    one.2 AS touched,
    one.3 AS actions,
    one.4 AS not_done,
    one.5 AS bytes_out,
    if(sought != '', [sought], w.agents) AS agents,
    one.6 AS first_seen,
    one.7 AS last_seen,
    one.8 AS different
FROM (SELECT arrayJoin(shown) AS one) AS o
LEFT JOIN whose AS w ON w.touched_type = one.1 AND w.touched = one.2
ORDER BY touched_type, actions DESC, touched
