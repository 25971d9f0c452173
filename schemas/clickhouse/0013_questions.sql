-- What an agent did and what was said of it, in order: actions, signals, alerts, states.
-- Filter by agent_id or session_id, and by time.
CREATE OR REPLACE VIEW tacho.agent_timeline ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `agent_id` String COMMENT 'agent',
    `session_id` String COMMENT 'session',
    `time` DateTime64(6, 'UTC') COMMENT 'when [UTC]',
    `what` String COMMENT 'action, signal, alert, state or directive',
    `kind` String COMMENT 'kind of action, signal or directive; stage of an alert',
    `title` String COMMENT 'tool of an action, title of a signal or alert',
    `detail` String COMMENT 'arguments, words, reason: at most 2,000 characters',
    `outcome` String COMMENT 'how an action ended; status of an alert; an answer',
    `severity` String COMMENT 'severity of a signal or alert',
    `id` String COMMENT 'event, signal, alert, snapshot or directive id',
    `event_ids` Array(String) COMMENT 'events that a signal or alert rests on'
)
AS SELECT
    `tenant`,
    `agent_id`,
    `session_id`,
    `time`,
    `what`,
    `kind`,
    `title`,
    `detail`,
    `outcome`,
    `severity`,
    `id`,
    `event_ids`
FROM
(
    SELECT tenant, agent_id, session_id, event_time AS time, 'action' AS what, kind AS kind,
        coalesce(nullIf(tool_name, ''), nullIf(operation, ''), kind) AS title,
        leftUTF8(coalesce(nullIf(process_command_line, ''), nullIf(tool_args, ''),
            nullIf(content_text, ''), nullIf(target_url, ''), nullIf(file_path, ''),
            nullIf(memory_key, ''), error_message), 2000) AS detail,
        outcome AS outcome, '' AS severity, event_id AS id, CAST([], 'Array(String)') AS event_ids
    FROM tacho.actions
    UNION ALL
    SELECT tenant, agent_id, session_id, event_time, 'signal', kind, title, reason.text,
        '', severity, signal_id, event_ids
    FROM tacho.signals
    UNION ALL
    SELECT tenant, agent_id, session_id, last_seen, 'alert', stage, title,
        arrayStringConcat(arrayMap(one -> one.text, reasons), '; '), status, severity, alert_id,
        event_ids
    FROM tacho.alerts
    UNION ALL
    SELECT tenant, agent_id, session_id, taken_at, 'state', source, concat(toString(completeness),
        ' % known'), arrayStringConcat(missing, '; '), '', '', snapshot_id, []
    FROM tacho.agent_state
    UNION ALL
    SELECT tenant, agent_id, session_id, issued_at, 'directive', kind, kind, reason, answer, '',
        directive_id, []
    FROM tacho.directives
)
COMMENT 'What an agent did and what was said of it, in order: actions, signals, alerts, states.';

-- A session as a conversation: who said what, which tools were called, and what they answered.
-- Of a model's input only its newest message counts, for the rest was said before. Filter by
-- session_id; order by time, part.
CREATE OR REPLACE VIEW tacho.session_conversation ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `session_id` String COMMENT 'session',
    `agent_id` String COMMENT 'agent',
    `time` DateTime64(6, 'UTC') COMMENT 'when [UTC]',
    `part` UInt8 COMMENT 'order within one action: 1 asked, 2 said, 3 called, 4 answered',
    `speaker` String COMMENT 'user, system, assistant or tool',
    `text` String COMMENT 'the words, arguments or answer, redacted as everything is',
    `tool_name` String COMMENT 'tool called, or that answers',
    `outcome` String COMMENT 'how the action ended',
    `content_trust` String COMMENT 'how far the origin of the words is trusted',
    `event_id` String COMMENT 'the action'
)
AS SELECT
    `tenant`,
    `session_id`,
    `agent_id`,
    `time`,
    turn.1 AS `part`,
    turn.2 AS `speaker`,
    turn.3 AS `text`,
    `tool_name`,
    `outcome`,
    `content_trust`,
    `event_id`
