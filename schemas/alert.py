"""What detectors say and what a SOC sees: Signal, SignalGroup, Alert, StateSnapshot."""

# ruff: noqa: RUF012 - msgspec copies empty containers for every record
from datetime import datetime
from typing import Annotated, Literal

from tachograph.schemas.fields import Record, doc

Severity = Literal["informational", "low", "medium", "high", "critical"]
SignalKind = Literal["stateless", "window", "sequence", "first_seen", "anomaly", "provenance"]
RiskCategory = Literal[
    "prompt_misuse", "agent_operation", "ai_development", "ai_supply_chain", "governance"
]
Status = Literal["open", "acknowledged", "closed", "retracted"]
Change = Literal["new", "revised", "retracted"]
Stage = Literal["initial", "answered", "unanswered"]
ObservableType = Literal[
    "user", "host", "ip", "domain", "url", "hash", "package", "file", "agent", "tool"
]

SEVERITIES: tuple[Severity, ...] = ("informational", "low", "medium", "high", "critical")


class Observable(Record, frozen=True, kw_only=True):
    """A value an analyst pivots on."""

    type: Annotated[ObservableType, doc("what kind of value it is")]
    value: Annotated[str, doc("the value, redacted as everything is")]


class Reason(Record, frozen=True, kw_only=True):
    """Why a rule fired, in words and in the fields that matched."""

    text: Annotated[str, doc("one sentence for a person")]
    fields: Annotated[dict[str, str], doc("field to the value that matched, cut short")] = {}


class Witness(Record, frozen=True, kw_only=True):
    """What is needed to judge the signal again and reach the same verdict."""

    events: Annotated[list[dict[str, str]], doc("redacted facts of the events judged")] = []
    window: Annotated[dict[str, str], doc("window, threshold and value, as text")] = {}
    versions: Annotated[
        dict[str, str], doc("rule, rule set, model and reference data versions")
    ] = {}
    partial: Annotated[bool, doc("the witness was capped; a re-judgement says so")] = False


class Signal(Record, frozen=True, kw_only=True):
    """One detector's opinion of some actions. Key: signal_id; the newest revision holds."""

    signal_id: Annotated[str, doc("hash of tenant, rule, semantic hash, group, bucket or event id")]
    revision: Annotated[int, doc("offset << 20 | index of the record that caused it", ge=0)]
    change: Annotated[Change, doc("new, revised or retracted")]
    tenant: Annotated[str, doc("whose data this is")]
    rule_id: Annotated[str, doc("id of the rule or model")]
    rule_version: Annotated[str, doc("semantic hash of the rule")]
    title: Annotated[str, doc("title of the rule")]
    severity: Annotated[Severity, doc("severity of the rule, after its own adjustments")]
    confidence: Annotated[int, doc("how sure the rule is", "percent", ge=0, le=100)] = 50
    kind: Annotated[SignalKind, doc("what kind of judgement it is")]
    risk_category: Annotated[RiskCategory, doc("which of the five AI risks it belongs to")]
    frameworks: Annotated[
        list[str], doc("framework ids: atlas.*, owasp_llm.*, nist_ai_rmf.* …")
    ] = []
    event_time: Annotated[datetime, doc("time of the event that made the rule true", "UTC")]
    event_ids: Annotated[list[str], doc("events judged, first ones first, capped")]
    event_count: Annotated[int, doc("number of events judged, uncapped")] = 1
    entity: Annotated[str, doc("who the signal is about: the rule's group, else the agent")]
    entity_type: Annotated[str, doc("agent, session, principal …")] = "agent"
    bucket_start: Annotated[datetime, doc("start of the alert bucket of event_time", "UTC")]
    agent_id: Annotated[str | None, doc("agent of the judged event")] = None
    agent_name: Annotated[str | None, doc("its name")] = None
    principal_id: Annotated[str | None, doc("principal of the judged event")] = None
    session_id: Annotated[str | None, doc("session of the judged event")] = None
    trace_id: Annotated[str | None, doc("trace of the judged event")] = None
    environment: Annotated[str | None, doc("deployment environment")] = None
    tool_name: Annotated[str | None, doc("tool of the judged event")] = None
    group: Annotated[dict[str, str], doc("group-by values of a windowed rule")] = {}
    scores: Annotated[dict[str, float], doc("features and scores by name")] = {}
    reason: Annotated[Reason, doc("why it fired")]
    observables: Annotated[list[Observable], doc("values to pivot on")] = []
    witness: Annotated[Witness, doc("what is needed to judge again")] = Witness()
    blind_spots: Annotated[list[str], doc("what was late, dropped or evicted and may matter")] = []
    runbook: Annotated[str | None, doc("what to do")] = None
    owner_team: Annotated[str | None, doc("who handles it")] = None
    synthetic: Annotated[bool, doc("judged actions were synthetic")] = False
    replay: Annotated[bool, doc("judged actions were replayed: nobody is notified")] = False
    incident_id: Annotated[str | None, doc("incident across agents, when joined")] = None
    partition_key: Annotated[str | None, doc("partition key of the judged events")] = None
    observed_time: Annotated[
        datetime | None, doc("when the event that made it true was observed", "UTC")
    ] = None
    shadow: Annotated[bool, doc("of a model that is only tried: no alert rests on it")] = False


