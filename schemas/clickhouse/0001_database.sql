-- One database for everything, and in it the record of what was applied.
CREATE DATABASE IF NOT EXISTS tacho ${on_cluster};

-- Which migrations ran, and the hash of each file, so that a past file that was changed is noticed.
CREATE TABLE IF NOT EXISTS tacho.migrations ${on_cluster}
(
    `number` UInt32 COMMENT 'number of the file',
    `name` String COMMENT 'name of the file',
    `sha256` String COMMENT 'hash of the file as it was applied',
    `applied_at` DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') COMMENT 'when it was applied first [UTC]',
    `row_version` UInt64 DEFAULT 9223372036854775807 - toUnixTimestamp64Micro(applied_at)
        COMMENT 'which copy of the row holds: the first one'
)
ENGINE = ${replicated}ReplacingMergeTree(row_version)
ORDER BY number
COMMENT 'Migrations that were applied: two processes may apply one at the same time, the first note holds.';