FROM
(
    SELECT tenant, session_id, agent_id, event_time AS time, tool_name, outcome, content_trust,
        event_id,
        JSONExtractArrayRaw(input_messages)[-1] AS newest,
        arrayStringConcat(arrayMap(one -> JSONExtractString(one, 'content'),
            JSONExtractArrayRaw(newest, 'parts')), '\n') AS asked,
        arrayStringConcat(arrayMap(said -> arrayStringConcat(arrayMap(
            one -> JSONExtractString(one, 'content'), JSONExtractArrayRaw(said, 'parts')), '\n'),
            JSONExtractArrayRaw(output_messages)), '\n') AS replied,
        arrayJoin(arrayFilter(one -> one.3 != '', [
            (1, JSONExtractString(newest, 'role'),
                if(JSONExtractString(newest, 'role') IN ('user', 'system'), asked, '')),
            (2, multiIf(content_role != '', content_role, kind = 'prompt', 'user', 'assistant'),
                if(kind IN ('tool_call', 'tool_result'), '', content_text)),
            (2, 'assistant', if(content_text = '', replied, '')),
            (3, 'assistant', if(tool_name != '' AND kind != 'tool_result', tool_args, '')),
            (4, 'tool', tool_result)])) AS turn
    FROM tacho.actions
)
COMMENT 'A session as a conversation: who said what, which tools were called, and what they answered.';

-- Everything an agent, a principal or a credential touched, and everyone it delegated to.
-- Filter by agent_id, principal_id or credential.
CREATE OR REPLACE VIEW tacho.blast_radius ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `agent_id` String COMMENT 'agent',
    `principal_id` String COMMENT 'human or workload acted for',
    `credential` String COMMENT 'credential used: its id, else its fingerprint',
    `touched_type` String COMMENT 'tool, tool_server, host, recipient, file, resource, account, table, repo, credential, secret, memory, document, model, package, agent or delegated_to',
    `touched` String COMMENT 'what was touched; a secret by its fingerprint',
    `actions` UInt64 COMMENT 'actions that touched it',
    `not_done` UInt64 COMMENT 'of these, failed or denied',
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'first of these actions [UTC]',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'last of these actions [UTC]'
)
AS SELECT
    `tenant`,
    `agent_id`,
    `principal_id`,
    `credential`,
    touch.1 AS `touched_type`,
    touch.2 AS `touched`,
    count() AS `actions`,
    countIf(outcome IN ('failed', 'denied')) AS `not_done`,
    sum(bytes_out) AS `bytes_out`,
    min(event_time) AS `first_seen`,
    max(event_time) AS `last_seen`
FROM
(
    SELECT tenant, agent_id, principal_id, if(credential_id != '', credential_id, credential_fingerprint) AS credential, event_time, outcome, session_id, ifNull(tool_bytes_out, 0) AS bytes_out,
        arrayJoin(arrayFilter(one -> one.2 != '', arrayConcat(
            [('tool', tool_name), ('tool_server', tool_server),
                ('host', if(target_domain != '', target_domain,
                    if(target_host != '', target_host, target_ip))),
                ('file', file_path), ('resource', target_resource), ('account', target_account),
                ('table', target_table), ('repo', target_repo), ('memory', memory_key),
                ('credential', if(credential_id != '', credential_id, credential_fingerprint)),
                ('model', model_name), ('package', artifact_name), ('agent', peer_agent_id)],
            arrayMap(one -> ('recipient', one), recipients),
            arrayMap(one -> ('secret', one), secret_fingerprints),
            arrayMap(one -> ('document', one), retrieval_doc_ids)))) AS touch
    FROM tacho.actions
    UNION ALL
    SELECT tenant, arrayJoin(arrayDistinct(arrayFilter(one -> one NOT IN ('', agent_id),
            arrayPushBack(delegation_chain, parent_agent_id)))) AS agent_id, principal_id,
        if(credential_id != '', credential_id, credential_fingerprint) AS credential, event_time, outcome, session_id, ifNull(tool_bytes_out, 0) AS bytes_out, ('delegated_to', a.agent_id) AS touch
    FROM tacho.actions AS a
)
GROUP BY tenant, agent_id, principal_id, credential, touch
COMMENT 'Everything an agent, a principal or a credential touched, and everyone it delegated to.';