class SignalGroup(Record, frozen=True, kw_only=True):
    """All signals of one (rule, entity, bucket), for triage: at 1, 10, 100 … and at close. Those
    that a silence covers are a group of their own.
    """

    group_id: Annotated[str, doc("hash of tenant, rule, place, entity, bucket")]
    revision: Annotated[int, doc("orders the states of one group", ge=0)]
    tenant: Annotated[str, doc("whose data this is")]
    entity: Annotated[str, doc("who it is about; the record's key")]
    entity_type: Annotated[str, doc("agent, session, principal …")] = "agent"
    bucket_start: Annotated[datetime, doc("start of the bucket", "UTC")]
    bucket_s: Annotated[int, doc("length of the bucket", "s", gt=0)]
    rule_id: Annotated[str, doc("the rule")]
    count: Annotated[int, doc("signals in the group now; 0 retracts it", ge=0)]
    first_seen: Annotated[datetime, doc("earliest event time", "UTC")]
    last_seen: Annotated[datetime, doc("latest event time", "UTC")]
    samples: Annotated[list[Signal], doc("the k smallest signals by (event_time, signal_id)")]
    closed: Annotated[bool, doc("no more signals can come")] = False
    suppressed: Annotated[str | None, doc("why its signals do not count: a silence")] = None


class StateSnapshot(Record, frozen=True, kw_only=True):
    """What an agent was at a moment: captured from the stream, or published by the agent itself."""

    snapshot_id: Annotated[str, doc("id of the snapshot")]
    tenant: Annotated[str, doc("whose data this is")]
    taken_at: Annotated[datetime, doc("moment described", "UTC")]
    source: Annotated[Literal["stream", "agent", "gateway"], doc("who took it")] = "stream"
    alert_id: Annotated[str | None, doc("alert it stands with")] = None
    directive_id: Annotated[str | None, doc("capture request it answers")] = None
    agent_id: Annotated[str | None, doc("agent described")] = None
    agent_instance_id: Annotated[str | None, doc("instance described")] = None
    agent_version: Annotated[str | None, doc("version of the agent")] = None
    session_id: Annotated[str | None, doc("session described")] = None
    principal_id: Annotated[str | None, doc("principal acted for")] = None
    last_actions: Annotated[
        list[dict[str, str]], doc("last actions of the session, oldest first")
    ] = []
    goals: Annotated[list[str], doc("goals or plan, if published")] = []
    memory: Annotated[dict[str, str], doc("memory keys and values or hashes")] = {}
    tools: Annotated[dict[str, str], doc("tool to definition hash")] = {}
    policies: Annotated[dict[str, str], doc("policy to version in force")] = {}
    approvals: Annotated[list[str], doc("approvals in force")] = []
    model: Annotated[dict[str, str], doc("model, provider and settings")] = {}
    credentials: Annotated[dict[str, str], doc("credential fingerprint to scopes")] = {}
    delegation_chain: Annotated[list[str], doc("from the root to this agent")] = []
    open_calls: Annotated[list[str], doc("calls without a result yet")] = []
    usage: Annotated[dict[str, float], doc("tokens and cost so far")] = {}
    system_prompt_hash: Annotated[str | None, doc("hash of the system prompt")] = None
    completeness: Annotated[int, doc("share of the parts that were present", "percent")] = 0
    missing: Annotated[list[str], doc("parts that were not known, and why")] = []
    delegates: Annotated[list[str], doc("agents that this one called or started")] = []
    other: Annotated[
        dict[str, str],
        doc("what the agent published beyond these fields; JSON where it is no text"),
    ] = {}


