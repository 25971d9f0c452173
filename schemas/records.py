"""The small records between stages: control, directives, activations, evidence, health."""

# ruff: noqa: RUF012 - msgspec copies empty containers for every record
from datetime import datetime
from typing import Annotated, Literal

from tachograph.schemas.alert import Severity, StateSnapshot, Status
from tachograph.schemas.fields import Record, doc

DirectiveKind = Literal["capture", "throttle", "require_approval", "quarantine", "release"]
AckStatus = Literal["received", "applied", "refused", "expired"]


class Tick(Record, frozen=True, kw_only=True):
    """Observed time reached on a raw partition; written to every partition of agent.actions. In
    agent.matches: that which a partition of agent.actions, or of agent.matches, reached.
    """

    raw_topic: Annotated[str, doc("raw topic")]
    raw_partition: Annotated[int, doc("raw partition", ge=0)]
    raw_partitions: Annotated[int, doc("partitions of the raw topic", ge=1)]
    observed_time: Annotated[datetime, doc("all actions observed before it are in", "UTC")]
    by_clock: Annotated[bool, doc("the partition was at its end: the owner's clock")] = False
    config_offset: Annotated[
        int, doc("matches of all rules are sent that stand up to here in agent.config")
    ] = -1


class SessionLink(Record, frozen=True, kw_only=True):
    """A trace belongs to a conversation (and an agent): learned after or beside the actions."""

    tenant: Annotated[str, doc("whose data this is")]
    partition_key: Annotated[str, doc("partition key of the trace's actions")]
    trace_id: Annotated[str, doc("trace")]
    session_id: Annotated[str, doc("conversation")]
    agent_id: Annotated[str | None, doc("agent, if named")] = None
    agent_name: Annotated[str | None, doc("agent's name, if named")] = None
    principal_id: Annotated[str | None, doc("principal, if named")] = None
    observed_time: Annotated[datetime, doc("when it was learned", "UTC")]


class MatchBatch(Record, frozen=True, kw_only=True):
    """Headers of an Arrow batch on agent.matches: events that matched rules whose groups lie in
    several partitions, a row for each rule and event. The value itself is an Arrow IPC stream.
    """

    version: Annotated[int, doc("schema version", ge=1)]
    rows: Annotated[int, doc("matches in the batch", ge=0)]


class Context(Record, frozen=True, kw_only=True):
    """The last actions of a session at the moment of an agent's first match, for triage.

    For a rule whose groups lie in several partitions it comes whether or not the rule fires.
    """

    tenant: Annotated[str, doc("whose data this is")]
    group_id: Annotated[str, doc("signal group it belongs to")]
    entity: Annotated[str, doc("the group's entity; the record's key")]
    bucket_start: Annotated[datetime, doc("the group's bucket", "UTC")]
    session_id: Annotated[str | None, doc("session")] = None
    agent_id: Annotated[str | None, doc("agent")] = None
    taken_at: Annotated[datetime, doc("time of the matching event", "UTC")]
    actions: Annotated[list[dict[str, str]], doc("last actions, oldest first, short")]
    missing: Annotated[list[str], doc("what is not here, and why")] = []
    state: Annotated[
        StateSnapshot | None, doc("what the agent was, as its actions and snapshots told so far")
    ] = None


class Directive(Record, frozen=True, kw_only=True):
    """What triage tells a gateway or agent: capture state, throttle, quarantine …"""

    directive_id: Annotated[str, doc("id; receivers ignore known ones")]
    tenant: Annotated[str, doc("whose agent this is")]
    kind: Annotated[DirectiveKind, doc("what to do")]
    agent_id: Annotated[str, doc("whom it concerns; the record's key")]
    session_id: Annotated[str | None, doc("limits it to one session")] = None
    scope: Annotated[dict[str, str], doc("limits it further: tool, target …")] = {}
    alert_id: Annotated[str | None, doc("alert that caused it")] = None
    reason: Annotated[str, doc("why, in a sentence")]
    issued_at: Annotated[datetime, doc("issue by the pipeline's clock", "UTC")]
    expires_at: Annotated[datetime, doc("ignored from then on", "UTC")]
    dry_run: Annotated[bool, doc("report what would be done, do nothing")] = False
    key_id: Annotated[str | None, doc("key of the signature")] = None
    signature: Annotated[str | None, doc("Ed25519 over the canonical record, base64")] = None
    entity: Annotated[str | None, doc("who the alert is about")] = None
    bucket_start: Annotated[datetime | None, doc("the alert's bucket", "UTC")] = None


