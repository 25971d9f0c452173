-- Every revision of an alert until it is merged away; read tacho.alerts instead.
-- Sorted by what alert_id fixes (tenant, entity), so one entity's alerts lie together.
CREATE TABLE IF NOT EXISTS tacho.alerts_data ${on_cluster}
(
    `alert_id` String COMMENT 'hash of tenant, policy, entity and bucket' CODEC(ZSTD(1)),
    `revision` UInt64 COMMENT 'offset of the record that caused this state' CODEC(ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `environment` LowCardinality(String) COMMENT 'deployment environment' CODEC(ZSTD(1)),
    `status` LowCardinality(String) COMMENT 'open until someone closes it; retracted when its reason went away' CODEC(ZSTD(1)),
    `stage` LowCardinality(String) COMMENT 'how complete the captured state is' CODEC(ZSTD(1)),
    `title` LowCardinality(String) COMMENT 'what happened, in a line' CODEC(ZSTD(1)),
    `severity` LowCardinality(String) COMMENT 'highest severity of the rules that count' CODEC(ZSTD(1)),
    `confidence` Int64 COMMENT 'highest confidence of the rules [percent]' CODEC(ZSTD(1)),
    `risk` Int64 COMMENT 'decaying sum of rule weights [thousandths]' CODEC(ZSTD(1)),
    `risk_category` LowCardinality(String) COMMENT 'category of the gravest rule' CODEC(ZSTD(1)),
    `risk_categories` Array(LowCardinality(String)) COMMENT 'categories of all rules' CODEC(ZSTD(1)),
    `rules` Array(Tuple(rule_id LowCardinality(String), rule_version LowCardinality(String), title LowCardinality(String), severity LowCardinality(String), kind LowCardinality(String), count Int64, suppressed String)) COMMENT 'the rules that fired' CODEC(ZSTD(1)),
    `frameworks` Array(String) COMMENT 'framework ids of all rules' CODEC(ZSTD(1)),
    `first_seen` DateTime64(6, 'UTC') COMMENT 'earliest judged event [UTC]' CODEC(Delta(8), ZSTD(1)),
    `last_seen` DateTime64(6, 'UTC') COMMENT 'latest judged event [UTC]' CODEC(Delta(8), ZSTD(1)),
    `created_at` DateTime64(6, 'UTC') COMMENT 'first_seen of the alert\'s first state [UTC]' CODEC(Delta(8), ZSTD(1)),
    `updated_at` DateTime64(6, 'UTC') COMMENT 'time of the record that caused this state [UTC]' CODEC(Delta(8), ZSTD(1)),
    `entity` String COMMENT 'who it is about' CODEC(ZSTD(1)),
    `entity_type` LowCardinality(String) COMMENT 'agent, session, principal …' CODEC(ZSTD(1)),
    `agent_id` String COMMENT 'agent' CODEC(ZSTD(1)),
    `agent_name` String COMMENT 'its name' CODEC(ZSTD(1)),
    `principal_id` String COMMENT 'principal' CODEC(ZSTD(1)),
    `session_id` String COMMENT 'session of the gravest, earliest signal' CODEC(ZSTD(1)),
    `session_ids` Array(String) COMMENT 'sessions touched, capped' CODEC(ZSTD(1)),
    `observables` Array(Tuple(type LowCardinality(String), value String)) COMMENT 'values to pivot on' CODEC(ZSTD(1)),
    `reasons` Array(Tuple(text String, fields Map(String, String))) COMMENT 'why, gravest first' CODEC(ZSTD(1)),
    `signal_ids` Array(String) COMMENT 'sampled signals' CODEC(ZSTD(1)),
    `event_ids` Array(String) COMMENT 'evidence: events judged, capped' CODEC(ZSTD(1)),
    `signal_count` Int64 COMMENT 'all signals, counted' CODEC(ZSTD(1)),
    `state` String COMMENT 'captured state' CODEC(ZSTD(3)),
    `state_missing` String COMMENT 'why there is no captured state' CODEC(ZSTD(1)),
    `blind_spots` Array(String) COMMENT 'what was not seen and may matter' CODEC(ZSTD(1)),
    `versions` Map(String, String) COMMENT 'policy, rule set, models, reference data' CODEC(ZSTD(1)),
    `scores` Map(String, Float64) COMMENT 'features and scores of its signals, by name' CODEC(ZSTD(1)),
    `witness` String COMMENT 'witness of the gravest, earliest signal' CODEC(ZSTD(3)),
    `runbook` LowCardinality(String) COMMENT 'what to do' CODEC(ZSTD(1)),
    `owner_team` LowCardinality(String) COMMENT 'who handles it' CODEC(ZSTD(1)),
    `disposition` String COMMENT 'true_positive, false_positive, benign, duplicate' CODEC(ZSTD(1)),
    `assignee` String COMMENT 'who works on it' CODEC(ZSTD(1)),
    `incident_id` String COMMENT 'incident across agents, when joined' CODEC(ZSTD(1)),
    `synthetic` Bool COMMENT 'all judged actions were synthetic' CODEC(ZSTD(1)),
    `replay` Bool COMMENT 'judged actions were replayed: nobody is notified' CODEC(ZSTD(1)),
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1)),
    INDEX by_last_seen last_seen TYPE minmax GRANULARITY 1,
    INDEX by_alert_id alert_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_agent_id agent_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_session_id session_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ${replicated}ReplacingMergeTree(revision)
