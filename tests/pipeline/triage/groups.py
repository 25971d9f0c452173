"""Groups, contexts and answers for tests of triage: made here, or drawn by hypothesis."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st

from tachograph.pipeline.triage.entry import TriageRecord
from tachograph.schemas.alert import SEVERITIES, Observable, Reason, Severity, Signal, SignalGroup
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import CaptureAnswer, Context, IncidentLink

BUCKET = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
BUCKET_S = 900


def signal(rule: str, severity: Severity, at_s: float, **fields: Any) -> Signal:
    """A signal of `rule`, `at_s` seconds into the bucket."""
    event_id = plain_id("event", rule, str(at_s))
    made = Signal(
        signal_id=plain_id("signal", rule, str(at_s)),
        revision=0, change="new", tenant="acme", rule_id=rule, rule_version="v1",
        title=f"Title of {rule}", severity=severity, kind="stateless",
        risk_category="agent_operation", event_time=BUCKET + timedelta(seconds=at_s),
        event_ids=[event_id], entity="billing-helper", bucket_start=BUCKET,
        agent_id="billing-helper", agent_name="billing-helper", session_id=f"session-{rule}",
        reason=Reason(text=f"{rule} saw something"),
        observables=[Observable(type="tool", value=f"tool-{rule}")],
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


def group(
    rule: str, severity: Severity = "high", *, revision: int = 1, count: int = 1, **fields: Any
) -> SignalGroup:
    """A group of `rule` with up to three samples, a second apart."""
    offset = sum(rule.encode()) % 300
    samples = [signal(rule, severity, offset + n) for n in range(min(count, 3))]
    times = [sample.event_time for sample in samples] or [BUCKET + timedelta(seconds=offset)]
    made = SignalGroup(
        group_id=plain_id("group", rule), revision=revision, tenant="acme",
        entity="billing-helper", bucket_start=BUCKET, bucket_s=BUCKET_S, rule_id=rule,
        count=count, first_seen=min(times), last_seen=max(times), samples=samples,
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


def context(rule: str, at_s: float = 1.0, **fields: Any) -> Context:
    """The context of the group of `rule`."""
    made = Context(
        tenant="acme", group_id=plain_id("group", rule), entity="billing-helper",
        bucket_start=BUCKET, session_id=f"session-{rule}", agent_id="billing-helper",
        taken_at=BUCKET + timedelta(seconds=at_s),
        actions=[{"kind": "prompt", "text": rule}, {"kind": "tool_call", "tool": "x"}],
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


def answer(directive: str, *, answered: bool, at_s: float = 5.0) -> CaptureAnswer:
    """What came of the capture directive."""
    return CaptureAnswer(
        directive_id=plain_id("directive", directive), tenant="acme", alert_id="a",
        entity="billing-helper", bucket_start=BUCKET, answered=answered,
        decided_at=BUCKET + timedelta(seconds=at_s),
    )  # fmt: skip


def link(incident: str, *, revision: int = 1) -> IncidentLink:
    """The alert belongs to this incident."""
    return IncidentLink(
        alert_id="a", revision=revision, tenant="acme", entity="billing-helper",
        bucket_start=BUCKET, incident_id=plain_id("alert", incident),
        reasons=[f"content {incident}"],
    )  # fmt: skip


RULES = [f"rule-{n}" for n in range(6)]


@st.composite
def group_revisions(draw: st.DrawFn) -> SignalGroup:
    """Some revision of some group: the content of a revision is fixed by rule and revision."""
    rule = draw(st.sampled_from(RULES))
    revision = draw(st.integers(0, 4))
    severity = SEVERITIES[sum(rule.encode()) % len(SEVERITIES)]
    count = (0, 1, 10, 100, 3)[(revision + len(rule) + sum(rule.encode())) % 5]
    return group(rule, severity, revision=revision, count=count)


def records() -> st.SearchStrategy[TriageRecord]:
    """Any record that triage reads."""
    return st.one_of(
        group_revisions(),
        st.builds(context, st.sampled_from(RULES), st.integers(0, 9)),
        st.builds(link, st.sampled_from("ab"), revision=st.integers(0, 3)),
        st.builds(answer, st.sampled_from("ab"), answered=st.booleans(), at_s=st.integers(0, 9)),
    )


def owned(record: TriageRecord, entity: str) -> TriageRecord:
    """The same record about another entity; its group is that entity's own."""
    if isinstance(record, CaptureAnswer | IncidentLink):
        return msgspec.structs.replace(record, entity=entity)
    return msgspec.structs.replace(record, entity=entity, group_id=record.group_id + entity)
