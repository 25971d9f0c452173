"""The alert of an entry: a pure function of the latest revisions, whatever their order.

Nothing here knows of topics, clocks or tables. What depends on the record that caused the state
(revision, updated_at) is set by `stamped`, so that the content of an alert can be compared.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from tachograph.pipeline.triage.entry import MAX_GROUPS, Entry
from tachograph.pipeline.triage.policy import Policy, rank
from tachograph.pipeline.triage.snapshot import NO_CONTEXT, snapshot_of, stage_of
from tachograph.schemas.alert import (
    Alert,
    Observable,
    Reason,
    RiskCategory,
    RuleHit,
    Severity,
    Signal,
    SignalGroup,
    Status,
)
from tachograph.schemas.identity import plain_id

MAX_SESSIONS = 20
MAX_OBSERVABLES = 50
MAX_VALUE_CHARS = 500
MAX_REASONS = 20
MAX_SIGNAL_IDS = 100
MAX_EVENT_IDS = 100
MAX_FRAMEWORKS = 50
MAX_BLIND_SPOTS = 30
MAX_SCORES = 50
MAX_NAME_CHARS = 120

_US = 1_000_000
T = TypeVar("T")


class _Member(msgspec.Struct, frozen=True):
    """A group and whether it counts."""

    group: SignalGroup
    suppressed: str | None

    @property
    def counts(self) -> bool:
        return self.group.count > 0 and self.suppressed is None


class _View(msgspec.Struct, frozen=True):
    """What an alert speaks of: groups that count, else all, and their signals, gravest first."""

    members: list[_Member]
    counted: list[_Member]
    shown: list[_Member]
    signals: list[tuple[Signal, SignalGroup]]


def alert_of(entry: Entry, policy: Policy) -> Alert | None:
    """The alert that the entry's groups amount to, unstamped; None as long as no group is known."""
    if not entry.groups:
        return None
    view = _view(entry, policy)
    if not view.signals:
        return _bare(entry, policy, view)
    return _described(entry, policy, view)


def judged_by(entry: Entry, policy: Policy) -> dict[str, set[str]]:
    """The events that the samples of each group rest on, of the groups that the alert speaks of."""
    return {
        member.group.group_id: {one for sample in member.group.samples for one in sample.event_ids}
        for member in _view(entry, policy).shown
    }


def alert_id_of(entry: Entry, policy: Policy) -> str:
    """Id of the entry's alert; it never changes, whatever comes."""
    return plain_id(entry.tenant, policy.name, entry.entity, entry.bucket_start.isoformat())


def stamped(alert: Alert, revision: int, at: datetime) -> Alert:
    """The alert as caused by the record at offset `revision`, written at `at`."""
    return msgspec.structs.replace(alert, revision=revision, updated_at=at)


def _view(entry: Entry, policy: Policy) -> _View:
    groups = sorted(entry.groups.values(), key=lambda group: group.group_id)
    members = [_Member(group, group.suppressed or policy.suppressed(group)) for group in groups]
    counted = [member for member in members if member.counts]
    shown = counted or [m for m in members if m.group.count > 0] or members
    signals = [(signal, member.group) for member in shown for signal in member.group.samples]
    signals.sort(key=lambda pair: _gravest_first(pair[0]))
    return _View(members, counted, shown, signals)


def _gravest_first(signal: Signal) -> tuple[int, datetime, str]:
    return -rank(signal.severity), signal.event_time, signal.signal_id


def _status(view: _View) -> Status:
    """Suppressed groups are kept, but nobody is called: the policy has closed their alert."""
    if view.counted:
        return "open"
    return "closed" if any(member.group.count for member in view.members) else "retracted"


