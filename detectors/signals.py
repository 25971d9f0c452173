"""Facts and rules to Signals. Ids are hashes of tenant, rule, semantic hash, group (its partition
key among it), bucket or event id.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tachograph.detectors.correlation.asking import folded
from tachograph.detectors.facts import MAX_SAID_CHARS, Facts
from tachograph.detectors.language.bounds import described
from tachograph.detectors.language.rule import (
    MICROS,
    Absent,
    Bound,
    Correlation,
    Count,
    Figure,
    FirstSeen,
    Meta,
    Ordered,
    Stateless,
    Together,
    Values,
)
from tachograph.schemas.alert import (
    SEVERITIES,
    Change,
    Observable,
    ObservableType,
    Reason,
    Severity,
    Signal,
    Witness,
)
from tachograph.schemas.identity import Prefix, plain_id

ALERT_BUCKET_S = 3600
# Evidence kept on a signal; the count is whole.
MAX_EVIDENCE = 20
# Of the name of an entity; the group's values stand whole beside it.
MAX_ENTITY_CHARS = 160
GROUP_SEPARATOR = ", "

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OBSERVABLES: tuple[tuple[str, ObservableType], ...] = (
    ("principal_id", "user"),
    ("host_name", "host"),
    ("target_domain", "domain"),
    ("target_ip", "ip"),
    ("target_url", "url"),
    ("file_path", "file"),
    ("file_hash", "hash"),
    ("artifact_name", "package"),
    ("tool_name", "tool"),
)


def at(time_us: int) -> datetime:
    """A time of ours as datetime."""
    return _EPOCH + timedelta(microseconds=time_us)


def micros(moment: datetime) -> int:
    """A datetime as UTC microseconds, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def of_action(facts: Facts) -> dict[str, Any]:
    """The fields that a signal takes as they are from the action it is of."""
    bucket_us = facts.time_us - facts.time_us % (ALERT_BUCKET_S * MICROS)
    return {
        "tenant": facts.tenant,
        "event_time": at(facts.time_us),
        "observed_time": facts.observed_time,
        "bucket_start": at(bucket_us),
        "entity": facts.agent,
        "agent_id": facts.agent_id,
        "agent_name": facts.agent_name,
        "principal_id": facts.principal_id,
        "session_id": facts.session_id,
        "trace_id": facts.trace_id,
        "partition_key": facts.partition_key,
        "environment": facts.environment,
        "synthetic": bool(facts.synthetic),
        "replay": bool(facts.replay),
    }


class Evidence(msgspec.Struct, frozen=True):
    """What a correlation rests on in one bucket: its last event, the first of its events, how many
    there are, and the value that was compared. `bucket` tells signals of one group apart.
    """

    last: Facts
    events: list[Facts]
    count: int
    value: float
    bucket: str
    group: dict[str, str]
    # Of a first-seen value: the value.
    values: tuple[str, ...] = ()
    blind: list[str] = []


class SignalMaker:
    """Makes the signals of one rule."""

    def __init__(self, meta: Meta, versions: Mapping[str, str]) -> None:
        self._meta = meta
        self._ids: dict[str, Prefix] = {}
        self._versions = {"rule": meta.version, **versions}
        tacho = meta.tacho
        self._fixed: dict[str, Any] = {
            "rule_id": meta.rule_id,
            "rule_version": meta.version,
            "title": meta.title,
            "confidence": tacho.confidence,
            "kind": meta.kind,
            "risk_category": tacho.risk_category,
            "frameworks": meta.tags,
            "runbook": tacho.runbook,
        }

    def of_event(self, rule: Stateless, facts: Facts, revision: int) -> Signal:
        """The signal of a single event."""
        meta = rule.meta
        what = facts.tool_name or facts.kind or "an action"
        return self._signal(
            facts,
            revision,
            "new",
            signal_id=self._prefix(facts.tenant).id(facts.event_id),
            event_ids=[facts.event_id],
            reason=Reason(text=f"{meta.title}: {what} by {facts.agent}", fields=facts.said),
            witness=Witness(events=[_fact(facts)], versions=self._versions),
        )

    def of_group(self, rule: Correlation, found: Evidence, revision: int, change: Change) -> Signal:
        """The signal of a group in one bucket of the rule's timespan."""
        last = found.last
        place = () if rule.across else (last.partition_key or "",)
        about = _across(last.tenant, found.group) if rule.across else {}
        signal = self._signal(
            last,
            revision,
            change,
            signal_id=self._prefix(last.tenant).id(
                *place, *found.group.values(), *found.values, found.bucket
            ),
            event_ids=[event.event_id for event in found.events],
            event_count=found.count,
            group=found.group,
            scores=_scores(rule, found),
            reason=Reason(text=f"{rule.meta.title}: {_why(rule, found)}", fields=last.said),
            witness=Witness(
                events=[_fact(event) for event in found.events],
                window=_window(rule, found),
                versions=self._versions,
                partial=found.count > len(found.events),
            ),
            blind_spots=found.blind,
        )
        return msgspec.structs.replace(signal, **about) if about else signal

    def _prefix(self, tenant: str) -> Prefix:
        """What all ids of one tenant and this rule begin with; hashed once."""
        found = self._ids.get(tenant)
        if found is None:
            found = Prefix(tenant, self._meta.rule_id, self._meta.version)
            self._ids[tenant] = found
        return found

    def _signal(self, facts: Facts, revision: int, change: Change, **said: object) -> Signal:
        return Signal(
            revision=revision,
            change=change,
            tool_name=facts.tool_name,
            observables=_observables(facts),
            severity=severity_of(self._meta, facts.said),
            owner_team=self._meta.tacho.owner_team or facts.register_owner,
            **of_action(facts),
            **self._fixed,
            **said,  # type: ignore[arg-type]
        )


