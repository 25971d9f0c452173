-- Words on legal holds, as said on agent.config; read tacho.holds instead.
CREATE TABLE IF NOT EXISTS tacho.holds_log ${on_cluster}
(
    `name` String COMMENT 'what the hold is called' CODEC(ZSTD(1)),
    `at` DateTime64(6, 'UTC') COMMENT 'when it was said [UTC]' CODEC(Delta(8), ZSTD(1)),
    `by` String COMMENT 'who said it' CODEC(ZSTD(1)),
    `released` Bool COMMENT 'the hold is over' CODEC(ZSTD(1)),
    `reason` String COMMENT 'why' CODEC(ZSTD(1)),
    `record` String COMMENT 'the word itself, JSON' CODEC(ZSTD(3)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (name, at, released)
SETTINGS non_replicated_deduplication_window = 100
COMMENT 'Words on legal holds, as said on agent.config; read tacho.holds instead.';

-- Legal holds that last: each once.
CREATE OR REPLACE VIEW tacho.holds ${on_cluster}
(
    `name` String COMMENT 'what the hold is called',
    `at` DateTime64(6, 'UTC') COMMENT 'when it was said [UTC]',
    `by` String COMMENT 'who said it',
    `released` Bool COMMENT 'the hold is over',
    `reason` String COMMENT 'why',
    `record` String COMMENT 'the word itself, JSON',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `name`,
    `at`,
    `by`,
    `released`,
    `reason`,
    `record`,
    `stored_at`
FROM
(
    SELECT * FROM tacho.holds_log FINAL ORDER BY at DESC, released DESC LIMIT 1 BY name
)
WHERE NOT released
COMMENT 'Legal holds that last: each once.';