def risk_of(groups: Iterable[SignalGroup], policy: Policy) -> int:
    """Sum of decaying weights, in thousandths; a signal's weight halves every half-life.

    A flood counts by its logarithm: beyond its samples, a group adds one weight of its gravest
    sample for each power of ten that its count has reached, at the group's last time.
    """
    found = list(groups)
    if not found:
        return 0
    last = max(group.last_seen for group in found)
    risk = 0
    for group in found:
        weights = [policy.weights[sample.severity] for sample in group.samples]
        for sample, weight in zip(group.samples, weights, strict=True):
            risk += _decayed(weight, last - sample.event_time, policy.half_life_s)
        tens = len(str(group.count)) - 1 if group.count else 0
        if tens and weights:
            risk += tens * _decayed(max(weights), last - group.last_seen, policy.half_life_s)
    return risk


def _decayed(weight: int, age: timedelta, half_life_s: int) -> int:
    """Whole thousandths, so that a sum does not depend on its order."""
    age_us = max(0, (age.days * 86_400 + age.seconds) * _US + age.microseconds)
    return int(weight * 2.0 ** (-age_us / (half_life_s * _US)))


def _severity(view: _View, entry: Entry) -> Severity:
    found: list[Severity] = [s.severity for m in view.counted for s in m.group.samples]
    # A group that lost its samples is as grave as it ever was.
    bare = [m.group.group_id for m in view.counted if not m.group.samples]
    found += [entry.peaks[key] for key in bare if key in entry.peaks]
    if entry.overflow:
        found.append(entry.overflow)
    return max(found, key=rank, default="informational")


def _described(entry: Entry, policy: Policy, view: _View) -> Alert:
    signals = [signal for signal, _ in view.signals]
    first, group = view.signals[0]
    alert_id = alert_id_of(entry, policy)
    state = snapshot_of(entry, alert_id, group.group_id, first)
    groups = [member.group for member in view.shown]
    observables = {(o.type, o.value[:MAX_VALUE_CHARS]) for s in signals for o in s.observables}
    seen_first = min(group.first_seen for group in groups)
    return Alert(
        alert_id=alert_id,
        revision=0,
        tenant=entry.tenant,
        environment=first.environment,
        status=_status(view),
        stage=stage_of(entry),
        title=_title(entry, view, first),
        severity=_severity(view, entry),
        confidence=max(signal.confidence for signal in signals),
        risk=risk_of((member.group for member in view.counted), policy),
        risk_category=first.risk_category,
        risk_categories=_categories(signals),
        rules=_rules(view),
        frameworks=sorted({f for s in signals for f in s.frameworks})[:MAX_FRAMEWORKS],
        first_seen=seen_first,
        last_seen=max(group.last_seen for group in groups),
        created_at=min(member.group.first_seen for member in view.members),
        updated_at=seen_first,
        entity=entry.entity,
        entity_type=group.entity_type,
        agent_id=first.agent_id,
        agent_name=first.agent_name,
        principal_id=first.principal_id,
        session_id=first.session_id,
        session_ids=sorted({s.session_id for s in signals if s.session_id})[:MAX_SESSIONS],
        observables=[Observable(type=t, value=v) for t, v in sorted(observables)][:MAX_OBSERVABLES],
        reasons=_reasons(signals),
        signal_ids=_distinct(s.signal_id for s in signals)[:MAX_SIGNAL_IDS],
        event_ids=_distinct(e for s in signals for e in s.event_ids)[:MAX_EVENT_IDS],
        signal_count=sum(group.count for group in groups),
        state=state,
        state_missing=None if state else NO_CONTEXT,
        blind_spots=_blind_spots(entry, signals),
        versions=_merged([s.witness.versions for s in signals]) | {"policy": policy.version},
        scores=dict(sorted(_merged([s.scores for s in signals]).items())[:MAX_SCORES]),
        witness=first.witness,
        runbook=_first(s.runbook for s in signals),
        owner_team=_first(s.owner_team for s in signals),
        incident_id=_incident_id(entry, alert_id),
        incident_reasons=entry.incident.reasons if entry.incident else [],
        synthetic=all(signal.synthetic for signal in signals),
        replay=all(signal.replay for signal in signals),
    )


