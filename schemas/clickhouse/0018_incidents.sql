ALTER TABLE tacho.alerts_data ${on_cluster} ADD COLUMN IF NOT EXISTS `incident_reasons` Array(String) COMMENT 'what joins the alert to others of its incident' CODEC(ZSTD(1));

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
    `incident_reasons` Array(String) COMMENT 'what joins the alert to others of its incident',
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
    `incident_reasons`,
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

-- Every revision of an incident until it is merged away; read tacho.incidents instead.
CREATE TABLE IF NOT EXISTS tacho.incidents_data ${on_cluster}
(
    `incident_id` String COMMENT 'id of its earliest alert' CODEC(ZSTD(1)),
    `revision` UInt64 COMMENT 'offset of the member that caused this state' CODEC(ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'whose data this is; the record\'s key' CODEC(ZSTD(1)),
    `status` LowCardinality(String) COMMENT 'merged: it grew together with another; retracted: its alerts went away' CODEC(ZSTD(1)),
    `merged_into` String COMMENT 'the incident it is a part of now' CODEC(ZSTD(1)),
    `title` LowCardinality(String) COMMENT 'title of its gravest alert' CODEC(ZSTD(1)),
    `severity` LowCardinality(String) COMMENT 'highest severity of its alerts' CODEC(ZSTD(1)),
    `risk` Int64 COMMENT 'risk of its alerts at last_seen [thousandths]' CODEC(ZSTD(1)),
    `first_seen` DateTime64(6, 'UTC') COMMENT 'earliest judged event [UTC]' CODEC(Delta(8), ZSTD(1)),
    `last_seen` DateTime64(6, 'UTC') COMMENT 'latest judged event [UTC]' CODEC(Delta(8), ZSTD(1)),
    `updated_at` DateTime64(6, 'UTC') COMMENT 'time of the record that caused this state [UTC]' CODEC(Delta(8), ZSTD(1)),
    `alert_count` Int64 COMMENT 'alerts [alerts]' CODEC(ZSTD(1)),
    `alert_ids` Array(String) COMMENT 'its alerts, earliest first' CODEC(ZSTD(1)),
    `agent_count` Int64 COMMENT 'agents [agents]' CODEC(ZSTD(1)),
    `agents` Array(String) COMMENT 'its agents, capped' CODEC(ZSTD(1)),
    `principals` Array(String) COMMENT 'principals acted for, capped' CODEC(ZSTD(1)),
    `rule_ids` Array(String) COMMENT 'rules that fired, capped' CODEC(ZSTD(1)),
    `joins` Array(Tuple(kind String, value String, rule_id LowCardinality(String), alerts Int64, agents Int64, refused String)) COMMENT 'what joins its alerts, strongest first, capped' CODEC(ZSTD(1)),
    `replay` Bool COMMENT 'its alerts are of replayed actions' CODEC(ZSTD(1)),
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1)),
    INDEX by_last_seen last_seen TYPE minmax GRANULARITY 1,
    INDEX by_alert_ids alert_ids TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ${replicated}ReplacingMergeTree(revision)
ORDER BY (tenant, incident_id)
TTL stored_at + toIntervalDay(${days})
COMMENT 'Every revision of an incident until it is merged away; read tacho.incidents instead.';

