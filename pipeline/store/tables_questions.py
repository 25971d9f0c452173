"""Views with analysts' questions in their names. Each reads other views, holds nothing itself, and
is filtered by its first columns: a condition on agent, session or time reaches the tables' indexes.
"""

import pyarrow as pa

from tachograph.pipeline.store.columns import TIME_TYPE, Column
from tachograph.pipeline.store.ddl import View
from tachograph.pipeline.store.tables_delegated import DELEGATED

FEW = "LowCardinality(String)"


def _column(name: str, kind: str, comment: str) -> Column:
    return Column(name, kind, pa.null(), "", comment)


def _time(name: str, comment: str) -> Column:
    return _column(name, TIME_TYPE, f"{comment} [UTC]")


TENANT = _column("tenant", "String", "whose data this is")
AGENT = _column("agent_id", "String", "agent")
# An agent's actions lie under its keys: who names them reads those alone.
KEY = _column("partition_key", "String", "key under which an action lies; else empty")
SESSION = _column("session_id", "String", "session")
TOUCHED = (
    _column("touched_type", "String",
            "tool, tool_server, host, recipient, file, resource, account, table, repo, credential,"
            " secret, memory, document, model, package, agent or delegated_to"),
    _column("touched", "String", "what was touched; a secret by its fingerprint"),
)  # fmt: skip

AGENT_TIMELINE = View(
    "agent_timeline",
    """What an agent did and what was said of it, in order: actions, signals, alerts, states.
Filter by agent_id or session_id, by time, and by the agent's keys: partition_key, empty or one of
those.""",
    [
        TENANT, AGENT, SESSION, _time("time", "when"),
        _column("what", "String", "action, signal, alert, state or directive"),
        _column("kind", "String", "kind of action, signal or directive; stage of an alert"),
        _column("title", "String", "tool of an action, title of a signal or alert"),
        _column("detail", "String", "arguments, words, reason: at most 2,000 characters"),
        _column("outcome", "String", "how an action ended; status of an alert; an answer"),
        _column("severity", "String", "severity of a signal or alert"),
        _column("id", "String", "event, signal, alert, snapshot or directive id"),
        _column("event_ids", "Array(String)", "events that a signal or alert rests on"), KEY,
    ],
    """FROM
(
    SELECT tenant, agent_id, session_id, event_time AS time, 'action' AS what, kind AS kind,
        coalesce(nullIf(tool_name, ''), nullIf(operation, ''), kind) AS title,
        leftUTF8(coalesce(nullIf(process_command_line, ''), nullIf(tool_args, ''),
            nullIf(content_text, ''), nullIf(target_url, ''), nullIf(file_path, ''),
            nullIf(memory_key, ''), error_message), 2000) AS detail,
        outcome AS outcome, '' AS severity, event_id AS id, CAST([], 'Array(String)') AS event_ids,
        partition_key
    FROM tacho.actions
    UNION ALL
    SELECT tenant, agent_id, session_id, event_time, 'signal', kind, title, reason.text,
        '', severity, signal_id, event_ids, ''
    FROM tacho.signals
    UNION ALL
    SELECT tenant, agent_id, session_id, last_seen, 'alert', stage, title,
        arrayStringConcat(arrayMap(one -> one.text, reasons), '; '), status, severity, alert_id,
        event_ids, ''
    FROM tacho.alerts
    UNION ALL
    SELECT tenant, agent_id, session_id, taken_at, 'state', source, concat(toString(completeness),
        ' % known'), arrayStringConcat(missing, '; '), '', '', snapshot_id, [], ''
    FROM tacho.agent_state
    UNION ALL
    SELECT tenant, agent_id, session_id, issued_at, 'directive', kind, kind, reason, answer, '',
        directive_id, [], ''
    FROM tacho.directives
)""",
)  # fmt: skip