def _bare(entry: Entry, policy: Policy, view: _View) -> Alert:
    """An alert whose groups carry no sample, as retracted ones may: little can be said."""
    groups = [member.group for member in view.members]
    name = _printable(entry.entity)
    more = f" (+{len(groups) - 1} more)" if len(groups) > 1 else ""
    gone = ", retracted" if _status(view) == "retracted" else ""
    return Alert(
        alert_id=alert_id_of(entry, policy),
        revision=0,
        tenant=entry.tenant,
        status=_status(view),
        stage=stage_of(entry),
        title=f"{name}: {groups[0].rule_id}{more}{gone}",
        severity=_severity(view, entry),
        risk=0,
        risk_category="agent_operation",
        rules=_rules(view),
        first_seen=min(group.first_seen for group in groups),
        last_seen=max(group.last_seen for group in groups),
        created_at=min(group.first_seen for group in groups),
        updated_at=min(group.first_seen for group in groups),
        entity=entry.entity,
        entity_type=groups[0].entity_type,
        reasons=[],
        signal_ids=[],
        event_ids=[],
        signal_count=sum(group.count for group in groups),
        state_missing=NO_CONTEXT,
        blind_spots=_blind_spots(entry, []),
        versions={"policy": policy.version},
        incident_id=_incident_id(entry, alert_id_of(entry, policy)),
        incident_reasons=entry.incident.reasons if entry.incident else [],
    )


def _incident_id(entry: Entry, alert_id: str) -> str:
    """An alert that nothing joins to others is an incident by itself."""
    return entry.incident.incident_id if entry.incident else alert_id


def _title(entry: Entry, view: _View, gravest: Signal) -> str:
    """Who, the gravest thing in words, and how many other rules agree."""
    about_agent = view.signals[0][1].entity_type == "agent"
    name = gravest.agent_name if about_agent and gravest.agent_name else entry.entity
    others = len({signal.rule_id for signal, _ in view.signals}) - 1
    more = f" (+{others} more)" if others else ""
    return f"{_printable(name)}: {_lowered(_printable(gravest.title))}{more}"


def _printable(text: str) -> str:
    """One line that a terminal and a log may show."""
    cut = text if len(text) <= MAX_NAME_CHARS else text[: MAX_NAME_CHARS - 1] + "…"
    return "".join(c if c.isprintable() else "�" for c in cut)


def _lowered(title: str) -> str:
    """A title inside a sentence: `Secret read` → `secret read`, but `MCP server` stays."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _rules(view: _View) -> list[RuleHit]:
    hits = [_hit(member) for member in view.members]
    return sorted(hits, key=lambda hit: (-rank(hit.severity), hit.rule_id, hit.rule_version))


def _hit(member: _Member) -> RuleHit:
    group = member.group
    sample = min(group.samples, key=_gravest_first, default=None)
    return RuleHit(
        rule_id=group.rule_id,
        rule_version=sample.rule_version if sample else "",
        title=sample.title if sample else group.rule_id,
        severity=sample.severity if sample else "informational",
        kind=sample.kind if sample else "stateless",
        count=group.count,
        suppressed=member.suppressed,
    )


def _categories(signals: Sequence[Signal]) -> list[RiskCategory]:
    return _distinct(signal.risk_category for signal in signals)


def _reasons(signals: Sequence[Signal]) -> list[Reason]:
    """Why, gravest first; a reason told twice in the same words is told once."""
    found: dict[str, Reason] = {}
    for signal in signals:
        found.setdefault(signal.reason.text, signal.reason)
    return list(found.values())[:MAX_REASONS]


def _blind_spots(entry: Entry, signals: Sequence[Signal]) -> list[str]:
    spots = sorted({spot for signal in signals for spot in signal.blind_spots})
    if entry.overflow:
        spots.insert(0, f"more than {MAX_GROUPS} rules fired; the others are counted by severity")
    return spots[:MAX_BLIND_SPOTS]


def _merged(maps: Sequence[dict[str, T]]) -> dict[str, T]:
    """All pairs; where two disagree, the graver signal's value."""
    merged: dict[str, T] = {}
    for found in reversed(maps):
        if found:
            merged |= found
    return merged


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)