-- Alerts of one or many agents that belong together, and what joins them: each incident once.
-- Those that grew together with another, or whose alerts were taken back, are not shown.
CREATE OR REPLACE VIEW tacho.incidents ${on_cluster}
(
    `incident_id` String COMMENT 'id of its earliest alert',
    `revision` UInt64 COMMENT 'offset of the member that caused this state',
    `tenant` LowCardinality(String) COMMENT 'whose data this is; the record\'s key',
    `status` LowCardinality(String) COMMENT 'merged: it grew together with another; retracted: its alerts went away',
    `merged_into` String COMMENT 'the incident it is a part of now',
    `title` LowCardinality(String) COMMENT 'title of its gravest alert',
    `severity` LowCardinality(String) COMMENT 'highest severity of its alerts',
    `risk` Int64 COMMENT 'risk of its alerts at last_seen [thousandths]',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'earliest judged event [UTC]',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'latest judged event [UTC]',
    `updated_at` DateTime64(6, 'UTC') COMMENT 'time of the record that caused this state [UTC]',
    `alert_count` Int64 COMMENT 'alerts [alerts]',
    `alert_ids` Array(String) COMMENT 'its alerts, earliest first',
    `agent_count` Int64 COMMENT 'agents [agents]',
    `agents` Array(String) COMMENT 'its agents, capped',
    `principals` Array(String) COMMENT 'principals acted for, capped',
    `rule_ids` Array(String) COMMENT 'rules that fired, capped',
    `joins` Array(Tuple(kind String, value String, rule_id LowCardinality(String), alerts Int64, agents Int64, refused String)) COMMENT 'what joins its alerts, strongest first, capped',
    `replay` Bool COMMENT 'its alerts are of replayed actions',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `incident_id`,
    `revision`,
    `tenant`,
    `status`,
    `merged_into`,
    `title`,
    `severity`,
    `risk`,
    `first_seen`,
    `last_seen`,
    `updated_at`,
    `alert_count`,
    `alert_ids`,
    `agent_count`,
    `agents`,
    `principals`,
    `rule_ids`,
    `joins`,
    `replay`,
    `stored_at`
FROM tacho.incidents_data FINAL
WHERE status = 'open'
COMMENT 'Alerts of one or many agents that belong together, and what joins them: each incident once.';

-- What each alert rests on, at every revision until merged; read tacho.incident_members.
CREATE TABLE IF NOT EXISTS tacho.incident_members_data ${on_cluster}
(
    `alert_id` String COMMENT 'the alert' CODEC(ZSTD(1)),
    `revision` UInt64 COMMENT 'revision of the alert' CODEC(ZSTD(1)),
    `tenant` LowCardinality(String) COMMENT 'whose data this is; the record\'s key' CODEC(ZSTD(1)),
    `entity` String COMMENT 'who the alert is about' CODEC(ZSTD(1)),
    `bucket_start` DateTime64(6, 'UTC') COMMENT 'the alert\'s bucket [UTC]' CODEC(Delta(8), ZSTD(1)),
    `status` LowCardinality(String) COMMENT 'status of the alert; only open ones are joined' CODEC(ZSTD(1)),
    `title` LowCardinality(String) COMMENT 'title of the alert' CODEC(ZSTD(1)),
    `severity` LowCardinality(String) COMMENT 'severity of the alert' CODEC(ZSTD(1)),
    `risk` Int64 COMMENT 'risk of the alert at last_seen [thousandths]' CODEC(ZSTD(1)),
    `half_life_s` Int64 COMMENT 'in which its risk halves [s]' CODEC(ZSTD(1)),
    `first_seen` DateTime64(6, 'UTC') COMMENT 'earliest judged event [UTC]' CODEC(Delta(8), ZSTD(1)),
    `last_seen` DateTime64(6, 'UTC') COMMENT 'latest judged event [UTC]' CODEC(Delta(8), ZSTD(1)),
    `updated_at` DateTime64(6, 'UTC') COMMENT 'time of the alert\'s revision [UTC]' CODEC(Delta(8), ZSTD(1)),
    `agent_id` String COMMENT 'agent, else who the alert is about' CODEC(ZSTD(1)),
    `principal_id` String COMMENT 'principal' CODEC(ZSTD(1)),
    `rule_ids` Array(String) COMMENT 'rules that count' CODEC(ZSTD(1)),
    `shared` Array(Tuple(kind String, value String)) COMMENT 'what it rests on, for joining' CODEC(ZSTD(1)),
    `incident_id` String COMMENT 'incident that the alert names' CODEC(ZSTD(1)),
    `incident_reasons` Array(String) COMMENT 'why, as the alert says it' CODEC(ZSTD(1)),
    `replay` Bool COMMENT 'judged actions were replayed' CODEC(ZSTD(1)),
    `log_topic` LowCardinality(String) COMMENT 'topic of the record' CODEC(ZSTD(1)),
    `log_partition` Int64 COMMENT 'partition of the record' CODEC(ZSTD(1)),
    `log_offset` Int64 COMMENT 'offset of the record' CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime('UTC') DEFAULT now('UTC') COMMENT 'when this row was stored [UTC]' CODEC(Delta(4), ZSTD(1)),
    INDEX by_last_seen last_seen TYPE minmax GRANULARITY 1
)
ENGINE = ${replicated}ReplacingMergeTree(revision)
ORDER BY (tenant, alert_id)
TTL stored_at + toIntervalDay(${days})
COMMENT 'What each alert rests on, at every revision until merged; read tacho.incident_members.';

-- What each alert rests on, and the incident it is in: each alert once.
CREATE OR REPLACE VIEW tacho.incident_members ${on_cluster}
(
    `alert_id` String COMMENT 'the alert',
    `revision` UInt64 COMMENT 'revision of the alert',
    `tenant` LowCardinality(String) COMMENT 'whose data this is; the record\'s key',
    `entity` String COMMENT 'who the alert is about',
    `bucket_start` DateTime64(6, 'UTC') COMMENT 'the alert\'s bucket [UTC]',
    `status` LowCardinality(String) COMMENT 'status of the alert; only open ones are joined',
    `title` LowCardinality(String) COMMENT 'title of the alert',
    `severity` LowCardinality(String) COMMENT 'severity of the alert',
    `risk` Int64 COMMENT 'risk of the alert at last_seen [thousandths]',
    `half_life_s` Int64 COMMENT 'in which its risk halves [s]',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'earliest judged event [UTC]',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'latest judged event [UTC]',
    `updated_at` DateTime64(6, 'UTC') COMMENT 'time of the alert\'s revision [UTC]',
    `agent_id` String COMMENT 'agent, else who the alert is about',
    `principal_id` String COMMENT 'principal',
    `rule_ids` Array(String) COMMENT 'rules that count',
    `shared` Array(Tuple(kind String, value String)) COMMENT 'what it rests on, for joining',
    `incident_id` String COMMENT 'incident that the alert names',
    `incident_reasons` Array(String) COMMENT 'why, as the alert says it',
    `replay` Bool COMMENT 'judged actions were replayed',
    `stored_at` DateTime('UTC') COMMENT 'when this row was stored [UTC]'
)
AS SELECT
    `alert_id`,
    `revision`,
    `tenant`,
    `entity`,
    `bucket_start`,
    `status`,
    `title`,
    `severity`,
    `risk`,
    `half_life_s`,
    `first_seen`,
    `last_seen`,
    `updated_at`,
    `agent_id`,
    `principal_id`,
    `rule_ids`,
    `shared`,
    `incident_id`,
    `incident_reasons`,
    `replay`,
    `stored_at`
FROM tacho.incident_members_data FINAL
WHERE status != 'retracted'
COMMENT 'What each alert rests on, and the incident it is in: each alert once.';

-- Risk of agents, principals and credentials: that of their open alerts, halving with age.
CREATE OR REPLACE VIEW tacho.entity_risk ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `entity_type` String COMMENT 'agent, principal or credential',
    `entity` String COMMENT 'who; a credential by its fingerprint',
    `risk` Int64 COMMENT 'risk at last_seen [thousandths]',
    `risk_now` Int64 COMMENT 'risk as it has decayed until now [thousandths]',
    `alerts` UInt64 COMMENT 'open alerts',
    `agents` UInt64 COMMENT 'agents of those alerts',
    `incidents` UInt64 COMMENT 'incidents of those alerts',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'earliest judged event [UTC]',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'latest judged event [UTC]'
)
AS SELECT
    `tenant`,
    `entity_type`,
    `entity`,
    toInt64(risk) AS `risk`,
    toInt64(risk_now) AS `risk_now`,
    `alerts`,
    `agents`,
    `incidents`,
    `first_seen`,
    `last_seen`