class DirectiveAck(Record, frozen=True, kw_only=True):
    """A receiver's answer to a directive."""

    directive_id: Annotated[str, doc("the directive; the record's key")]
    tenant: Annotated[str, doc("whose agent this is")]
    agent_id: Annotated[str, doc("who answers")]
    status: Annotated[AckStatus, doc("what became of it")]
    acked_at: Annotated[datetime, doc("when", "UTC")]
    detail: Annotated[str | None, doc("why it was refused")] = None


class CaptureAnswer(Record, frozen=True, kw_only=True):
    """What came of a capture directive; a time-out is written by its one owner."""

    directive_id: Annotated[str, doc("the capture directive")]
    tenant: Annotated[str, doc("whose agent this is")]
    alert_id: Annotated[str, doc("alert that asked")]
    entity: Annotated[str, doc("the alert's entity; the record's key")]
    bucket_start: Annotated[datetime, doc("the alert's bucket", "UTC")]
    answered: Annotated[bool, doc("false: timed out")]
    snapshot_id: Annotated[str | None, doc("snapshot that answers")] = None
    decided_at: Annotated[datetime, doc("when", "UTC")]
    snapshot: Annotated[StateSnapshot | None, doc("the snapshot itself, cut short")] = None


class SharedValue(Record, frozen=True, kw_only=True):
    """A value that an alert rests on and that others may rest on too."""

    kind: Annotated[str, doc("agent, value, content, secret, credential, target, delegation …")]
    value: Annotated[str, doc("the value, redacted as everything is; a text by its hash")]


class IncidentMember(Record, frozen=True, kw_only=True):
    """An alert as far as incidents go; the newest revision of an alert_id holds."""

    alert_id: Annotated[str, doc("the alert")]
    revision: Annotated[int, doc("revision of the alert", ge=0)]
    tenant: Annotated[str, doc("whose data this is; the record's key")]
    entity: Annotated[str, doc("who the alert is about")]
    bucket_start: Annotated[datetime, doc("the alert's bucket", "UTC")]
    status: Annotated[Status, doc("status of the alert; only open ones are joined")]
    title: Annotated[str, doc("title of the alert")]
    severity: Annotated[Severity, doc("severity of the alert")]
    risk: Annotated[int, doc("risk of the alert at last_seen", "thousandths", ge=0)]
    half_life_s: Annotated[int, doc("in which its risk halves", "s", gt=0)]
    first_seen: Annotated[datetime, doc("earliest judged event", "UTC")]
    last_seen: Annotated[datetime, doc("latest judged event", "UTC")]
    updated_at: Annotated[datetime, doc("time of the alert's revision", "UTC")]
    agent_id: Annotated[str, doc("agent, else who the alert is about")]
    principal_id: Annotated[str | None, doc("principal")] = None
    rule_ids: Annotated[list[str], doc("rules that count")] = []
    shared: Annotated[list[SharedValue], doc("what it rests on, for joining")] = []
    incident_id: Annotated[str, doc("incident that the alert names")]
    incident_reasons: Annotated[list[str], doc("why, as the alert says it")] = []
    replay: Annotated[bool, doc("judged actions were replayed")] = False


class IncidentLink(Record, frozen=True, kw_only=True):
    """Which incident an alert belongs to: written by the one who joins, kept with the alert."""

    alert_id: Annotated[str, doc("the alert")]
    revision: Annotated[int, doc("offset of the member that caused it", ge=0)]
    tenant: Annotated[str, doc("whose data this is")]
    entity: Annotated[str, doc("the alert's entity; the record's key")]
    bucket_start: Annotated[datetime, doc("the alert's bucket", "UTC")]
    incident_id: Annotated[str, doc("the incident: the id of its earliest alert")]
    reasons: Annotated[list[str], doc("what joins the alert to the others")] = []


class IncidentJoin(Record, frozen=True, kw_only=True):
    """A value that joins, or would have joined, alerts of an incident."""

    kind: Annotated[str, doc("what is shared: agent, content, credential, target …")]
    value: Annotated[str, doc("the value, redacted as everything is; a text by its hash")]
    rule_id: Annotated[str, doc("rule that fired on all, where the value alone is no reason")]
    alerts: Annotated[int, doc("alerts of the incident that share it")]
    agents: Annotated[int, doc("agents of those alerts")]
    refused: Annotated[str, doc("why it joins nothing more; empty when it joins")]


