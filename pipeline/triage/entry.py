"""What triage remembers of one (tenant, entity, bucket), and how a record changes it.

An entry is a function of the set of records it has seen: whatever their order, repetition or
interleaving, the same set leaves the same groups, contexts and answers. So where something is left
out at a limit, it is the same something: the smallest ids stay, not the first to come.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

import msgspec

from tachograph.detectors.published import bounded as bounded_state
from tachograph.pipeline.errors import Refused
from tachograph.pipeline.triage.glimpse import Glimpse, glimpse_of, smallest
from tachograph.pipeline.triage.policy import rank
from tachograph.schemas.alert import Severity, Signal, SignalGroup, Witness
from tachograph.schemas.codec import encode
from tachograph.schemas.fields import Record
from tachograph.schemas.records import CaptureAnswer, Context, IncidentLink

# Together an entry stays well below the size of one record, and so does its alert.
MAX_GROUPS = 64
MAX_GROUP_BYTES = 8_000
MAX_SAMPLES = 5
MAX_CONTEXTS = 4
MAX_CONTEXT_BYTES = 24_000
MAX_CONTEXT_ACTIONS = 20
MAX_ANSWERS = 16
MAX_NAME_CHARS = 512
MAX_LIST = 20
MAX_TEXT_CHARS = 500

CUT = "part of the evidence was cut at a size limit"

T = TypeVar("T", SignalGroup, Context, CaptureAnswer)
TriageRecord = SignalGroup | Context | CaptureAnswer | IncidentLink


class Entry(Record, frozen=True, kw_only=True):
    """Everything that the alert of one (tenant, entity, bucket) follows from."""

    tenant: str
    entity: str
    bucket_start: datetime
    partition: int = 0
    last_offset: int = -1  # records up to it have been judged and their alert acknowledged
    touched_ms: int = 0  # Kafka's time of the newest record, for expiry
    opened: bool = False  # a group has counted signals once, so its retraction is news
    groups: dict[str, SignalGroup] = {}  # noqa: RUF012 - msgspec copies it
    peaks: dict[str, Severity] = {}  # noqa: RUF012 - gravest severity a group ever had
    overflow: Severity | None = None  # gravest severity among the groups left out
    contexts: dict[str, Context] = {}  # noqa: RUF012
    glimpses: dict[str, Glimpse] = {}  # noqa: RUF012 - of more contexts than are kept whole
    answers: dict[str, CaptureAnswer] = {}  # noqa: RUF012
    directives: list[str] = []  # noqa: RUF012 - ids of what the agents were told
    incident: IncidentLink | None = None


def key_of(record: TriageRecord) -> str:
    """Key of the entry that a record belongs to. Raises Refused for names beyond all reason."""
    if max(len(record.tenant), len(record.entity)) > MAX_NAME_CHARS:
        raise Refused(f"tenant and entity have at most {MAX_NAME_CHARS} characters")
    # An agent chooses its name: none makes the key of another tenant's entry.
    tenant = record.tenant.replace("%", "%25").replace("/", "%2F")
    return f"{tenant}/{record.entity}/{record.bucket_start.isoformat()}"


def fresh(record: TriageRecord) -> Entry:
    """The entry before its first record."""
    return Entry(tenant=record.tenant, entity=record.entity, bucket_start=record.bucket_start)


def over_ms_of(entry: Entry) -> int:
    """When the longest bucket of its groups is over, in milliseconds since 1970."""
    longest_s = max((group.bucket_s for group in entry.groups.values()), default=0)
    return int((entry.bucket_start.timestamp() + longest_s) * 1000)


def apply(entry: Entry, record: TriageRecord) -> Entry:
    """The entry with one more record; the same entry when it was known. Raises Refused."""
    if isinstance(record, SignalGroup):
        return _with_group(entry, _bounded_group(record))
    if isinstance(record, Context):
        return _with_context(entry, _bounded_context(record))
    if isinstance(record, IncidentLink):
        return _with_link(entry, _bounded_link(record))
    return _with_answer(entry, _bounded_answer(record))


def says_more(before: Entry, after: Entry) -> bool:
    """Whether the alert of the entry may have changed: not by a revision or a closing alone.

    It looks at the two entries only. So after a crash the same records are news again, even when
    the batches they come in are cut differently.
    """
    if _told(before) != _told(after):
        return True
    return _plain(before.groups) != _plain(after.groups)


def _told(entry: Entry) -> tuple[object, ...]:
    """What the alert says beside its groups."""
    link = entry.incident
    incident = (link.incident_id, link.reasons) if link else None
    return entry.overflow, entry.contexts, entry.glimpses, entry.answers, incident


def _plain(groups: dict[str, SignalGroup]) -> list[SignalGroup]:
    return [msgspec.structs.replace(g, revision=0, closed=False) for g in groups.values()]


def _with_group(entry: Entry, group: SignalGroup) -> Entry:
    key = group.group_id
    told = [] if group.suppressed else [sample.severity for sample in group.samples]
    peak = _gravest([*told, *_peak(entry, key)])
    newest = _newer(entry.groups.get(key), group)
    groups = entry.groups | {key: newest}
    kept = set(sorted(groups)[:MAX_GROUPS])
    peaks = entry.peaks | ({key: peak} if peak else {})
    lost = [*([entry.overflow] if entry.overflow else []),
            *(peaks.get(name, "informational") for name in groups.keys() - kept)]  # fmt: skip
    return msgspec.structs.replace(
        entry,
        groups={name: groups[name] for name in sorted(kept)},
        peaks={name: value for name, value in peaks.items() if name in kept},
        overflow=_gravest(lost),
        # What was taken back before it was heard of opens nothing.
        opened=entry.opened or newest.count > 0,
    )


def _peak(entry: Entry, key: str) -> list[Severity]:
    return [entry.peaks[key]] if key in entry.peaks else []


def _gravest(severities: Iterable[Severity]) -> Severity | None:
    return max(severities, key=rank, default=None)


def _newer(old: SignalGroup | None, new: SignalGroup) -> SignalGroup:
    """The higher revision; two contents under one revision are told apart by their bytes."""
    if old is None or old.revision < new.revision:
        return new
    if old.revision > new.revision or old == new:
        return old
    return max(old, new, key=encode)


def _with_context(entry: Entry, context: Context) -> Entry:
    key = f"{context.group_id}/{context.agent_id}/{context.session_id}"
    old = entry.contexts.get(key)
    first = context if old is None else min(old, context, key=_context_order)
    contexts = entry.contexts | {key: first}
    kept = _smallest(contexts, MAX_CONTEXTS, _context_order)
    return msgspec.structs.replace(entry, contexts=kept, glimpses=_glimpses(entry, key, context))


def _glimpses(entry: Entry, key: str, context: Context) -> dict[str, Glimpse]:
    new, old = glimpse_of(context), entry.glimpses.get(key)
    if new is None or (old and old.order <= new.order):
        return entry.glimpses
    return smallest(entry.glimpses | {key: new})


def _context_order(context: Context) -> tuple[datetime, bytes]:
    return context.taken_at, encode(context)


def _with_answer(entry: Entry, answer: CaptureAnswer) -> Entry:
    key = answer.directive_id
    old = entry.answers.get(key)
    best = answer if old is None else min(old, answer, key=_answer_order)
    kept = _smallest(entry.answers | {key: best}, MAX_ANSWERS, lambda a: a.directive_id)
    return msgspec.structs.replace(entry, answers=kept)


def _answer_order(answer: CaptureAnswer) -> tuple[bool, datetime, bytes]:
    """An answer beats a time-out, the earlier one beats the later."""
    return not answer.answered, answer.decided_at, encode(answer)


def _with_link(entry: Entry, link: IncidentLink) -> Entry:
    old = entry.incident
    if old and (old.revision, encode(old)) >= (link.revision, encode(link)):
        return entry
    return msgspec.structs.replace(entry, incident=link)


def _smallest(found: dict[str, T], limit: int, order: Callable[[T], object]) -> dict[str, T]:
    if len(found) <= limit:
        return found
    ordered = sorted(found.items(), key=lambda item: (order(item[1]), item[0]))
    return dict(ordered[:limit])


# Records are made small before they are kept: what is cut depends on the record alone.


def _bounded_group(group: SignalGroup) -> SignalGroup:
    ordered = sorted(group.samples, key=lambda sample: (sample.event_time, sample.signal_id))
    for samples, cut in ((MAX_SAMPLES, False), (2, True), (1, True)):
        kept = [_bounded_signal(s, witness=not cut and at == 0, hard=samples == 1)
                for at, s in enumerate(ordered[:samples])]  # fmt: skip
        if cut and kept:
            kept[0] = msgspec.structs.replace(kept[0], blind_spots=[*kept[0].blind_spots, CUT])
        bounded = msgspec.structs.replace(group, samples=kept)
        if _size(bounded) <= MAX_GROUP_BYTES:
            return bounded
    raise Refused(f"one signal of the group is larger than {MAX_GROUP_BYTES} bytes")


def _size(group: SignalGroup) -> int:
    """Bytes of it without what tells how it came about: what was said in one step or in three, by
    one partition or by six, is cut alike.
    """
    samples = [msgspec.structs.replace(one, revision=0, change="new") for one in group.samples]
    return len(encode(msgspec.structs.replace(group, revision=0, closed=False, samples=samples)))


def _bounded_signal(signal: Signal, *, witness: bool, hard: bool) -> Signal:
    few = 5 if hard else MAX_LIST
    reason = msgspec.structs.replace(
        signal.reason,
        text=signal.reason.text[:MAX_TEXT_CHARS],
        fields={} if hard else _bounded_map(signal.reason.fields),
    )
    versions = {} if hard else _bounded_map(signal.witness.versions)
    return msgspec.structs.replace(
        signal,
        title=signal.title[:MAX_TEXT_CHARS],
        event_ids=signal.event_ids[:few],
        frameworks=signal.frameworks[:few],
        blind_spots=[spot[:MAX_TEXT_CHARS] for spot in signal.blind_spots[:few]],
        observables=signal.observables[:few],
        scores={} if hard else dict(sorted(signal.scores.items())[:MAX_LIST]),
        group={},
        reason=reason,
        witness=signal.witness if witness else Witness(versions=versions, partial=True),
    )


def _bounded_map(found: dict[str, str]) -> dict[str, str]:
    if len(found) <= MAX_LIST and max(map(len, found.values()), default=0) <= MAX_TEXT_CHARS:
        return found
    return {name: value[:MAX_TEXT_CHARS] for name, value in sorted(found.items())[:MAX_LIST]}


def _bounded_context(context: Context) -> Context:
    actions = [_bounded_map(action) for action in context.actions[-MAX_CONTEXT_ACTIONS:]]
    missing = [text[:MAX_TEXT_CHARS] for text in context.missing[:MAX_LIST]]
    state = bounded_state(context.state) if context.state else None
    while True:
        whole = len(actions) == len(context.actions)
        bounded = msgspec.structs.replace(
            context,
            actions=actions,
            missing=missing if whole else [*missing, f"actions: {CUT}"],
            state=state,
        )
        if len(encode(bounded)) <= MAX_CONTEXT_BYTES:
            return bounded
        if not actions:
            raise Refused(f"the context is larger than {MAX_CONTEXT_BYTES} bytes without actions")
        actions = actions[(len(actions) + 1) // 2 :]


def _bounded_answer(answer: CaptureAnswer) -> CaptureAnswer:
    if answer.snapshot is None:
        return answer
    return msgspec.structs.replace(answer, snapshot=bounded_state(answer.snapshot))


def _bounded_link(link: IncidentLink) -> IncidentLink:
    reasons = [text[:MAX_TEXT_CHARS] for text in link.reasons[:MAX_LIST]]
    return msgspec.structs.replace(link, reasons=reasons)