def told_as(signal: Signal, meta: Meta, versions: Mapping[str, str]) -> Signal:
    """The same signal in the words of a set of rules that words its rule another way."""
    was, tacho = signal.reason.text.removeprefix(f"{signal.title}: "), meta.tacho
    return msgspec.structs.replace(
        signal,
        title=meta.title,
        severity=severity_of(meta, signal.reason.fields),
        confidence=tacho.confidence,
        risk_category=tacho.risk_category,
        frameworks=meta.tags,
        runbook=tacho.runbook,
        owner_team=tacho.owner_team or signal.owner_team,
        reason=msgspec.structs.replace(signal.reason, text=f"{meta.title}: {was}"),
        witness=msgspec.structs.replace(
            signal.witness, versions={**signal.witness.versions, **versions}
        ),
    )


def severity_of(meta: Meta, said: Mapping[str, str]) -> Severity:
    """The rule's severity, raised and lowered by the values that its `severity_by` names."""
    steps = sum(
        by.get(said.get(field, "").lower(), 0) for field, by in meta.tacho.severity_by.items()
    )
    if not steps:
        return meta.severity
    place = SEVERITIES.index(meta.severity) + steps
    return SEVERITIES[min(max(place, 0), len(SEVERITIES) - 1)]


def changed(signal: Signal, change: Change, revision: int) -> Signal:
    """The same signal, revised or retracted."""
    return msgspec.structs.replace(signal, change=change, revision=revision)


def across_entity(tenant: str, group: str) -> str:
    """Who a signal of a group that lies in several partitions is about: the group's values, else
    the tenant. Long ones are cut and told apart by a hash.

    `group`: the values joined by GROUP_SEPARATOR.
    """
    name = group or tenant
    if len(name) <= MAX_ENTITY_CHARS:
        return name
    return f"{name[:MAX_ENTITY_CHARS]}… {plain_id(name)[:12]}"


def _across(tenant: str, group: dict[str, str]) -> dict[str, str | None]:
    """What differs in a signal about a group that lies in several partitions: it is about the
    group's values, and of no partition key.
    """
    return {
        "entity": across_entity(tenant, GROUP_SEPARATOR.join(group.values())),
        "entity_type": ", ".join(group) or "tenant",
        "partition_key": None,
    }


def _observables(facts: Facts) -> list[Observable]:
    found = []
    for name, kind in _OBSERVABLES:
        value = getattr(facts, name)
        if value:
            found.append(Observable(type=kind, value=value))
    return found


def _fact(facts: Facts) -> dict[str, str]:
    fact = {"event_id": facts.event_id, "time_us": str(facts.time_us), **facts.said}
    if facts.tool_name:
        fact["tool_name"] = facts.tool_name
    return fact


def _window(rule: Correlation, found: Evidence) -> dict[str, str]:
    window = {
        "timespan_s": str(rule.timespan_us // MICROS),
        "bucket": found.bucket,
        "count": str(found.count),
        "last": found.last.event_id,
        "value": _number(found.value),
    }
    if rule.bounds:
        window["condition"] = described(rule.bounds)
    if rule.window != "sliding":
        window["window"] = rule.window
    if found.values:
        window["new"] = _new(found)
    return window


def _scores(rule: Correlation, found: Evidence) -> dict[str, float]:
    match rule.asks:
        case Values():
            return {"value_count": found.value}
        case Figure(fold=fold):
            return {f"value_{fold}": found.value}
    return {}


def _why(rule: Correlation, found: Evidence) -> str:
    span_s = rule.timespan_us // MICROS
    within = f"within {span_s} s" if rule.window == "sliding" else f"in a {rule.window} window"
    match rule.asks:
        case Count(bounds=bounds):
            return f"{found.count} {within}, {_asked(bounds)}"
        case Values(fields=fields, bounds=bounds):
            return (
                f"{_number(found.value)} values of {', '.join(fields)} {within}, {_asked(bounds)}"
            )
        case Figure(field=field, bounds=bounds):
            value = _number(found.value)
            return f"{folded(rule.asks)} of {field} is {value} {within}, {_asked(bounds)}"
        case Together():
            return f"{' + '.join(map(_what, found.events))} {within}"
        case Ordered():
            return f"{' → '.join(map(_what, found.events))} {within}"
        case Absent():
            return f"{_what(found.last)} and no {rule.steps[1].name} within {span_s} s"
        case FirstSeen(fields=fields):
            return f"new {', '.join(fields)}: {_new(found)}"


def _new(found: Evidence) -> str:
    return ", ".join(value[:MAX_SAID_CHARS] for value in found.values)


def _asked(bounds: Sequence[Bound]) -> str:
    """What the value is held against, in words."""
    match bounds:
        case [Bound(op="gte", number=number)]:
            return f"{number} are enough"
    return f"asked for {described(bounds)}"


def _what(event: Facts) -> str:
    """What happened, in a word; of raw events what they say in the first field that was asked."""
    said = (f"{name}={value[:MAX_SAID_CHARS]}" for name, value in event.said.items())
    return event.tool_name or event.kind or next(said, "?")


def _number(value: float) -> str:
    return f"{value:.15g}"