SESSION_CONVERSATION = View(
    "session_conversation",
    """A session as a conversation: who said what, which tools were called, and what they answered.
Of a model's input only its newest message counts, for the rest was said before. Filter by
session_id; order by time, part.""",
    [
        TENANT, SESSION, AGENT, _time("time", "when"),
        _column("part", "UInt8", "order within one action: 1 asked, 2 said, 3 called, 4 answered"),
        _column("speaker", "String", "user, system, assistant or tool"),
        _column("text", "String", "the words, arguments or answer, redacted as everything is"),
        _column("tool_name", "String", "tool called, or that answers"),
        _column("outcome", "String", "how the action ended"),
        _column("content_trust", "String", "how far the origin of the words is trusted"),
        _column("event_id", "String", "the action"),
    ],
    """FROM
(
    SELECT tenant, session_id, agent_id, event_time AS time, tool_name, outcome, content_trust,
        event_id,
        JSONExtractArrayRaw(input_messages)[-1] AS newest,
        arrayStringConcat(arrayMap(one -> JSONExtractString(one, 'content'),
            JSONExtractArrayRaw(newest, 'parts')), '\\n') AS asked,
        arrayStringConcat(arrayMap(said -> arrayStringConcat(arrayMap(
            one -> JSONExtractString(one, 'content'), JSONExtractArrayRaw(said, 'parts')), '\\n'),
            JSONExtractArrayRaw(output_messages)), '\\n') AS replied,
        arrayJoin(arrayFilter(one -> one.3 != '', [
            (1, JSONExtractString(newest, 'role'),
                if(JSONExtractString(newest, 'role') IN ('user', 'system'), asked, '')),
            (2, multiIf(content_role != '', content_role, kind = 'prompt', 'user', 'assistant'),
                if(kind IN ('tool_call', 'tool_result'), '', content_text)),
            (2, 'assistant', if(content_text = '', replied, '')),
            (3, 'assistant', if(tool_name != '' AND kind != 'tool_result', tool_args, '')),
            (4, 'tool', tool_result)])) AS turn
    FROM tacho.actions
)""",
    {"part": "turn.1", "speaker": "turn.2", "text": "turn.3"},
)  # fmt: skip

COUNTED = [
    _column("actions", "UInt64", "actions that touched it"),
    _column("not_done", "UInt64", "of these, failed or denied"),
    _column("bytes_out", "Int64", "data sent out by these actions [bytes]"),
    _time("first_seen", "first of these actions"),
    _time("last_seen", "last of these actions"),
]
# Of what is counted already, by hour.
_SUMS = {
    **{name: f"sum(t.{name})" for name in ("actions", "not_done", "bytes_out")},
    "first_seen": "min(t.first_seen)",
    "last_seen": "max(t.last_seen)",
}

BLAST_RADIUS = View(
    "blast_radius",
    """Everything an agent, a principal or a credential touched, and everyone it delegated to.
Filter by agent_id, principal_id or credential.""",
    [
        TENANT, AGENT, _column("principal_id", "String", "human or workload acted for"),
        _column("credential", "String", "credential used: its id, else its fingerprint"),
        *TOUCHED, *COUNTED, KEY,
    ],
    f"""FROM
(
    SELECT tenant, agent_id, principal_id, credential, partition_key, touched_type, touched,
        actions, not_done, bytes_out, first_seen, last_seen
    FROM tacho.touches_by_agent
    UNION ALL
    SELECT tenant, boss, principal_id, credential, '', 'delegated_to', agent_id,
        1, not_done, bytes_out, event_time, event_time
    FROM
    (
    {DELEGATED}
    )
) AS t
GROUP BY tenant, agent_id, principal_id, credential, partition_key, touched_type, touched""",  # noqa: S608 - our own text
    _SUMS,
)  # fmt: skip

WHO_ELSE = View(
    "who_else",
    """Who else called this tool, spoke to this host, read this file, used this credential.
Filter by touched, and touched_type where a value may be of several kinds.""",
    [
        TENANT, *TOUCHED, AGENT,
        _column("principal_ids", "Array(String)", "for whom, at most ten"),
        _column("sessions", "UInt64", "sessions in which it did"),
        _column("has_alerts", "Bool", "the agent has an alert"),
        *COUNTED,
    ],
    "FROM tacho.touches_by_hour AS t\nGROUP BY tenant, agent_id, touched_type, touched",
    {
        "principal_ids": "groupUniqArrayArray(10)(t.principal_ids)",
        "sessions": "uniqExactArray(t.sessions)",
        "has_alerts": "agent_id IN (SELECT agent_id FROM tacho.alerts)",
        **_SUMS,
    },
)  # fmt: skip

FIRST_AND_LAST_SEEN = View(
    "first_and_last_seen",
    """When each tool, host, file, credential, model … was first and last seen, and who began.""",
    [
        TENANT, *TOUCHED, _column("agents", "UInt64", "agents that touched it"),
        _column("first_agent", "String", "the agent that was the first"),
        _column("first_tool", "String", "the tool of its first action"), *COUNTED,
    ],
    "FROM tacho.touches_by_hour AS t\nGROUP BY tenant, touched_type, touched",
    {
        "agents": "uniqExact(t.agent_id)",
        "first_agent": "argMin(t.agent_id, (t.first_seen, t.agent_id))",
        "first_tool": "argMin(t.first_tool, (t.first_seen, t.agent_id))", **_SUMS,
    },
)  # fmt: skip

