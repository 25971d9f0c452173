"""One correlation over one partition: takes matching events, says what changed.

What stands is a function of the set of events taken; `live` remembers what was said last, and only the
difference goes out. Groups are judged anew when an event of theirs comes, leaves (a session link) or is late.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from tachograph.detectors.crossings import Chains, Frame, chains, counts
from tachograph.detectors.facts import Facts
from tachograph.detectors.ledger import Group, Ints, Ledger, LedgerState
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked
from tachograph.detectors.rule import Correlation, Window
from tachograph.detectors.signals import MAX_EVIDENCE, Evidence, SignalMaker, changed
from tachograph.schemas.alert import Signal

# Columns of a group that a session link can change.
_LINKED = ("session_id", "agent_id")


class CorrelatorStats(msgspec.Struct):
    """Counts since the start; not part of the state."""

    events: int = 0
    late: int = 0
    evicted_events: int = 0
    evicted_groups: int = 0


class CorrelatorState(msgspec.Struct, frozen=True, array_like=True):
    """A correlator as it is dumped."""

    ledger: LedgerState
    live: dict[int, dict[int, Signal]]
    evicted_until: int


class Correlator:
    """State and judgement of one rule. `columns` are the group-by columns, in the rule's order."""

    def __init__(
        self, rule: Correlation, columns: Sequence[str], maker: SignalMaker, limits: Limits
    ) -> None:
        self.rule = rule
        self.stats = CorrelatorStats()
        self._columns = list(columns)
        self._maker = maker
        self._limits = limits
        self._ledger = Ledger()
        # What was said last: group number → bucket → signal.
        self._live: dict[int, dict[int, Signal]] = {}
        # Events before this time cannot come any more, save late ones.
        self._floor_us: int | None = None
        # Windows that reach back to here may miss what was evicted.
        self._evicted_until = -(2**62)

    def take(
        self,
        groups: Sequence[Group],
        steps: Ints,
        blind: npt.NDArray[np.bool_],
        facts: Sequence[Facts],
    ) -> set[int]:
        """Remember events with their groups; the numbers of the groups to judge."""
        times = np.fromiter((event.time_us for event in facts), np.int64, len(facts))
        if self._floor_us is not None:
            blind = blind | (times < self._floor_us)
            useful = times >= self._horizon(self._floor_us)
        else:
            useful = np.ones(len(facts), np.bool_)
        self.stats.events += len(facts)
        self.stats.late += int(blind.sum())
        chosen = np.flatnonzero(useful)
        numbers = np.fromiter(
            (self._ledger.number(groups[at]) for at in chosen), np.int64, len(chosen)
        )
        self._ledger.append(numbers, steps[chosen], blind[chosen], [facts[at] for at in chosen])
        return set(numbers.tolist())

    def judge(self, gids: Iterable[int], revision: int) -> list[Signal]:
        """What changed for these groups."""
        numbers = np.fromiter(gids, np.int64)
        if not len(numbers):
            return []
        self._trim_groups(numbers)
        places = self._ledger.of(numbers)
        found = self._found(places)
        out: list[Signal] = []
        for gid in sorted(set(found) | {g for g in numbers.tolist() if g in self._live}):
            out += self._difference(gid, found.get(gid, {}), revision)
        self._trim()
        return out

    def relink(self, links: Mapping[str, Linked], revision: int) -> list[Signal]:
        """Move the events of traces that turned out to belong elsewhere; what changed."""
        ledger, touched = self._ledger, set[int]()
        for place, event in enumerate(ledger.facts):
            link = links.get(event.trace_id) if event.trace_id else None
            moved = link.applied(event) if link is not None else None
            if moved is None:
                continue
            gid = int(ledger.gid[place])
            ledger.facts[place] = moved
            values = list(ledger.values[gid])
            for at, column in enumerate(self._columns, start=1):
                if column in _LINKED:
                    values[at] = group_value(moved, column) or values[at]
            ledger.gid[place] = ledger.number(tuple(values))
            touched |= {gid, int(ledger.gid[place])}
        return self.judge(sorted(touched), revision)

    def advance(self, watermark_us: int) -> None:
        """Forget what no event to come can change."""
        floor = watermark_us - self._limits.allowed_lateness_us
        if self._floor_us is not None and floor <= self._floor_us:
            return
        self._floor_us = floor
        fresh = self._ledger.time >= self._horizon(floor)
        if not fresh.all():
            self._ledger.keep(fresh)
        for gid, buckets in list(self._live.items()):
            for bucket in [bucket for bucket in buckets if self._closed(bucket)]:
                del buckets[bucket]
            if not buckets:
                del self._live[gid]
        self._ledger.forget_groups(self._live)

    def state(self) -> CorrelatorState:
        return CorrelatorState(self._ledger.state(), self._live, self._evicted_until)

    def restore(self, state: CorrelatorState, floor_us: int | None) -> None:
        self._ledger = Ledger.of_state(state.ledger)
        self._live = state.live
        self._evicted_until = state.evicted_until
        self._floor_us = floor_us

    @property
    def groups(self) -> int:
        return len(self._ledger.values)

    def _horizon(self, floor_us: int) -> int:
        """Oldest event that a bucket still open can need: its window, and the bucket before it ends."""
        return floor_us - 2 * self.rule.timespan_us

    def _closed(self, bucket: int) -> bool:
        return self._floor_us is not None and (bucket + 1) * self.rule.timespan_us <= self._floor_us

    def _found(self, places: Ints) -> dict[int, dict[int, Evidence]]:
        """By group and bucket, what holds over the remembered events."""
        ledger = self._ledger
        seen = places[~ledger.blind[places]]
        if not len(seen):
            return {}
        match self.rule:
            case Window() as rule:
                evidence = self._windows(rule, seen)
            case _:
                evidence = self._sequences(*self._merged(seen))
        late = self._late_times(places)
        found: dict[int, dict[int, Evidence]] = defaultdict(dict)
        for gid, item in evidence:
            if not self._closed(item.bucket):
                found[gid][item.bucket] = self._with_blind_spots(gid, item, late.get(gid, []))
        return found

    def _windows(self, rule: Window, places: Ints) -> list[tuple[int, Evidence]]:
        ledger = self._ledger
        frame = Frame.of(ledger.gid[places], ledger.time[places], rule.timespan_us)
        events = ledger.facts[places]
        twins = any(event.twin is not None for event in events)
        keys = [event.key for event in events] if twins else None
        count, start, stop = counts(frame, keys)
        found = []
        for at in frame.firsts(count >= rule.threshold).tolist():
            gid = int(ledger.gid[places[at]])
            window = _first_distinct(events[start[at] : stop[at]])
            found.append((gid, self._evidence(gid, events[at], window, int(count[at]))))
        return found

    def _sequences(self, places: Ints, steps: Ints) -> list[tuple[int, Evidence]]:
        ledger = self._ledger
        frame = Frame.of(ledger.gid[places], ledger.time[places], self.rule.timespan_us)
        number = len(self.rule.detections)
        chained: Chains = chains(frame, steps, number)
        events = ledger.facts[places]
        found = []
        for at in frame.firsts(chained.complete()).tolist():
            gid = int(ledger.gid[places[at]])
            chain = [events[step] for step in chained.back(at)]
            found.append((gid, self._evidence(gid, events[at], chain, number)))
        return found

    def _merged(self, places: Ints) -> tuple[Ints, Ints]:
        """Reports of one action as one event, the first of them, that matches what any of them matches."""
        ledger = self._ledger
        steps = ledger.steps[places]
        if not any(ledger.facts[place].twin is not None for place in places):
            return places, steps
        first: dict[tuple[int, str], int] = {}
        for at, place in enumerate(places.tolist()):
            key = (int(ledger.gid[place]), ledger.facts[place].key)
            steps[first.setdefault(key, at)] |= steps[at]
        kept = np.fromiter(sorted(first.values()), np.int64)
        return places[kept], steps[kept]

    def _evidence(self, gid: int, last: Facts, events: list[Facts], count: int) -> Evidence:
        values = self._ledger.values[gid]
        return Evidence(
            last=last,
            events=events[:MAX_EVIDENCE],
            count=count,
            bucket=last.time_us // self.rule.timespan_us,
            group=dict(zip(self.rule.group_by, values[1:], strict=True)),
        )

    def _late_times(self, places: Ints) -> dict[int, list[int]]:
        late: dict[int, list[int]] = defaultdict(list)
        for place in places[self._ledger.blind[places]].tolist():
            late[int(self._ledger.gid[place])].append(int(self._ledger.time[place]))
        return late

    def _with_blind_spots(self, gid: int, found: Evidence, late: list[int]) -> Evidence:
        end = found.last.time_us
        opens = end - self.rule.timespan_us
        blind = []
        missed = sum(opens < time <= end for time in late)
        if missed:
            blind.append(f"{missed} late action(s) of this group were left out of the window")
        if self._evicted_until > opens or self._ledger.cuts.get(gid, opens) > opens:
            blind.append("the rule held too much and forgot actions that this window may need")
        return msgspec.structs.replace(found, blind=blind) if blind else found

    def _difference(self, gid: int, found: dict[int, Evidence], revision: int) -> list[Signal]:
        live = self._live.get(gid, {})
        out = []
        for bucket, item in found.items():
            said = live.get(bucket)
            if said is not None and self._cut(gid, bucket):
                continue  # what it rests on may be forgotten: it stands as it was said
            change: Literal["new", "revised"] = "new" if said is None else "revised"
            signal = self._maker.of_group(self.rule, item, revision, change)
            if said is not None and _same(said, signal):
                continue
            live[bucket] = signal
            out.append(signal)
        for bucket in [bucket for bucket in live if bucket not in found]:
            if self._closed(bucket) or self._cut(gid, bucket):
                continue
            out.append(changed(live.pop(bucket), "retracted", revision))
        if live:
            self._live[gid] = live
        else:
            self._live.pop(gid, None)
        return out

    def _cut(self, gid: int, bucket: int) -> bool:
        """Whether events that the bucket may rest on were dropped from the group."""
        cut = self._ledger.cuts.get(gid)
        return cut is not None and (bucket - 1) * self.rule.timespan_us < cut

    def _trim_groups(self, gids: Ints) -> None:
        """Hold each of these groups to its limit: the newest events stay."""
        ledger, limit = self._ledger, self._limits.events_per_group
        sizes = np.bincount(ledger.gid, minlength=int(gids.max()) + 1)
        for gid in gids[sizes[gids] > limit].tolist():
            places = ledger.of(np.array([gid]))
            dropped = places[: len(places) - limit]
            mask = np.ones(len(ledger), np.bool_)
            mask[dropped] = False
            ledger.cuts[gid] = max(ledger.cuts.get(gid, -(2**62)), int(ledger.time[dropped].max()))
            self.stats.evicted_events += len(dropped)
            ledger.keep(mask)

    def _trim(self) -> None:
        """Hold the rule to its limits: groups quiet for longest go first."""
        ledger, limits = self._ledger, self._limits
        spare_groups = len(ledger.values) - limits.groups_per_rule
        spare_events = len(ledger) - limits.events_per_rule
        if spare_groups <= 0 and spare_events <= 0:
            return
        newest: dict[int, int] = {}
        for gid, time in zip(ledger.gid.tolist(), ledger.time.tolist(), strict=True):
            newest[gid] = max(time, newest.get(gid, time))
        sizes = np.bincount(ledger.gid)
        evicted = []
        for gid in sorted(newest, key=newest.__getitem__):
            if spare_groups <= 0 and spare_events <= 0:
                break
            evicted.append(gid)
            spare_groups -= 1
            spare_events -= int(sizes[gid])
        self._evict(evicted, max((newest[gid] for gid in evicted), default=0))

    def _evict(self, gids: list[int], newest_us: int) -> None:
        mask = ~np.isin(self._ledger.gid, gids)
        self.stats.evicted_groups += len(gids)
        self.stats.evicted_events += int((~mask).sum())
        self._evicted_until = max(self._evicted_until, newest_us)
        self._ledger.keep(mask)
        for gid in gids:
            self._live.pop(gid, None)
        self._ledger.forget_groups(self._live)


def group_value(event: Facts, column: str) -> str | None:
    """The event's value of a group-by column that links can change."""
    return event.agent if column == "agent_id" else event.session_id


def _first_distinct(events: Iterable[Facts]) -> list[Facts]:
    """The first reports of the first actions, as many as evidence needs."""
    found: dict[str, Facts] = {}
    for event in events:
        found.setdefault(event.key, event)
        if len(found) == MAX_EVIDENCE:
            break
    return list(found.values())


def _same(one: Signal, other: Signal) -> bool:
    """Nothing differs but which record caused it."""
    return one == msgspec.structs.replace(other, change=one.change, revision=one.revision)