class Incident(Record, frozen=True, kw_only=True):
    """Alerts of one or many agents that belong together. The newest revision holds."""

    incident_id: Annotated[str, doc("id of its earliest alert")]
    revision: Annotated[int, doc("offset of the member that caused this state", ge=0)]
    tenant: Annotated[str, doc("whose data this is; the record's key")]
    status: Annotated[
        Literal["open", "merged", "retracted"],
        doc("merged: it grew together with another; retracted: its alerts went away"),
    ]
    merged_into: Annotated[str | None, doc("the incident it is a part of now")] = None
    title: Annotated[str, doc("title of its gravest alert")] = ""
    severity: Annotated[Severity, doc("highest severity of its alerts")] = "informational"
    risk: Annotated[int, doc("risk of its alerts at last_seen", "thousandths", ge=0)] = 0
    first_seen: Annotated[datetime, doc("earliest judged event", "UTC")]
    last_seen: Annotated[datetime, doc("latest judged event", "UTC")]
    updated_at: Annotated[datetime, doc("time of the record that caused this state", "UTC")]
    alert_count: Annotated[int, doc("alerts", "alerts")] = 0
    alert_ids: Annotated[list[str], doc("its alerts, earliest first")] = []
    agent_count: Annotated[int, doc("agents", "agents")] = 0
    agents: Annotated[list[str], doc("its agents, capped")] = []
    principals: Annotated[list[str], doc("principals acted for, capped")] = []
    rule_ids: Annotated[list[str], doc("rules that fired, capped")] = []
    joins: Annotated[list[IncidentJoin], doc("what joins its alerts, strongest first, capped")] = []
    replay: Annotated[bool, doc("its alerts are of replayed actions")] = False


class Disposition(Record, frozen=True, kw_only=True):
    """A person's word on an alert."""

    alert_id: Annotated[str, doc("the alert; the record's key")]
    tenant: Annotated[str, doc("whose data this is")]
    action: Annotated[
        Literal["close", "reopen", "assign", "note", "acknowledge"], doc("what was done")
    ]
    disposition: Annotated[str | None, doc("true_positive, false_positive, benign, duplicate")] = (
        None
    )
    assignee: Annotated[str | None, doc("who works on it")] = None
    note: Annotated[str | None, doc("why")] = None
    by: Annotated[str, doc("who said so")]
    at: Annotated[datetime, doc("when", "UTC")]


class Access(Record, frozen=True, kw_only=True):
    """What a person did or looked at, at the door."""

    tenant: Annotated[str, doc("whose data it was")]
    by: Annotated[str, doc("who; as who they said they were, when refused")]
    action: Annotated[
        Literal[
            "login", "login_refused", "logout", "view", "list",
            "close", "reopen", "assign", "note", "acknowledge",
        ],
        doc("what was done"),
    ]  # fmt: skip
    subject: Annotated[str, doc("alert, session, agent, incident, alerts …: what kind it was")] = ""
    name: Annotated[str, doc("which one; of a list, what was asked for")] = ""
    detail: Annotated[str, doc("the verdict, who was assigned")] = ""
    address: Annotated[str, doc("from where")] = ""
    at: Annotated[datetime, doc("when", "UTC")]


class Activation(Record, frozen=True, kw_only=True):
    """A rule set, model, silence, reference data or policy comes into force."""

    subject: Annotated[
        Literal["rules", "model", "silence", "reference", "policy", "partitions", "hold"],
        doc("what"),
    ]
    name: Annotated[str, doc("which one; key is subject/name")]
    tenant: Annotated[str, doc("for whom")]
    content_hash: Annotated[str, doc("hash of the content")]
    effective_from: Annotated[datetime, doc("observed time from which it holds", "UTC")]
    content: Annotated[str | None, doc("the content, when small")] = None
    location: Annotated[str | None, doc("where the content is, when large")] = None
    by: Annotated[str | None, doc("who activated it")] = None
    note: Annotated[str | None, doc("why, or what is in it, for a person")] = None


class ContentChunk(Record, frozen=True, kw_only=True):
    """One piece of what an activation refers to by its hash; what has all pieces can be used."""

    content_hash: Annotated[str, doc("hash of the whole content, as the activation names it")]
    chunk: Annotated[int, doc("this piece, from 0", ge=0)]
    chunks: Annotated[int, doc("pieces in all", ge=1)]
    data: Annotated[bytes, doc("piece of the content, packed; base64 in JSON")]


class Checkpoint(Record, frozen=True, kw_only=True):
    """One chunk of a stage's state; the newest complete set of chunks holds."""

    stage: Annotated[str, doc("stage")]
    topic: Annotated[str, doc("input topic")]
    partition: Annotated[int, doc("input partition", ge=0)]
    offset: Annotated[int, doc("state includes every record before it", ge=0)]
    format: Annotated[int, doc("format of the state", ge=1)]
    rules_hash: Annotated[str, doc("rule set the state belongs to")]
    chunk: Annotated[int, doc("this chunk, from 0", ge=0)]
    chunks: Annotated[int, doc("chunks in all", ge=1)]
    digest: Annotated[str, doc("hash of the whole state")]
    data: Annotated[bytes, doc("chunk of the state, base64 in JSON")]


