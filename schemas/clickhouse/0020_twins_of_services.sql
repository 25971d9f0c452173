-- Reports of one action may be of two services, and have two partition keys.
ALTER TABLE tacho.same_as_data ${on_cluster}
    COMMENT COLUMN `partition_key` 'partition key of event_id',
    COMMENT COLUMN `twin_key` 'hash of tenant and call or response id';

-- Pairs of event ids that report one action, each pair once.
CREATE OR REPLACE VIEW tacho.same_as ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `partition_key` String COMMENT 'partition key of event_id',
    `twin_key` String COMMENT 'hash of tenant and call or response id',
    `event_id` String COMMENT 'one report',
    `same_as` String COMMENT 'the other report',
    `observed_time` DateTime64(6, 'UTC') COMMENT 'when it was learned [UTC]',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `tenant`,
    `partition_key`,
    `twin_key`,
    `event_id`,
    `same_as`,
    `observed_time`,
    `stored_at`
FROM tacho.same_as_data FINAL
COMMENT 'Pairs of event ids that report one action, each pair once.';
