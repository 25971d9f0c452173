-- Reports that may be of one action, while several store processes each read some of them.
-- Every process writes its own, then looks up those of the others: who comes second sees the first.
-- Sorted and indexed for that look-up; of use for as long as a second report may come.
CREATE TABLE IF NOT EXISTS tacho.twin_reports_data ${on_cluster}
(
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `partition_key` String COMMENT 'partition key of the report' CODEC(ZSTD(1)),
    `twin_key` String COMMENT 'hash of tenant and call or response id' CODEC(ZSTD(1)),
    `event_id` String COMMENT 'the report' CODEC(ZSTD(1)),
    `source` String COMMENT 'who reported' CODEC(ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (tenant, twin_key, partition_key, event_id)
TTL stored_at + toIntervalHour(2)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 1000
COMMENT 'Reports that may be of one action, while several store processes each read some of them.';