-- Who else called this tool, spoke to this host, read this file, used this credential.
-- Filter by touched, and touched_type where a value may be of several kinds.
CREATE OR REPLACE VIEW tacho.who_else ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `touched_type` String COMMENT 'tool, tool_server, host, recipient, file, resource, account, table, repo, credential, secret, memory, document, model, package, agent or delegated_to',
    `touched` String COMMENT 'what was touched; a secret by its fingerprint',
    `agent_id` String COMMENT 'agent',
    `principal_ids` Array(String) COMMENT 'for whom, at most ten',
    `sessions` UInt64 COMMENT 'sessions in which it did',
    `has_alerts` Bool COMMENT 'the agent has an alert',
    `actions` UInt64 COMMENT 'actions that touched it',
    `not_done` UInt64 COMMENT 'of these, failed or denied',
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'first of these actions [UTC]',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'last of these actions [UTC]'
)
AS SELECT
    `tenant`,
    touch.1 AS `touched_type`,
    touch.2 AS `touched`,
    `agent_id`,
    groupUniqArrayIf(10)(principal_id, principal_id != '') AS `principal_ids`,
    uniqExact(session_id) AS `sessions`,
    agent_id IN (SELECT agent_id FROM tacho.alerts) AS `has_alerts`,
    count() AS `actions`,
    countIf(outcome IN ('failed', 'denied')) AS `not_done`,
    sum(bytes_out) AS `bytes_out`,
    min(event_time) AS `first_seen`,
    max(event_time) AS `last_seen`
FROM
(
    SELECT tenant, agent_id, principal_id, event_time, outcome, session_id, ifNull(tool_bytes_out, 0) AS bytes_out,
        arrayJoin(arrayFilter(one -> one.2 != '', arrayConcat(
            [('tool', tool_name), ('tool_server', tool_server),
                ('host', if(target_domain != '', target_domain,
                    if(target_host != '', target_host, target_ip))),
                ('file', file_path), ('resource', target_resource), ('account', target_account),
                ('table', target_table), ('repo', target_repo), ('memory', memory_key),
                ('credential', if(credential_id != '', credential_id, credential_fingerprint)),
                ('model', model_name), ('package', artifact_name), ('agent', peer_agent_id)],
            arrayMap(one -> ('recipient', one), recipients),
            arrayMap(one -> ('secret', one), secret_fingerprints),
            arrayMap(one -> ('document', one), retrieval_doc_ids)))) AS touch
    FROM tacho.actions
)
GROUP BY tenant, agent_id, touch
COMMENT 'Who else called this tool, spoke to this host, read this file, used this credential.';

-- When each tool, host, file, credential, model … was first and last seen, and who began.
CREATE OR REPLACE VIEW tacho.first_and_last_seen ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `touched_type` String COMMENT 'tool, tool_server, host, recipient, file, resource, account, table, repo, credential, secret, memory, document, model, package, agent or delegated_to',
    `touched` String COMMENT 'what was touched; a secret by its fingerprint',
    `agents` UInt64 COMMENT 'agents that touched it',
    `first_agent` String COMMENT 'the agent that was the first',
    `first_event_id` String COMMENT 'the action that was the first',
    `actions` UInt64 COMMENT 'actions that touched it',
    `not_done` UInt64 COMMENT 'of these, failed or denied',
    `bytes_out` Int64 COMMENT 'data sent out by these actions [bytes]',
    `first_seen` DateTime64(6, 'UTC') COMMENT 'first of these actions [UTC]',
    `last_seen` DateTime64(6, 'UTC') COMMENT 'last of these actions [UTC]'
)
AS SELECT
    `tenant`,
    touch.1 AS `touched_type`,
    touch.2 AS `touched`,
    uniqExact(agent_id) AS `agents`,
    argMin(agent_id, event_time) AS `first_agent`,
    argMin(event_id, event_time) AS `first_event_id`,
    count() AS `actions`,
    countIf(outcome IN ('failed', 'denied')) AS `not_done`,
    sum(bytes_out) AS `bytes_out`,
    min(event_time) AS `first_seen`,
    max(event_time) AS `last_seen`