class Health(Record, frozen=True, kw_only=True):
    """How a stage or a source is: for destinations, the live view and alerts on ourselves."""

    component: Annotated[str, doc("stage, destination or source")]
    tenant: Annotated[str, doc("for whom")]
    status: Annotated[Literal["ok", "degraded", "stalled", "silent"], doc("verdict")]
    at: Annotated[datetime, doc("when", "UTC")]
    watermark: Annotated[datetime | None, doc("event time reached", "UTC")] = None
    lag: Annotated[int | None, doc("records not read yet", "records")] = None
    sources: Annotated[dict[str, int], doc("source to actions seen since the last record")] = {}
    drops: Annotated[dict[str, int], doc("reason to count since start")] = {}
    detail: Annotated[str | None, doc("what a person should know")] = None


class TreeHead(Record, frozen=True, kw_only=True):
    """Signed head of the evidence tree of one partition."""

    cluster: Annotated[str, doc("id of the Kafka cluster whose log this is")] = ""
    topic: Annotated[str, doc("topic")]
    partition: Annotated[int, doc("partition", ge=0)]
    size: Annotated[int, doc("leaves", ge=0)]
    root: Annotated[str, doc("root hash, hex")]
    next_offset: Annotated[int, doc("the tree covers every offset before it", ge=0)] = 0
    edge: Annotated[list[str], doc("roots of the full subtrees, largest first, hex")] = []
    signed_at: Annotated[datetime, doc("when", "UTC")]
    key_id: Annotated[str, doc("key of the signature")]
    signature: Annotated[str, doc("Ed25519 over the canonical head, base64")]


class NotaryKey(Record, frozen=True, kw_only=True):
    """A public key of the notary, vouched for by the key before it; the first by itself."""

    key_id: Annotated[str, doc("first 16 hex digits of the SHA-256 of the public key")]
    public_key: Annotated[str, doc("Ed25519 public key, 32 bytes, base64")]
    made_at: Annotated[datetime, doc("when it was made", "UTC")]
    signed_by: Annotated[str, doc("key of the signature")]
    signature: Annotated[str, doc("Ed25519 over the canonical record, base64")]


class Deletion(Record, frozen=True, kw_only=True):
    """Signed note that records were deleted from their log; their leaves stay."""

    cluster: Annotated[str, doc("id of the Kafka cluster whose log this is")] = ""
    topic: Annotated[str, doc("topic")]
    partition: Annotated[int, doc("partition", ge=0)]
    offsets: Annotated[list[list[int]], doc("stretches [first, last] of what was deleted")]
    count: Annotated[int, doc("records deleted", ge=0)]
    reason: Annotated[str, doc("why: the rule of retention, or a person's words")]
    by: Annotated[str, doc("who asked for it")]
    signed_at: Annotated[datetime, doc("when", "UTC")]
    key_id: Annotated[str, doc("key of the signature")]
    signature: Annotated[str, doc("Ed25519 over the canonical record, base64")]


class DeadLetter(Record, frozen=True, kw_only=True):
    """Input that could not be used, with its original bytes. Raw class."""

    topic: Annotated[str, doc("where it was")]
    partition: Annotated[int, doc("partition", ge=-1)]
    offset: Annotated[int, doc("offset", ge=-1)]
    index: Annotated[int | None, doc("item inside the record, when one item is bad")] = None
    stage: Annotated[str, doc("who refused it")]
    reason: Annotated[str, doc("class of the fault: truncated, mistyped, too_large …")]
    detail: Annotated[str, doc("what is wrong and what to do, for a person")]
    source: Annotated[str | None, doc("source, for limits per source")] = None
    tenant: Annotated[str, doc("whose data this is")] = "default"
    observed_time: Annotated[datetime, doc("when it was received", "UTC")]
    sha256: Annotated[str, doc("hash of the original bytes")]
    size_bytes: Annotated[int, doc("size of the original", "bytes", ge=0)]
    original: Annotated[
        bytes | None, doc("the original bytes; absent above the source's limit")
    ] = None
    headers: Annotated[dict[str, str], doc("headers of the original")] = {}


class ActionBatch(Record, frozen=True, kw_only=True):
    """Headers of an Arrow batch on agent.actions; the value itself is an Arrow IPC stream."""

    version: Annotated[int, doc("schema version", ge=1)]
    rows: Annotated[int, doc("actions in the batch", ge=0)]