FROM
(
    SELECT tenant, who.1 AS entity_type, who.2 AS entity, count() AS alerts,
        uniqExact(agent_id) AS agents, uniqExact(incident_id) AS incidents,
        min(m.first_seen) AS first_seen, max(m.last_seen) AS last_seen,
        groupArray((m.risk, m.last_seen, m.half_life_s)) AS risks,
        arraySum(one -> floor(one.1 * exp2(-dateDiff('microsecond', one.2, last_seen)
            / (one.3 * 1000000))), risks) AS risk,
        arraySum(one -> floor(one.1 * exp2(-greatest(0, dateDiff('microsecond', one.2, now64(6)))
            / (one.3 * 1000000))), risks) AS risk_now
    FROM tacho.incident_members AS m
    ARRAY JOIN arrayFilter(one -> one.2 != '', arrayConcat([('agent', agent_id),
        ('principal', principal_id)], arrayMap(one -> ('credential', one.value),
        arrayFilter(one -> one.kind = 'credential', shared)))) AS who
    WHERE (tenant, alert_id) IN (SELECT tenant, alert_id FROM tacho.alerts WHERE status = 'open')
    GROUP BY tenant, entity_type, entity
)
COMMENT 'Risk of agents, principals and credentials: that of their open alerts, halving with age.';