FROM
(
    SELECT tenant, agent_id, event_id, event_time, outcome, session_id, ifNull(tool_bytes_out, 0) AS bytes_out,
        arrayJoin(arrayFilter(one -> one.2 != '', arrayConcat(
            [('tool', tool_name), ('tool_server', tool_server),
                ('host', if(target_domain != '', target_domain,
                    if(target_host != '', target_host, target_ip))),
                ('file', file_path), ('resource', target_resource), ('account', target_account),
                ('table', target_table), ('repo', target_repo), ('memory', memory_key),
                ('credential', if(credential_id != '', credential_id, credential_fingerprint)),
                ('model', model_name), ('package', artifact_name), ('agent', peer_agent_id)],
            arrayMap(one -> ('recipient', one), recipients),
            arrayMap(one -> ('secret', one), secret_fingerprints),
            arrayMap(one -> ('document', one), retrieval_doc_ids)))) AS touch
    FROM tacho.actions
)
GROUP BY tenant, touch
COMMENT 'When each tool, host, file, credential, model … was first and last seen, and who began.';

-- How much an agent does a minute, beside what is usual for it: its median busy minute.
CREATE OR REPLACE VIEW tacho.agent_rates ${on_cluster}
(
    `tenant` String COMMENT 'whose data this is',
    `agent_id` String COMMENT 'agent',
    `minute` DateTime('UTC') COMMENT 'the minute [UTC]',
    `actions` UInt64 COMMENT 'actions in it',
    `usual` Float64 COMMENT 'median over all minutes in which the agent did anything',
    `times_usual` Float64 COMMENT 'actions / usual',
    `not_done` UInt64 COMMENT 'failed or denied',
    `tools` UInt64 COMMENT 'different tools',
    `sessions` UInt64 COMMENT 'different sessions',
    `tokens` Int64 COMMENT 'tokens in and out [tokens]',
    `bytes_out` Int64 COMMENT 'data sent out [bytes]'
)
AS SELECT
    `tenant`,
    `agent_id`,
    `minute`,
    `actions`,
    toFloat64(usual_actions) AS `usual`,
    round(actions / usual_actions, 2) AS `times_usual`,
    `not_done`,
    `tools`,
    `sessions`,
    `tokens`,
    `bytes_out`
FROM
(
    SELECT *, quantileExact(0.5)(actions) OVER (PARTITION BY tenant, agent_id) AS usual_actions
    FROM
    (
        SELECT tenant, agent_id, toStartOfMinute(event_time) AS minute, count() AS actions,
            countIf(outcome IN ('failed', 'denied')) AS not_done,
            uniqExactIf(tool_name, tool_name != '') AS tools, uniqExact(session_id) AS sessions,
            sum(ifNull(usage_input_tokens, 0) + ifNull(usage_output_tokens, 0)) AS tokens,
            sum(ifNull(tool_bytes_out, 0)) AS bytes_out
        FROM tacho.actions
        GROUP BY tenant, agent_id, minute
    )
)
COMMENT 'How much an agent does a minute, beside what is usual for it: its median busy minute.';

-- How good each rule is, by what people said of its alerts: keep, tune or retire, and why.
-- A duplicate says nothing of a rule. An alert of several rules counts for each of them; `alone` are
-- the alerts in which no other rule counted. Undecided below 5 judged alerts; keep
-- from a precision of 0.5; retire below 0.1, once 10 are judged;
-- tune otherwise.
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
    countIf(disposition = 'true_positive') AS `true_positives`,
    countIf(disposition = 'false_positive') AS `false_positives`,
    countIf(disposition = 'benign') AS `benign`,
    countIf(disposition = 'duplicate') AS `duplicates`,
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

-- What was dropped, refused, late or far from its time, and when: what may be incomplete.
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
    FROM tacho.actions WHERE late OR far
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
