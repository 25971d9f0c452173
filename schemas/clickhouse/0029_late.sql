-- What came late is found without reading all actions.

-- What was dropped, refused, late or far from its time, and when: what may be incomplete.
-- What came late is little, and is chosen before copies are told apart (PREWHERE): an action that was
-- sent again and came late then counts, though its earlier report is the one shown.
CREATE OR REPLACE VIEW tacho.dropped_or_late ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `hour` DateTime('UTC') COMMENT 'when it was noticed, to the hour [UTC]',
    `what` String COMMENT 'late, far, refused: and why, or dropped: and why',
    `source` String COMMENT 'who sent it, or which stage dropped it',
    `count` UInt64 COMMENT 'actions or records',
    `detail` String COMMENT 'what a person should know'
)
AS SELECT
    `tenant`,
    `hour`,
    `what`,
    `source`,
    `count`,
    `detail`
FROM
(
    SELECT tenant, toStartOfHour(observed_time) AS hour, if(far, 'far', 'late') AS what,
        if(source_id != '', source_id, source_kind) AS source, count() AS count,
        concat('event times ', toString(min(event_time)), ' to ', toString(max(event_time)))
            AS detail
    FROM tacho.actions_data FINAL PREWHERE late OR far WHERE twin_of = ''
    GROUP BY tenant, hour, what, source
    UNION ALL
    SELECT tenant, toStartOfHour(observed_time) AS hour, concat('refused: ', reason) AS what,
        if(source != '', source, topic) AS source, count(), any(d.detail)
    FROM tacho.dead_letters AS d
    GROUP BY tenant, hour, what, source
    UNION ALL
    SELECT tenant, toStartOfHour(at) AS hour, concat('dropped: ', drop.1) AS what, component,
        toUInt64(max(drop.2)), 'counted since the stage began'
    FROM
    (
        SELECT tenant, at, component,
            arrayJoin(arrayZip(mapKeys(drops), mapValues(drops))) AS drop
        FROM tacho.health
    )
    WHERE drop.2 > 0
    GROUP BY tenant, hour, what, component
)
COMMENT 'What was dropped, refused, late or far from its time, and when: what may be incomplete.';
