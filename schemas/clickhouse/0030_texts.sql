-- Which text came to many agents is answered without reading the texts.

-- Which text came to which agent in an hour; read tacho.texts_by_hour instead.
-- Only rows whose rolled is that of their hour count. Rows stay until the end of their last day.
CREATE TABLE IF NOT EXISTS tacho.texts_data ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `day` DateTime('UTC') COMMENT 'the day of the actions [UTC]' CODEC(ZSTD(1)),
    `text` UInt64 COMMENT 'bitShiftRight(cityHash64(tenant, hash of the text), 20)' CODEC(Delta(8), ZSTD(1)),
    `who` LowCardinality(String) COMMENT 'the key of the agent (hexadecimal) and its id' CODEC(ZSTD(1)),
    `rolled` LowCardinality(String) COMMENT 'the hour [s], and until when what was stored is counted [µs]' CODEC(ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (tenant, day, text, who, rolled)
TTL stored_at + toIntervalDay(${days})
COMMENT 'Which text came to which agent in an hour; read tacho.texts_by_hour instead.';

-- Which text came to which agent in which hour, of more than 40 bytes; rows may repeat.
-- Filter by day and hour. A text is a number: that of its tenant and hash.
CREATE OR REPLACE VIEW tacho.texts_by_hour ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `day` DateTime('UTC') COMMENT 'the day of the actions [UTC]',
    `hour` DateTime('UTC') COMMENT 'the hour of the actions [UTC]',
    `text` UInt64 COMMENT 'bitShiftRight(cityHash64(tenant, hash of the text), 20)',
    `agent_id` LowCardinality(String) COMMENT 'agent to whom it came',
    `partition_key` LowCardinality(String) COMMENT 'key under which the actions lie'
)
AS SELECT
    `tenant`,
    `day`,
    `hour`,
    `text`,
    `agent_id`,
    `partition_key`
FROM
(
    SELECT tenant AS tenant, day AS day, toDateTime(toUInt32(extract(rolled, '^[0-9]+')), 'UTC') AS hour, text AS text, extract(who, '(?s)^[0-9A-F]* (.*)') AS agent_id, unhex(extract(who, '^[0-9A-F]*')) AS partition_key
    FROM tacho.texts_data
    WHERE rolled IN (SELECT concat(toString(toUnixTimestamp(one.1)), ' ', toString(toUnixTimestamp64Micro(one.2))) FROM (SELECT arrayJoin(tupleElement((SELECT (groupArrayIf((hour, rolled_to), rolled_to >= changed_at),
        groupArrayIf(hour, rolled_to < changed_at))
    FROM (SELECT hour, maxIf(at, what = 'texts') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour)), 1)) AS one))
    UNION ALL
    SELECT a.tenant AS tenant, toStartOfDay(toStartOfHour(event_time)) AS day, toStartOfHour(event_time) AS hour, bitShiftRight(cityHash64(tenant, if(tool_result_hash != '', tool_result_hash, content_hash)), 20) AS text, toLowCardinality(agent_id) AS agent_id, toLowCardinality(partition_key) AS partition_key
    FROM tacho.actions_data AS a FINAL
    WHERE twin_of = '' AND toStartOfHour(event_time) IN (SELECT arrayJoin(tupleElement((SELECT (groupArrayIf((hour, rolled_to), rolled_to >= changed_at),
        groupArrayIf(hour, rolled_to < changed_at))
    FROM (SELECT hour, maxIf(at, what = 'texts') AS rolled_to,
        maxIf(at, what = 'changed') AS changed_at
        FROM tacho.hours_data GROUP BY hour)), 2))) AND (if(tool_result_hash != '', ifNull(tool_result_bytes, 41), ifNull(content_bytes, 41)) > 40 AND (tool_result_hash != '' OR content_direction = 'in' AND content_hash != ''))
)
COMMENT 'Which text came to which agent in which hour, of more than 40 bytes; rows may repeat.';

ALTER TABLE tacho.hours_data ${on_cluster}
    COMMENT COLUMN `what` 'changed: an action was stored; rolled, texts: all until then are counted';
