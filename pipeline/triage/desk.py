"""A batch of records judged: which alerts to write, which entries to keep, what is refused.

Pure: entries come in by a lookup and go out as values, so that the adapter decides what is
acknowledged before what.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tachograph.pipeline.clock import to_datetime
from tachograph.pipeline.errors import Refused
from tachograph.pipeline.log import get, place_of
from tachograph.pipeline.triage import incomplete
from tachograph.pipeline.triage.entry import Entry, TriageRecord, apply, fresh, key_of, says_more
from tachograph.pipeline.triage.judgement import alert_of, stamped
from tachograph.pipeline.triage.membership import member_of
from tachograph.pipeline.triage.policy import Policy
from tachograph.pipeline.triage.respond import directives_of, with_directives
from tachograph.schemas.alert import Alert, SignalGroup
from tachograph.schemas.codec import InvalidRecord, decode
from tachograph.schemas.records import (
    CaptureAnswer,
    Context,
    Directive,
    IncidentLink,
    IncidentMember,
)

_MS_IN_US = 1_000
KINDS: dict[str, type[Any]] = {
    "signal_group": SignalGroup,
    "context": Context,
    "capture_answer": CaptureAnswer,
    "incident_link": IncidentLink,
}

log = get("triage")
Lookup = Callable[[str], Entry | None]


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One record of agent.signal_groups as it came."""

    partition: int
    offset: int
    at_ms: int  # Kafka's time of the record
    kind: str  # header tacho-record; empty when there was none
    payload: bytes


class Refusal(msgspec.Struct, frozen=True):
    """A record that cannot be used, and why."""

    arrival: Arrival
    reason: str
    detail: str


class Outcome(msgspec.Struct):
    """What a batch amounts to: at most one alert an entry, the newest."""

    alerts: list[Alert] = []
    members: list[IncidentMember] = []  # the same alerts, for who joins them
    directives: list[Directive] = []  # not signed yet
    groups: list[SignalGroup] = []  # what the alerts themselves give to say
    entries: dict[str, Entry] = {}
    refusals: list[Refusal] = []
    known: int = 0  # records that changed nothing

    def add(self, other: "Outcome") -> None:
        """What another entry amounts to, too."""
        self.alerts += other.alerts
        self.members += other.members
        self.directives += other.directives
        # A flood of alerts that say the same of it says it once.
        said = {group.group_id for group in self.groups}
        self.groups += [group for group in other.groups if group.group_id not in said]
        self.entries |= other.entries
        self.refusals += other.refusals
        self.known += other.known


def judge(arrivals: Iterable[Arrival], lookup: Lookup, policy: Policy) -> Outcome:
    """Judge records in their order. Never raises for what a record holds."""
    outcome = Outcome()
    work: dict[str, list[tuple[Arrival, TriageRecord]]] = {}
    for arrival in arrivals:
        try:
            record = _record(arrival)
            work.setdefault(key_of(record), []).append((arrival, record))
        except (InvalidRecord, Refused) as error:
            outcome.refusals.append(Refusal(arrival, "mistyped", str(error)))
    for key, group in work.items():
        # On its own: what fails half-way has said nothing, and none of its records counts twice.
        own = Outcome()
        try:
            _judge_entry(key, group, lookup, policy, own)
        except Exception as error:  # noqa: BLE001 - one entry's fault must not stop the others
            detail = f"no alert can be made of this entry: {place_of(error)}"
            log.error("fault", of=place_of(error), records=len(group))  # noqa: TRY400
            own = Outcome(refusals=[Refusal(a, "judgement_failed", detail) for a, _ in group])
        outcome.add(own)
    return outcome


def _record(arrival: Arrival) -> TriageRecord:
    kind = KINDS.get(arrival.kind)
    if kind is None:
        raise Refused(f"header tacho-record is {arrival.kind!r}, none of {', '.join(KINDS)}")
    record: TriageRecord = decode(kind, arrival.payload)
    return record


def _judge_entry(
    key: str,
    group: list[tuple[Arrival, TriageRecord]],
    lookup: Lookup,
    policy: Policy,
    outcome: Outcome,
) -> None:
    before = lookup(key) or fresh(group[0][1])
    entry, news = before, None
    for arrival, record in group:
        changed = _applied(entry, before.last_offset, arrival, record, outcome)
        if changed is entry:
            continue
        if says_more(entry, changed):
            news = arrival
        entry = _held(changed, arrival)
    if entry is before:
        return
    alert = alert_of(entry, policy) if news and entry.opened else None
    if alert and news:
        at = to_datetime(news.at_ms * _MS_IN_US)
        alert = stamped(alert, news.offset, at)
        outcome.alerts.append(alert)
        outcome.members.append(member_of(alert, entry, policy))
        told = directives_of(alert, entry, policy, at)
        outcome.directives += told
        outcome.groups += incomplete.told_of(alert, policy, at)
        entry = with_directives(entry, told)
    outcome.entries[key] = entry


def _applied(
    entry: Entry, judged_to: int, arrival: Arrival, record: TriageRecord, outcome: Outcome
) -> Entry:
    """The entry after one record; the same object when the record was known or is refused."""
    if arrival.offset <= judged_to:
        outcome.known += 1
        return entry
    try:
        changed = apply(entry, record)
    except Refused as error:
        outcome.refusals.append(Refusal(arrival, "too_large", str(error)))
        return entry
    if changed == entry:
        outcome.known += 1
        return entry
    return changed


def _held(entry: Entry, arrival: Arrival) -> Entry:
    return msgspec.structs.replace(
        entry,
        partition=arrival.partition,
        last_offset=arrival.offset,
        touched_ms=arrival.at_ms,
    )
