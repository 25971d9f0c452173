"""One correlation over one partition: takes matching events, says what changed.

What stands is a function of the set of events taken; `_live` remembers what was said last, and only
the difference goes out. A group is judged anew when an event of its comes, leaves (a session link)
or is late.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.correlation.crossings import Frame, chains, counts, sizes_of
from tachograph.detectors.correlation.ledger import Bools, Columns, Ints, Ledger, LedgerState, Words
from tachograph.detectors.facts import Facts, FactStore, Places
from tachograph.detectors.language.rule import Correlation, Window
from tachograph.detectors.limits import Limits
from tachograph.detectors.signals import MAX_EVIDENCE, Evidence, SignalMaker, changed
from tachograph.schemas.alert import Change, Signal

_LONG_AGO = -(2**62)


class CorrelatorStats(msgspec.Struct):
    """Counts since the start; not part of the state."""

    late: int = 0
    evicted_events: int = 0
    evicted_groups: int = 0


class Crossing(msgspec.Struct, frozen=True):
    """Where the condition first holds in one bucket of a group. Places are those of the ledger."""

    gid: int
    bucket: int
    last: int
    events: list[int]
    count: int


class Live(msgspec.Struct):
    """What was said last of a group in a bucket, and the numbers it rests on."""

    signal: Signal
    footprint: tuple[int, ...] = ()


class CorrelatorState(msgspec.Struct, frozen=True, array_like=True):
    """A correlator as it is dumped."""

    ledger: LedgerState
    live: dict[int, dict[int, Live]]
    evicted_until: int


class Correlator:
    """State and judgement of one rule.

    `shown`: fields that each step of the rule shows; `by`: the group's values in a fact frame.
    """

    def __init__(
        self,
        rule: Correlation,
        shown: Mapping[int, Sequence[str]],
        by: Sequence[pl.Expr],
        *,
        maker: SignalMaker,
        store: FactStore,
        limits: Limits,
    ) -> None:
        self.rule = rule
        self.by = by
        self.stats = CorrelatorStats()
        self._shown = shown
        self.ledger = Ledger()
        self._maker = maker
        self._store = store
        self._limits = limits
        self._live: dict[int, dict[int, Live]] = {}
        # Events before this time cannot come any more, save late ones.
        self._floor_us = _LONG_AGO
        # Windows that reach back to here may miss what was evicted.
        self._evicted_until = _LONG_AGO

    def process(self, columns: Columns, gone: Bools | None, revision: int) -> list[Signal]:
        """Take in events of the ledger's columns, let those go that are `gone`; what changed."""
        if gone is None or not gone.any():
            return self.judge(self.take(columns), revision)
        left = self._drop({name: values[gone] for name, values in columns.items()})
        come = self.take({name: values[~gone] for name, values in columns.items()})
        return self.judge(np.union1d(left, come), revision, anew=True)

    def _drop(self, columns: Columns) -> Words:
        """Forget these events where they are; their groups."""
        names = ("gid", "time", "high", "low")
        gids = np.unique(columns["gid"]).astype(np.uint64)
        places = self.ledger.of(gids, repeats=True)
        named = set(zip(*(columns[name].tolist() for name in names), strict=True))
        held = zip(*(self.ledger.column(name)[places].tolist() for name in names), strict=True)
        mask = np.ones(self.ledger.size, np.bool_)
        mask[places[[event in named for event in held]]] = False
        self.ledger.keep(mask)
        return gids

    def take(self, columns: Columns) -> Words:
        """Remember events; the groups to judge."""
        time = columns["time"]
        if self._floor_us > _LONG_AGO:
            columns = {**columns, "blind": columns["blind"] | (time < self._floor_us)}
            useful = time >= self._horizon()
            if not useful.all():
                columns = {name: values[useful] for name, values in columns.items()}
        self.stats.late += int(columns["blind"].sum())
        self.ledger.append(columns)
        return np.unique(columns["gid"]).astype(np.uint64)

    def judge(self, gids: Words, revision: int, *, anew: bool = False) -> list[Signal]:
        """What changed for these groups. `anew`: facts may have changed where numbers did not."""
        if not len(gids):
            return []
        places = self._trimmed(self.ledger.of(gids))
        found: dict[int, dict[int, Crossing]] = {}
        for crossing in self._crossings(places[~self.ledger.blind[places]]):
            if not self._closed(crossing.bucket):
                found.setdefault(crossing.gid, {})[crossing.bucket] = crossing
        late = self._late_times(places)
        due: list[tuple[Crossing, tuple[int, ...]]] = []
        for gid, buckets in found.items():
            live = self._live.get(gid, {})
            for bucket, crossing in buckets.items():
                footprint = self._footprint(crossing, late.get(gid, []))
                said = live.get(bucket)
                if said is not None and (
                    self._cut(gid, bucket) or (said.footprint == footprint and not anew)
                ):
                    continue
                due.append((crossing, footprint))
        out = self._say(due, late, revision)
        out += self._retract(gids, found, revision)
        self._trim()
        return out

    def moved(self, places: Ints, gids: Words, revision: int) -> list[Signal]:
        """Events at these places belong to other groups than was thought; what changed."""
        column = self.ledger.gid
        touched = np.unique(np.concatenate([column[places], gids]))
        column[places] = gids
        return self.judge(touched, revision, anew=True)

    def advance(self, watermark_us: int) -> None:
        """Forget what no event to come can change."""
        floor = watermark_us - self._limits.allowed_lateness_us
        if floor <= self._floor_us:
            return
        self._floor_us = floor
        fresh = self.ledger.time >= self._horizon()
        if not fresh.all():
            self.ledger.keep(fresh)
        for gid, buckets in list(self._live.items()):
            for bucket in [bucket for bucket in buckets if self._closed(bucket)]:
                del buckets[bucket]
            if not buckets:
                del self._live[gid]
        cuts = self.ledger.cuts
        for gid in [gid for gid, cut in cuts.items() if cut < self._horizon()]:
            del cuts[gid]

    def state(self) -> CorrelatorState:
        return CorrelatorState(self.ledger.state(), self._live, self._evicted_until)

    def restore(self, state: CorrelatorState, floor_us: int | None) -> None:
        self.ledger = Ledger.of_state(state.ledger)
        self._live = state.live
        self._evicted_until = state.evicted_until
        self._floor_us = _LONG_AGO if floor_us is None else floor_us

    def _horizon(self) -> int:
        """Oldest event that a bucket still open can need: the bucket itself and the window before
        it.

        A sequence needs one window more, to know whether an event repeats an earlier report.
        """
        spans = 2 if isinstance(self.rule, Window) else 3
        return self._floor_us - spans * self.rule.timespan_us

    def _closed(self, bucket: int) -> bool:
        return (bucket + 1) * self.rule.timespan_us <= self._floor_us

    def _cut(self, gid: int, bucket: int) -> bool:
        """Whether events that the bucket may rest on were dropped from the group."""
        cut = self.ledger.cuts.get(gid)
        return cut is not None and (bucket - 1) * self.rule.timespan_us < cut

    # --- what holds -------------------------------------------------------------------------------

    def _crossings(self, places: Ints) -> Iterator[Crossing]:
        if not len(places):
            return iter(())
        match self.rule:
            case Window() as rule:
                return self._windows(rule, places)
            case _:
                return self._sequences(places)

    def _windows(self, rule: Window, places: Ints) -> Iterator[Crossing]:
        _, sizes = sizes_of(self.ledger.gid[places])
        places = places[np.repeat(sizes >= rule.threshold, sizes)]
        frame = Frame.of(self.ledger.gid[places], self.ledger.time[places], rule.timespan_us)
        keys = self.ledger.column("key")[places]
        count, start, stop = counts(frame, keys)
        for at in frame.firsts(count >= rule.threshold).tolist():
            window = slice(int(start[at]), int(stop[at]))
            first = _first_distinct(places[window], keys[window])
            yield self._crossing(places[at], first, int(count[at]))

    def _sequences(self, places: Ints) -> Iterator[Crossing]:
        span_us, number = self.rule.timespan_us, len(self.rule.detections)
        steps = self.ledger.column("steps")[places]
        first, sizes = sizes_of(self.ledger.gid[places])
        reached = np.bitwise_or.reduceat(steps, first) if len(first) else first
        whole = np.repeat(reached == (1 << number) - 1, sizes)
        places, steps = places[whole], steps[whole]
        frame = Frame.of(self.ledger.gid[places], self.ledger.time[places], span_us)
        chained = chains(frame, self.ledger.column("key")[places], steps, number)
        for at in frame.firsts(chained.complete()).tolist():
            yield self._crossing(places[at], places[chained.back(at)].tolist(), number)

    def _crossing(self, last: np.int64, events: list[int], count: int) -> Crossing:
        at = int(last)
        bucket = int(self.ledger.time[at]) // self.rule.timespan_us
        return Crossing(int(self.ledger.gid[at]), bucket, at, events, count)

    def _late_times(self, places: Ints) -> dict[int, list[int]]:
        late: dict[int, list[int]] = {}
        blind = places[self.ledger.blind[places]]
        for gid, time in zip(
            self.ledger.gid[blind].tolist(), self.ledger.time[blind].tolist(), strict=True
        ):
            late.setdefault(gid, []).append(time)
        return late

    # --- what is said -----------------------------------------------------------------------------

    def _missed(self, crossing: Crossing, late: list[int]) -> int:
        end = int(self.ledger.time[crossing.last])
        return sum(end - self.rule.timespan_us < time <= end for time in late)

    def _incomplete(self, crossing: Crossing) -> bool:
        opens = int(self.ledger.time[crossing.last]) - self.rule.timespan_us
        return self._evicted_until > opens or self.ledger.cuts.get(crossing.gid, opens) > opens

    def _footprint(self, crossing: Crossing, late: list[int]) -> tuple[int, ...]:
        """Numbers that differ when what a signal says would."""
        high, low = self.ledger.column("high"), self.ledger.column("low")
        ids = [int(number) for at in crossing.events for number in (high[at], low[at])]
        return (crossing.count, self._missed(crossing, late), int(low[crossing.last]), *ids)

    def _say(
        self,
        due: list[tuple[Crossing, tuple[int, ...]]],
        late: Mapping[int, list[int]],
        revision: int,
    ) -> list[Signal]:
        facts = self._facts([at for crossing, _ in due for at in (crossing.last, *crossing.events)])
        out = []
        for crossing, footprint in due:
            live = self._live.setdefault(crossing.gid, {})
            said = live.get(crossing.bucket)
            evidence = self._evidence(crossing, facts, late.get(crossing.gid, []))
            change: Change = "new" if said is None else "revised"
            signal = self._maker.of_group(self.rule, evidence, revision, change)
            live[crossing.bucket] = Live(signal, footprint)
            if said is None or not _same(said.signal, signal):
                out.append(signal)
            else:
                live[crossing.bucket].signal = said.signal
        return out

    def _facts(self, places: list[int]) -> dict[int, Facts]:
        wanted = np.unique(np.array(places, np.int64))
        if not len(wanted):
            return {}
        steps = self.ledger.column("steps")[wanted].astype(np.int64)
        # What an event shows are the fields of the first detection it matched.
        step = np.log2(steps & -steps).astype(np.int64)
        table, row = (
            self.ledger.column(name)[wanted].astype(np.int64) for name in ("table", "row")
        )
        found = self._store.facts(Places(table, row, step), self._shown, self.by)
        return dict(zip(wanted.tolist(), found, strict=True))

    def _evidence(
        self, crossing: Crossing, facts: Mapping[int, Facts], late: list[int]
    ) -> Evidence:
        blind = []
        missed = self._missed(crossing, late)
        if missed:
            blind.append(f"{missed} late action(s) of this group were left out of the window")
        if self._incomplete(crossing):
            blind.append("the rule held too much and forgot actions that this window may need")
        last = facts[crossing.last]
        return Evidence(
            last=last,
            events=[facts[at] for at in crossing.events],
            count=crossing.count,
            bucket=crossing.bucket,
            group=dict(zip(self.rule.group_by, last.group, strict=True)),
            blind=blind,
        )

    def _retract(
        self, gids: Words, found: Mapping[int, Mapping[int, Crossing]], revision: int
    ) -> list[Signal]:
        out = []
        for gid in gids.tolist() if self._live else ():
            live = self._live.get(gid)
            if live is None:
                continue
            gone = [
                bucket
                for bucket in live
                if bucket not in found.get(gid, {})
                and not self._closed(bucket)
                and not self._cut(gid, bucket)
            ]
            out += [changed(live.pop(b).signal, "retracted", revision) for b in gone]
            if not live:
                del self._live[gid]
        return out

    # --- limits -----------------------------------------------------------------------------------

    def _trimmed(self, places: Ints) -> Ints:
        """Hold each of these groups to its limit: the newest events stay."""
        limit = self._limits.events_per_group
        first, sizes = sizes_of(self.ledger.gid[places])
        if not (sizes > limit).any():
            return places
        mask = np.ones(self.ledger.size, np.bool_)
        for begin, size in zip(
            first[sizes > limit].tolist(), sizes[sizes > limit].tolist(), strict=True
        ):
            dropped = places[begin : begin + size - limit]
            mask[dropped] = False
            gid, newest = int(self.ledger.gid[dropped[0]]), int(self.ledger.time[dropped[-1]])
            self.ledger.cuts[gid] = max(self.ledger.cuts.get(gid, newest), newest)
            self.stats.evicted_events += len(dropped)
        gids = np.unique(self.ledger.gid[places])
        self.ledger.keep(mask)
        return self.ledger.of(gids)

    def _trim(self) -> None:
        """Hold the rule to its limits: groups quiet for longest go first, a tenth more than need
        be.
        """
        limits = self._limits
        if self.ledger.size <= min(limits.groups_per_rule, limits.events_per_rule):
            return
        gids, inverse, sizes = np.unique(self.ledger.gid, return_inverse=True, return_counts=True)
        if len(gids) <= limits.groups_per_rule and self.ledger.size <= limits.events_per_rule:
            return
        newest = np.full(len(gids), _LONG_AGO)
        np.maximum.at(newest, inverse, self.ledger.time)
        order = np.argsort(newest, kind="stable")
        groups_over = len(gids) - limits.groups_per_rule * 9 // 10
        events_over = self.ledger.size - limits.events_per_rule * 9 // 10
        by_events = int(np.searchsorted(np.cumsum(sizes[order]), max(events_over, 0))) + 1
        evicted = order[: max(groups_over, by_events if events_over > 0 else 0)]
        gone: Bools = np.zeros(len(gids), np.bool_)
        gone[evicted] = True
        mask = gone[inverse]
        self.stats.evicted_groups += len(evicted)
        self.stats.evicted_events += int(mask.sum())
        self._evicted_until = max(self._evicted_until, int(newest[evicted].max()))
        self.ledger.keep(~mask)
        for gid in gids[gone].tolist():
            self._live.pop(gid, None)


def _first_distinct(places: Ints, keys: Words) -> list[int]:
    """The first reports of the first actions, as many as evidence needs."""
    found: dict[int, int] = {}
    for place, key in zip(places.tolist(), keys.tolist(), strict=True):
        found.setdefault(key, place)
        if len(found) == MAX_EVIDENCE:
            break
    return list(found.values())


def _same(one: Signal, other: Signal) -> bool:
    """Nothing differs but which record caused it."""
    return one == msgspec.structs.replace(other, change=one.change, revision=one.revision)