class RuleHit(Record, frozen=True, kw_only=True):
    """One rule's share of an alert."""

    rule_id: Annotated[str, doc("the rule")]
    rule_version: Annotated[str, doc("semantic hash of the rule")]
    title: Annotated[str, doc("its title")]
    severity: Annotated[Severity, doc("its severity")]
    kind: Annotated[SignalKind, doc("kind of judgement")]
    count: Annotated[int, doc("signals of the rule in this alert")]
    suppressed: Annotated[str | None, doc("why it does not count, if it does not")] = None


class Alert(Record, frozen=True, kw_only=True):
    """What a SOC sees: the signals of one entity in one bucket. The newest revision holds."""

    alert_id: Annotated[str, doc("hash of tenant, policy, entity and bucket")]
    revision: Annotated[int, doc("offset of the record that caused this state", ge=0)]
    tenant: Annotated[str, doc("whose data this is")]
    environment: Annotated[str | None, doc("deployment environment")] = None
    status: Annotated[
        Status, doc("open until someone closes it; retracted when its reason went away")
    ]
    stage: Annotated[Stage, doc("how complete the captured state is")] = "initial"
    title: Annotated[str, doc("what happened, in a line")]
    severity: Annotated[Severity, doc("highest severity of the rules that count")]
    confidence: Annotated[int, doc("highest confidence of the rules", "percent")] = 50
    risk: Annotated[int, doc("decaying sum of rule weights", "thousandths", ge=0)]
    risk_category: Annotated[RiskCategory, doc("category of the gravest rule")]
    risk_categories: Annotated[list[RiskCategory], doc("categories of all rules")] = []
    rules: Annotated[list[RuleHit], doc("the rules that fired")]
    frameworks: Annotated[list[str], doc("framework ids of all rules")] = []
    first_seen: Annotated[datetime, doc("earliest judged event", "UTC")]
    last_seen: Annotated[datetime, doc("latest judged event", "UTC")]
    created_at: Annotated[datetime, doc("first_seen of the alert's first state", "UTC")]
    updated_at: Annotated[datetime, doc("time of the record that caused this state", "UTC")]
    entity: Annotated[str, doc("who it is about")]
    entity_type: Annotated[str, doc("agent, session, principal …")] = "agent"
    agent_id: Annotated[str | None, doc("agent")] = None
    agent_name: Annotated[str | None, doc("its name")] = None
    principal_id: Annotated[str | None, doc("principal")] = None
    session_id: Annotated[str | None, doc("session of the gravest, earliest signal")] = None
    session_ids: Annotated[list[str], doc("sessions touched, capped")] = []
    observables: Annotated[list[Observable], doc("values to pivot on")] = []
    reasons: Annotated[list[Reason], doc("why, gravest first")]
    signal_ids: Annotated[list[str], doc("sampled signals")]
    event_ids: Annotated[list[str], doc("evidence: events judged, capped")]
    signal_count: Annotated[int, doc("all signals, counted")]
    state: Annotated[StateSnapshot | None, doc("captured state")] = None
    state_missing: Annotated[str | None, doc("why there is no captured state")] = None
    blind_spots: Annotated[list[str], doc("what was not seen and may matter")] = []
    versions: Annotated[dict[str, str], doc("policy, rule set, models, reference data")] = {}
    scores: Annotated[dict[str, float], doc("features and scores of its signals, by name")] = {}
    witness: Annotated[Witness, doc("witness of the gravest, earliest signal")] = Witness()
    runbook: Annotated[str | None, doc("what to do")] = None
    owner_team: Annotated[str | None, doc("who handles it")] = None
    disposition: Annotated[str | None, doc("true_positive, false_positive, benign, duplicate")] = (
        None
    )
    assignee: Annotated[str | None, doc("who works on it")] = None
    incident_id: Annotated[str | None, doc("incident across agents, when joined")] = None
    synthetic: Annotated[bool, doc("all judged actions were synthetic")] = False
    replay: Annotated[bool, doc("judged actions were replayed: nobody is notified")] = False
    incident_reasons: Annotated[
        list[str], doc("what joins the alert to others of its incident")
    ] = []
