"""Signals to signal groups: one per (rule, entity, bucket), written so rarely that a flood stays
small.

A group is said at counts 1, 10, 100 …, when a sample changes or goes away, and at its close. What
is said last is a function of the set of signals that stand. Bounded: see the limits; what they cost
is counted.
"""

from bisect import insort
from collections.abc import Iterable

import msgspec

from tachograph.detectors.signals import ALERT_BUCKET_S, at, micros
from tachograph.detectors.silences import Silence, Silences
from tachograph.schemas.alert import Signal, SignalGroup
from tachograph.schemas.identity import plain_id

SAMPLES = 16
# Samples held in reserve, so that a retracted one can be replaced.
RESERVE = 32
MAX_GROUPS = 20_000
# Ids remembered of one group; beyond them the count trusts that a new signal is new.
MAX_IDS_PER_GROUP = 10_000
# Evicted groups whose number of evictions is remembered, so that none is replaced by less.
MAX_EVICTED = 100_000
# Buckets dated this far beyond what is closed are no agent's present: they go first.
AHEAD_S = 24 * 3600
# A closed group is remembered so long, for signals of actions that came late.
RETAIN_S = 6 * 3600
FORMAT = 3
MICROS = 1_000_000
_BUCKET_US = ALERT_BUCKET_S * MICROS
_LONG_AGO = -(2**62)


class _Group(msgspec.Struct):
    """The signals of one group that stand."""

    tenant: str
    rule_id: str
    entity: str
    entity_type: str
    bucket_us: int
    first_us: int
    last_us: int
    count: int = 0
    # The smallest by (event time, signal id), in order.
    samples: list[tuple[int, str, Signal]] = []
    # Event time of each signal that is remembered one by one, and how many are not.
    times: dict[str, int] = {}
    forgotten: int = 0
    closed: bool = False
    # Its captured state was said.
    told: bool = False
    # Its id as if none like it had ever been evicted.
    plain: str = ""
    # Why its signals do not count.
    suppressed: str | None = None


class _State(msgspec.Struct, frozen=True):
    format: int
    groups: dict[str, _Group]
    homes: dict[str, str]
    closed_us: int
    evictions: dict[str, int] = {}
    owed: list[str] = []


def plain_group_id(
    tenant: str, rule: tuple[str, str], place: str, entity: str, bucket_us: int
) -> str:
    """Id of the group of a rule (id, version), a partition key ("": none), an entity and a bucket,
    as if none like it had ever been forgotten.
    """
    return plain_id(tenant, *rule, place, entity, str(bucket_us))


def group_id_of(signal: Signal) -> str:
    """As plain_group_id, of the group that a signal is in."""
    rule, bucket_us = (signal.rule_id, signal.rule_version), micros(signal.bucket_start)
    return plain_group_id(signal.tenant, rule, signal.partition_key or "", signal.entity, bucket_us)