AGENT_RATES = View(
    "agent_rates",
    """How much an agent does a minute, beside what is usual for it: its median busy minute.""",
    [
        TENANT, AGENT, _column("minute", "DateTime('UTC')", "the minute [UTC]"),
        _column("actions", "UInt64", "actions in it"),
        _column("usual", "Float64", "median over all minutes in which the agent did anything"),
        _column("times_usual", "Float64", "actions / usual"),
        _column("not_done", "UInt64", "failed or denied"),
        _column("tools", "UInt64", "different tools"),
        _column("sessions", "UInt64", "different sessions"),
        _column("tokens", "Int64", "tokens in and out [tokens]"),
        _column("bytes_out", "Int64", "data sent out [bytes]"),
    ],
    """FROM
(
    SELECT *, tokens_in + tokens_out AS tokens,
        quantileExact(0.5)(actions) OVER (PARTITION BY tenant, agent_id) AS usual_actions
    FROM tacho.agent_minutes
)""",
    {"usual": "toFloat64(usual_actions)", "times_usual": "round(actions / usual_actions, 2)"},
)  # fmt: skip

# Verdicts need this many decided alerts; shares of true positives part them.
DECIDED_ENOUGH = 5
DECIDED_TO_RETIRE = 10
KEEP_FROM, RETIRE_BELOW = 0.5, 0.1
_DECIDED = "(true_positives + false_positives + benign)"
RULE_QUALITY = View(
    "rule_quality",
    f"""How good each rule is, by what people said of its alerts: keep, tune or retire, and why.
Only closed alerts are judged, and a duplicate says nothing of a rule. An alert of several rules
counts for each of them; `alone` are the alerts in which no other rule counted. Undecided below
{DECIDED_ENOUGH} judged alerts; keep from a precision of {KEEP_FROM}; retire below {RETIRE_BELOW},
once {DECIDED_TO_RETIRE} are judged; tune otherwise.""",
    [
        TENANT, _column("rule_id", "String", "the rule"), _column("title", "String", "its title"),
        _column("severity", "String", "its severity"),
        _column("alerts", "UInt64", "alerts it counted in"),
        _column("alone", "UInt64", "of these, with no other rule"),
        _column("open", "UInt64", "of these, not closed"),
        _column("true_positives", "UInt64", "closed as true_positive"),
        _column("false_positives", "UInt64", "closed as false_positive"),
        _column("benign", "UInt64", "closed as benign: right, but nothing bad"),
        _column("duplicates", "UInt64", "closed as duplicate"),
        _column("precision", "Nullable(Float64)",
                "true positives / judged (true, false, benign); NULL: none judged"),
        _column("verdict", "String", "keep, tune, retire or undecided"),
        _column("agents", "UInt64", "agents it spoke of"),
        _time("last_seen", "newest event of its alerts"),
    ],
    """FROM
(
    SELECT tenant, alert_id, agent_id, status, disposition, last_seen AS seen,
        arrayFilter(one -> one.suppressed = '', rules) AS counted, arrayJoin(counted) AS rule
    FROM tacho.alerts
)
GROUP BY tenant, rule.rule_id""",
    {
        "rule_id": "rule.rule_id",
        "title": "argMax(rule.title, seen)",
        "severity": "argMax(rule.severity, seen)",
        "alerts": "count()",
        "alone": "countIf(length(counted) = 1)",
        "open": "countIf(status != 'closed')",
        "true_positives": "countIf(status = 'closed' AND disposition = 'true_positive')",
        "false_positives": "countIf(status = 'closed' AND disposition = 'false_positive')",
        "benign": "countIf(status = 'closed' AND disposition = 'benign')",
        "duplicates": "countIf(status = 'closed' AND disposition = 'duplicate')",
        "precision": f"if({_DECIDED} = 0, NULL, round(true_positives / {_DECIDED}, 3))",
        "verdict": f"multiIf({_DECIDED} < {DECIDED_ENOUGH}, 'undecided',"
        f" precision >= {KEEP_FROM}, 'keep',"
        f" precision < {RETIRE_BELOW} AND {_DECIDED} >= {DECIDED_TO_RETIRE}, 'retire', 'tune')",
        "agents": "uniqExact(agent_id)",
        "last_seen": "max(seen)",
    },
)  # fmt: skip

DROPPED_OR_LATE = View(
    "dropped_or_late",
    """What was dropped, refused, late or far from its time, and when: what may be incomplete.
What came late is little, and is chosen before copies are told apart (PREWHERE): an action that was
sent again and came late then counts, though its earlier report is the one shown.""",
    [
        TENANT,
        _column("hour", "DateTime('UTC')", "when it was noticed, to the hour [UTC]"),
        _column("what", "String", "late, far, refused: and why, or dropped: and why"),
        _column("source", "String", "who sent it, or which stage dropped it"),
        _column("count", "UInt64", "actions or records"),
        _column("detail", "String", "what a person should know"),
    ],
    """FROM
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
)""",
)

QUESTIONS = (
    AGENT_TIMELINE, SESSION_CONVERSATION, BLAST_RADIUS, WHO_ELSE, FIRST_AND_LAST_SEEN, AGENT_RATES,
    RULE_QUALITY, DROPPED_OR_LATE,
)  # fmt: skip
