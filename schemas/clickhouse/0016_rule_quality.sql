-- How good each rule is, by what people said of its alerts: keep, tune or retire, and why.
-- Only closed alerts are judged, and a duplicate says nothing of a rule. An alert of several rules
-- counts for each of them; `alone` are the alerts in which no other rule counted. Undecided below
-- 5 judged alerts; keep from a precision of 0.5; retire below 0.1,
-- once 10 are judged; tune otherwise.
CREATE OR REPLACE VIEW tacho.rule_quality ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `rule_id` String COMMENT 'the rule',
    `title` String COMMENT 'its title',
    `severity` String COMMENT 'its severity',
    `alerts` UInt64 COMMENT 'alerts it counted in',
    `alone` UInt64 COMMENT 'of these, with no other rule',
    `open` UInt64 COMMENT 'of these, not closed',
    `true_positives` UInt64 COMMENT 'closed as true_positive',
    `false_positives` UInt64 COMMENT 'closed as false_positive',
    `benign` UInt64 COMMENT 'closed as benign: right, but nothing bad',
    `duplicates` UInt64 COMMENT 'closed as duplicate',
    `precision` Nullable(Float64) COMMENT 'true positives / judged (true, false, benign); NULL: none judged',
    `verdict` String COMMENT 'keep, tune, retire or undecided',
    `agents` UInt64 COMMENT 'agents it spoke of',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'newest event of its alerts [UTC]'
)
AS SELECT
    `tenant`,
    rule.rule_id AS `rule_id`,
    argMax(rule.title, seen) AS `title`,
    argMax(rule.severity, seen) AS `severity`,
    count() AS `alerts`,
    countIf(length(counted) = 1) AS `alone`,
    countIf(status != 'closed') AS `open`,
    countIf(status = 'closed' AND disposition = 'true_positive') AS `true_positives`,
    countIf(status = 'closed' AND disposition = 'false_positive') AS `false_positives`,
    countIf(status = 'closed' AND disposition = 'benign') AS `benign`,
    countIf(status = 'closed' AND disposition = 'duplicate') AS `duplicates`,
    if((true_positives + false_positives + benign) = 0, NULL, round(true_positives / (true_positives + false_positives + benign), 3)) AS `precision`,
    multiIf((true_positives + false_positives + benign) < 5, 'undecided', precision >= 0.5, 'keep', precision < 0.1 AND (true_positives + false_positives + benign) >= 10, 'retire', 'tune') AS `verdict`,
    uniqExact(agent_id) AS `agents`,
    max(seen) AS `last_seen`
FROM
(
    SELECT tenant, alert_id, agent_id, status, disposition, last_seen AS seen,
        arrayFilter(one -> one.suppressed = '', rules) AS counted, arrayJoin(counted) AS rule
    FROM tacho.alerts
)
GROUP BY tenant, rule.rule_id
COMMENT 'How good each rule is, by what people said of its alerts: keep, tune or retire, and why.';