class Groups:
    """Keeps the groups of one partition. Not thread-safe."""

    def __init__(
        self, *, max_groups: int = MAX_GROUPS, lateness_s: int = 60, captures: bool = True
    ) -> None:
        """`captures`: whether captured state is said of groups here."""
        self._captures = captures
        # What shall call nobody: such signals are kept apart.
        self.silences = Silences()
        self._groups: dict[str, _Group] = {}
        # Signals that may still be revised → group they are in.
        self._homes: dict[str, str] = {}
        self._max_groups = max_groups
        self._lateness_us = lateness_s * MICROS
        # Buckets that ended before this are closed.
        self._closed_us = _LONG_AGO
        # Groups that were said and whose captured state was not said yet, oldest first.
        self._owed: dict[str, None] = {}
        # Groups forgotten before their captured state was said.
        self.untold = 0
        self.evicted = 0
        # Plain group id → how often it was evicted, the newest MAX_EVICTED.
        self._evictions: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def absorb(
        self, signals: Iterable[Signal], revision: int, *, anew: bool = False
    ) -> list[SignalGroup]:
        """Take signals in; the groups that are to be said now, each once and as they are now.

        `anew`: what was said of their groups may be wrong, so all of them are.
        """
        due: dict[str, None] = {}
        names: dict[tuple[str, ...], tuple[str, str]] = {}
        for signal in signals:
            silence = self.silences.of(signal)
            group_id, plain = self._group_id(signal, silence, names)
            home = self._homes.get(signal.signal_id)
            if home is not None and home != group_id:
                self._remove(home, signal.signal_id, due)
            if signal.change == "retracted":
                self._remove(group_id, signal.signal_id, due)
            else:
                self._put(group_id, signal, due)
                self._groups[group_id].plain = plain
                self._groups[group_id].suppressed = silence.words if silence else None
            if anew:
                self._group(group_id, signal).plain = plain
                due[group_id] = None
        return [*(self._said(group_id, revision) for group_id in due), *self._evict(due, revision)]

    def close(self, watermark_us: int, revision: int) -> list[SignalGroup]:
        """Say the groups whose bucket ended for good; forget those closed for long.

        `watermark_us`: observed time that all sources reached.
        """
        floor = watermark_us - self._lateness_us
        if floor <= self._closed_us:
            return []
        self._closed_us = floor
        out = []
        for group_id, group in list(self._groups.items()):
            end = group.bucket_us + _BUCKET_US
            if not group.closed and end <= floor:
                group.closed = True
                if group.count:
                    out.append(self._said(group_id, revision))
            if end + RETAIN_S * MICROS <= floor:
                self._forget(group_id)
        return out

    def owed(self, limit: int) -> dict[str, Signal]:
        """First signals of up to `limit` groups whose captured state is owed; they count as told
        from now on.
        """
        found: dict[str, Signal] = {}
        for group_id in list(self._owed)[:limit]:
            group = self._groups[group_id]
            del self._owed[group_id]
            if group.samples:
                group.told = True
                found[group_id] = group.samples[0][2]
        return found

    def dump(self) -> bytes:
        state = _State(
            FORMAT,
            self._groups,
            self._homes,
            self._closed_us,
            self._evictions,
            list(self._owed),
        )
        return msgspec.msgpack.encode(state)

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises ValueError when it is none of ours."""
        kept = msgspec.msgpack.decode(state, type=_State)
        if kept.format != FORMAT:
            raise ValueError(f"groups of format {kept.format}, not {FORMAT}")
        self._groups, self._homes = kept.groups, kept.homes
        self._closed_us = kept.closed_us
        self._evictions = kept.evictions
        self._owed = dict.fromkeys(kept.owed)

    def _group_id(
        self,
        signal: Signal,
        silence: Silence | None,
        names: dict[tuple[str, ...], tuple[str, str]],
    ) -> tuple[str, str]:
        """Id of the signal's group, and what it would be had none like it been evicted.

        What was said of a group that is forgotten must not be replaced by less.
        """
        bucket_us = micros(signal.bucket_start)
        # Revisions are offsets of one partition: what another partition holds is another group.
        place, rule = signal.partition_key or "", (signal.rule_id, signal.rule_version)
        silenced = "" if silence is None else silence.name
        key = (signal.tenant, *rule, place, signal.entity, str(bucket_us), silenced)
        found = names.get(key)
        if found is None:
            plain = plain_group_id(signal.tenant, rule, place, signal.entity, bucket_us)
            plain = name = plain_id(plain, "silenced", silenced) if silenced else plain
            if bucket_us + _BUCKET_US + RETAIN_S * MICROS <= self._closed_us:
                again = self._closed_us - self._closed_us % _BUCKET_US
                name = plain_id(plain, "again", str(again))
            elif evictions := self._evictions.get(plain):
                name = plain_id(plain, "evicted", str(evictions))
            found = names[key] = (name, plain)
        return found

    def _group(self, group_id: str, signal: Signal) -> _Group:
        """The group, empty if it is new."""
        time_us = micros(signal.event_time)
        if group_id not in self._groups:
            self._groups[group_id] = _Group(
                tenant=signal.tenant,
                rule_id=signal.rule_id,
                entity=signal.entity,
                entity_type=signal.entity_type,
                bucket_us=micros(signal.bucket_start),
                first_us=time_us,
                last_us=time_us,
                samples=[],
                times={},
            )
        return self._groups[group_id]

    def _put(self, group_id: str, signal: Signal, due: dict[str, None]) -> None:
        time_us, signal_id = micros(signal.event_time), signal.signal_id
        group = self._group(group_id, signal)
        known = group.times.get(signal_id)
        if known is None:
            self._count(group, signal_id, time_us)
            if group.closed or _is_power_of_ten(group.count):
                due[group_id] = None
        if known is not None and self._drop_sample(group, known, signal_id):
            due[group_id] = None
        if known is not None and known != time_us:
            group.times[signal_id] = time_us
            _respan(group)
        self._sample(group, time_us, signal)
        if _may_move(signal):
            self._homes[signal_id] = group_id

    @staticmethod
    def _count(group: _Group, signal_id: str, time_us: int) -> None:
        group.count += 1
        if len(group.times) < MAX_IDS_PER_GROUP:
            group.times[signal_id] = time_us
        else:
            group.forgotten += 1
        if group.count == 1:
            group.first_us = group.last_us = time_us
        group.first_us = min(group.first_us, time_us)
        group.last_us = max(group.last_us, time_us)

    @staticmethod
    def _sample(group: _Group, time_us: int, signal: Signal) -> None:
        samples = group.samples
        entry = (time_us, signal.signal_id, signal)
        if len(samples) < SAMPLES + RESERVE:
            insort(samples, entry, key=_order)
        elif _order(entry) < _order(samples[-1]):
            samples.pop()
            insort(samples, entry, key=_order)

    @staticmethod
    def _drop_sample(group: _Group, time_us: int, signal_id: str) -> bool:
        """Take a signal out of the samples; whether it was one of those that are said."""
        wanted = (time_us, signal_id)
        for place, entry in enumerate(group.samples):
            if _order(entry) == wanted:
                del group.samples[place]
                return place < SAMPLES
        return False

    def _remove(self, group_id: str, signal_id: str, due: dict[str, None]) -> None:
        self._homes.pop(signal_id, None)
        group = self._groups.get(group_id)
        if group is None:
            return
        time_us = group.times.pop(signal_id, None)
        if time_us is None:
            if not group.forgotten:
                return
            group.forgotten -= 1
        group.count -= 1
        was_said = time_us is not None and self._drop_sample(group, time_us, signal_id)
        if was_said or group.closed or not group.count:
            due[group_id] = None
        _respan(group)

    def _said(self, group_id: str, revision: int) -> SignalGroup:
        group = self._groups[group_id]
        if self._captures and group.samples and not group.told:
            self._owed[group_id] = None
        return SignalGroup(
            group_id=group_id,
            revision=revision,
            tenant=group.tenant,
            entity=group.entity,
            entity_type=group.entity_type,
            bucket_start=at(group.bucket_us),
            bucket_s=ALERT_BUCKET_S,
            rule_id=group.rule_id,
            count=group.count,
            first_seen=at(group.first_us),
            last_seen=at(group.last_us),
            samples=[signal for _, _, signal in group.samples[:SAMPLES]],
            closed=group.closed,
            suppressed=group.suppressed,
        )

    def _evict(self, due: dict[str, None], revision: int) -> list[SignalGroup]:
        """Hold to the limit: buckets far ahead of time go first, so that nobody who invents times
        pushes out the present, then the oldest. They are said once more if they were not just said.
        """
        spare = len(self._groups) - self._max_groups
        if spare <= 0:
            return []
        oldest = sorted(self._groups, key=self._keeping)[:spare]
        out = []
        for group_id in oldest:
            group = self._groups[group_id]
            if not group.closed and group.count and group_id not in due:
                out.append(self._said(group_id, revision))
            self._evictions[group.plain] = self._evictions.pop(group.plain, 0) + 1
            self._forget(group_id)
        while len(self._evictions) > MAX_EVICTED:
            del self._evictions[next(iter(self._evictions))]
        self.evicted += len(oldest)
        return out

    def _keeping(self, group_id: str) -> tuple[bool, int, str]:
        """Order of eviction."""
        bucket_us = self._groups[group_id].bucket_us
        return bucket_us <= self._closed_us + AHEAD_S * MICROS, bucket_us, group_id

    def _forget(self, group_id: str) -> None:
        group = self._groups.pop(group_id)
        if group_id in self._owed:
            del self._owed[group_id]
            self.untold += 1
        for signal_id in group.times:
            if self._homes.get(signal_id) == group_id:
                del self._homes[signal_id]


def _order(entry: tuple[int, str, Signal]) -> tuple[int, str]:
    return entry[0], entry[1]


def _is_power_of_ten(count: int) -> bool:
    while count >= 10 and count % 10 == 0:
        count //= 10
    return count == 1


def _may_move(signal: Signal) -> bool:
    """A later record can revise it: a correlation's, or one whose session or agent may become
    known.
    """
    no_session = signal.session_id is None or signal.session_id == signal.trace_id
    return signal.kind != "stateless" or no_session or signal.agent_id is None


def _respan(group: _Group) -> None:
    """First and last time anew; where signals are not remembered singly the span is kept."""
    if group.times and not group.forgotten:
        group.first_us, group.last_us = min(group.times.values()), max(group.times.values())