ORDER BY (tenant, entity, alert_id)
TTL stored_at + toIntervalDay(${days})
COMMENT 'Every revision of an alert until it is merged away; read tacho.alerts instead.';

-- Alert records, every revision, as they stand in Kafka.
-- Append-only, keyed by the place in Kafka, with the exact bytes that the evidence is
-- checked against. Nothing expires here by itself: payloads are deleted with a signed note, never in
-- silence.
CREATE TABLE IF NOT EXISTS tacho.alerts_log ${on_cluster}
(
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `alert_id` String COMMENT 'hash of tenant, policy, entity and bucket' CODEC(ZSTD(1)),
    `revision` UInt64 COMMENT 'offset of the record that caused this state' CODEC(ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `status` LowCardinality(String) COMMENT 'open until someone closes it; retracted when its reason went away' CODEC(ZSTD(1)),
    `severity` LowCardinality(String) COMMENT 'highest severity of the rules that count' CODEC(ZSTD(1)),
    `updated_at` DateTime64(6, 'UTC') COMMENT 'time of the record that caused this state [UTC]' CODEC(Delta(8), ZSTD(1)),
    `agent_id` String COMMENT 'agent' CODEC(ZSTD(1)),
    `record` String COMMENT 'exact bytes of the record as they stand in Kafka' CODEC(ZSTD(3)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (log_topic, log_partition, log_offset)
SETTINGS non_replicated_deduplication_window = 100
COMMENT 'Alert records, every revision, as they stand in Kafka.';

-- What people said about alerts as they stand in Kafka.
-- Append-only, keyed by the place in Kafka, with the exact bytes that the evidence is
-- checked against. Nothing expires here by itself: payloads are deleted with a signed note, never in
-- silence.
CREATE TABLE IF NOT EXISTS tacho.dispositions_log ${on_cluster}
(
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `alert_id` String COMMENT 'the alert; the record\'s key' CODEC(ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'whose data this is' CODEC(ZSTD(1)),
    `action` LowCardinality(String) COMMENT 'what was done' CODEC(ZSTD(1)),
    `disposition` String COMMENT 'true_positive, false_positive, benign, duplicate' CODEC(ZSTD(1)),
    `assignee` String COMMENT 'who works on it' CODEC(ZSTD(1)),
    `note` String COMMENT 'why' CODEC(ZSTD(1)),
    `by` String COMMENT 'who said so' CODEC(ZSTD(1)),
    `at` DateTime64(6, 'UTC') COMMENT 'when [UTC]' CODEC(Delta(8), ZSTD(1)),
    `record` String COMMENT 'exact bytes of the record as they stand in Kafka' CODEC(ZSTD(3)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (log_topic, log_partition, log_offset)
SETTINGS non_replicated_deduplication_window = 100
COMMENT 'What people said about alerts as they stand in Kafka.';

-- What a SOC works on: each alert once, at its newest revision, with what people said about it.
-- Retracted ones are not shown; every revision is in tacho.alerts_log. Only what people wrote is
-- joined (few rows).
CREATE OR REPLACE VIEW tacho.alerts ${on_cluster}
(
    `alert_id` String COMMENT 'hash of tenant, policy, entity and bucket',
    `revision` UInt64 COMMENT 'offset of the record that caused this state',
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `environment` LowCardinality(String) COMMENT 'deployment environment',
    `status` LowCardinality(String) COMMENT 'open until someone closes it; retracted when its reason went away',
    `stage` LowCardinality(String) COMMENT 'how complete the captured state is',
    `title` LowCardinality(String) COMMENT 'what happened, in a line',
    `severity` LowCardinality(String) COMMENT 'highest severity of the rules that count',
    `confidence` Int64 COMMENT 'highest confidence of the rules [percent]',
    `risk` Int64 COMMENT 'decaying sum of rule weights [thousandths]',
    `risk_category` LowCardinality(String) COMMENT 'category of the gravest rule',
    `risk_categories` Array(LowCardinality(String)) COMMENT 'categories of all rules',
    `rules` Array(Tuple(rule_id LowCardinality(String), rule_version LowCardinality(String), title LowCardinality(String), severity LowCardinality(String), kind LowCardinality(String), count Int64, suppressed String)) COMMENT 'the rules that fired',
    `frameworks` Array(String) COMMENT 'framework ids of all rules',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'earliest judged event [UTC]',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'latest judged event [UTC]',
    `created_at` DateTime64(6, 'UTC') COMMENT 'first_seen of the alert\'s first state [UTC]',
    `updated_at` DateTime64(6, 'UTC') COMMENT 'time of the record that caused this state [UTC]',
    `entity` String COMMENT 'who it is about',
    `entity_type` LowCardinality(String) COMMENT 'agent, session, principal …',
    `agent_id` String COMMENT 'agent',
    `agent_name` String COMMENT 'its name',
    `principal_id` String COMMENT 'principal',
    `session_id` String COMMENT 'session of the gravest, earliest signal',
    `session_ids` Array(String) COMMENT 'sessions touched, capped',
    `observables` Array(Tuple(type LowCardinality(String), value String)) COMMENT 'values to pivot on',
    `reasons` Array(Tuple(text String, fields Map(String, String))) COMMENT 'why, gravest first',
    `signal_ids` Array(String) COMMENT 'sampled signals',
    `event_ids` Array(String) COMMENT 'evidence: events judged, capped',
    `signal_count` Int64 COMMENT 'all signals, counted',
    `state` String COMMENT 'captured state',
    `state_missing` String COMMENT 'why there is no captured state',
    `blind_spots` Array(String) COMMENT 'what was not seen and may matter',
    `versions` Map(String, String) COMMENT 'policy, rule set, models, reference data',
    `scores` Map(String, Float64) COMMENT 'features and scores of its signals, by name',
    `witness` String COMMENT 'witness of the gravest, earliest signal',
    `runbook` LowCardinality(String) COMMENT 'what to do',
    `owner_team` LowCardinality(String) COMMENT 'who handles it',
    `disposition` String COMMENT 'true_positive, false_positive, benign, duplicate',
    `assignee` String COMMENT 'who works on it',
    `incident_id` String COMMENT 'incident across agents, when joined',
    `synthetic` Bool COMMENT 'all judged actions were synthetic',
    `replay` Bool COMMENT 'judged actions were replayed: nobody is notified',
    `rule_ids` Array(String) COMMENT 'ids of the rules that fired',
    `acted_by` String COMMENT 'who last said something about the alert',
    `acted_at` Nullable(DateTime64(6, 'UTC')) COMMENT 'when that was [UTC]',
    `note` String COMMENT 'the last note',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `alert_id`,
    `revision`,
    `tenant`,
    `environment`,
    transform(said_status, ['close', 'reopen', 'acknowledge'], ['closed', 'open', 'acknowledged'], a.status) AS `status`,
    `stage`,
    `title`,
    `severity`,
    `confidence`,
    `risk`,
    `risk_category`,
    `risk_categories`,
    `rules`,
    `frameworks`,
    `first_seen`,
    `last_seen`,
    `created_at`,
    `updated_at`,
    `entity`,
    `entity_type`,
    `agent_id`,
    `agent_name`,
    `principal_id`,
    `session_id`,
    `session_ids`,
    `observables`,
    `reasons`,
    `signal_ids`,
    `event_ids`,
    `signal_count`,
    `state`,
    `state_missing`,
    `blind_spots`,
    `versions`,
    `scores`,
    `witness`,
    `runbook`,
    `owner_team`,
    if(said_disposition != '', said_disposition, a.disposition) AS `disposition`,
    if(said_assignee != '', said_assignee, a.assignee) AS `assignee`,
    `incident_id`,
    `synthetic`,
    `replay`,
    arrayMap(rule -> rule.rule_id, a.rules) AS `rule_ids`,
    said_by AS `acted_by`,
    said_at AS `acted_at`,
    said_note AS `note`,
    `stored_at`
FROM
(
    SELECT * FROM tacho.alerts_data FINAL WHERE status != 'retracted'
) AS a
LEFT JOIN
(
    SELECT
        tenant AS said_tenant,
        alert_id AS said_alert_id,
        argMaxIf(action, (at, log_offset), action IN ('close', 'reopen', 'acknowledge'))
            AS said_status,
        argMaxIf(d.disposition, (at, log_offset), d.disposition != '') AS said_disposition,
        argMaxIf(d.assignee, (at, log_offset), d.assignee != '') AS said_assignee,
        argMaxIf(d.note, (at, log_offset), d.note != '') AS said_note,
        argMax(by, (at, log_offset)) AS said_by,
        toNullable(max(at)) AS said_at
    FROM tacho.dispositions_log AS d FINAL
    GROUP BY tenant, alert_id
) AS said ON a.tenant = said.said_tenant AND a.alert_id = said.said_alert_id
COMMENT 'What a SOC works on: each alert once, at its newest revision, with what people said about it.';

-- What people said about alerts, each word once, in order.
CREATE OR REPLACE VIEW tacho.dispositions ${on_cluster}
(
    `alert_id` String COMMENT 'the alert; the record\'s key',
    `tenant` LowCardinality(String) COMMENT 'whose data this is',
    `action` LowCardinality(String) COMMENT 'what was done',
    `disposition` String COMMENT 'true_positive, false_positive, benign, duplicate',
    `assignee` String COMMENT 'who works on it',
    `note` String COMMENT 'why',
    `by` String COMMENT 'who said so',
    `at` DateTime64(6, 'UTC') COMMENT 'when [UTC]',
    `log_topic` LowCardinality(String) COMMENT 'topic of the record',
    `log_partition` Int64 COMMENT 'partition of the record',
    `log_offset` Int64 COMMENT 'offset of the record',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `alert_id`,
    `tenant`,
    `action`,
    `disposition`,
    `assignee`,
    `note`,
    `by`,
    `at`,
    `log_topic`,
    `log_partition`,
    `log_offset`,
    `stored_at`
FROM tacho.dispositions_log FINAL
COMMENT 'What people said about alerts, each word once, in order.';
