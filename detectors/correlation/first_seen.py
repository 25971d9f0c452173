"""Values that a group did not have before.

An event's value is new if no event of its group had it within the timespan before. A group is only
watched for the learning time after its first event; one that is quiet for a timespan begins anew.
One signal a value: of the event that has it first.
"""

import msgspec
import numpy as np

from tachograph.detectors.correlation.arrays import Ints, Words, firsts, lasts, spans
from tachograph.detectors.correlation.blocks import Columns
from tachograph.detectors.correlation.correlator import CorrelatorState
from tachograph.detectors.correlation.evidence import Basis, Crossings
from tachograph.detectors.correlation.known import Known, KnownState
from tachograph.detectors.correlation.memory import Memory
from tachograph.detectors.correlation.reports import Fired, Reports, Voice
from tachograph.detectors.correlation.stretch import LONG_AGO, Held
from tachograph.detectors.language.rule import FirstSeen
from tachograph.detectors.limits import Limits

_ODD = np.uint64(0x9E3779B97F4A7C15)
_LET_OFF = 1_000
# Of a group: when it was first watched and last seen; before the floor, and at all. Counted from
# LONG_AGO: 0 is never.
_GROUP_KINDS: dict[str, tuple[str, int]] = {
    "began_settled": ("<i8", 0),
    "last_settled": ("<i8", 0),
    "began": ("<i8", 0),
    "last": ("<i8", 0),
}


class _State(msgspec.Struct, frozen=True, array_like=True):
    known: KnownState
    groups: dict[str, bytes]
    saying: dict[int, list[tuple[int, int]]]


class FirstSeenJudge:
    """First-seen values of one rule (a Judge). Held are the events after the floor only: what they
    say can still change.
    """

    def __init__(self, voice: Voice, asks: FirstSeen, limits: Limits) -> None:
        self.rule = voice.rule
        self.voice = voice
        self.memory = Memory(limits, {"value": ("<u8", 0)}, _GROUP_KINDS)
        self._span_us = self.rule.timespan_us
        self._learning_us = asks.learning_us
        self._known = Known(limits.events_per_rule, limits.events_per_group)
        self._reports = Reports(
            voice, self.memory, self._based, limits.signals_per_rule, back_us=self._span_us
        )
        # What was said of a group and can still be taken back: (bucket, group and value).
        self._saying: dict[int, set[tuple[int, int]]] = {}
        # Of those how many had been given up for others when they were last looked through.
        self._let_off = 0
        self._floor_us = LONG_AGO
        self._tidied_us = LONG_AGO

    def process(
        self, columns: Columns, revision: int, *, gone: Columns | None = None
    ) -> list[Fired]:
        """See Judge."""
        none = np.empty(0, np.int64)
        afresh = self._let_go(gone) if gone is not None else none
        columns = self.memory.useful(columns, self._floor_us)
        fired: list[Fired] = []
        if len(columns["gid"]):
            came = self.memory.take(columns)
            in_order = came.in_order & ~self.memory.hold(came.slots)
            in_order &= ~np.isin(came.slots, afresh)
            if in_order.any():
                fired += self._go_on(came.slots[in_order], came.count[in_order], revision)
            afresh = np.union1d(afresh, came.slots[~in_order])
        if len(afresh):
            fired += self._again(afresh, revision, anew=gone is not None)
        if self._known.full():
            self._forget(self._floor_us - self._span_us)
        self.memory.trim()
        if self._reports.said.evicted - self._let_off >= _LET_OFF:
            self._keep_saying()
        return fired

    def _keep_saying(self) -> None:
        """Only what can still be taken back."""
        self._let_off = self._reports.said.evicted
        self._saying = {
            gid: left
            for gid, said in self._saying.items()
            if (left := {one for one in said if self._reports.said.get(*one) is not None})
        }

    def _forget(self, before_us: int) -> None:
        """Values not seen since then are new again, and others where there are too many."""
        self._known.forget(before_us)
        self.memory.stats.evicted_values = self._known.evicted
        self.memory.evicted_until = max(self.memory.evicted_until, self._known.evicted_until)

    def _let_go(self, gone: Columns) -> Ints:
        """Forget events; their groups."""
        slots, places = self.memory.blocks.locate(
            gone["gid"], gone["time"], gone["high"], gone["low"]
        )
        known = places >= 0
        self._known.unsee(self._keys(slots[known], places[known]))
        touched = self.memory.let_go(gone)
        return touched.slots if touched is not None else np.empty(0, np.int64)

    def _keys(self, slots: Ints, places: Ints) -> Words:
        """A number for each group and value."""
        rows, groups = self.memory.blocks.rows, self.memory.blocks.groups
        keys: Words = (groups["gid"][slots] * _ODD) ^ rows["value"][places]
        return np.where(keys == 0, np.uint64(1), keys)

    # --- what is new ------------------------------------------------------------------------------

    def _go_on(self, slots: Ints, count: Ints, revision: int) -> list[Fired]:
        """Judge the events at the end of groups, so many of each."""
        end = self.memory.blocks.bounds(slots)[1]
        held = self._new(slots, end - count, end, base="", upto="")
        return self._say(self._crossings(slots, held), revision)

    def _again(self, slots: Ints, revision: int, *, anew: bool) -> list[Fired]:
        """Judge all that can still change of groups; what differs from what was said."""
        blocks, groups = self.memory.blocks, self.memory.blocks.groups
        groups["stale"][slots] = False
        for name in ("began", "last"):
            groups[name][slots] = groups[f"{name}_settled"][slots]
        held = self._new(slots, *blocks.bounds(slots), base="_settled", upto="")
        found = self._crossings(slots, held)
        fired = self._say(found, revision, anew=anew)
        standing = set(zip(found.bucket, found.gid, strict=True))
        for gid in blocks.groups["gid"][slots].tolist():
            for bucket, key in sorted(self._saying.get(gid, ())):
                if (bucket, key) in standing:
                    continue
                self._saying[gid].discard((bucket, key))
                fired += self._reports.retract(bucket, key, revision)
        return fired

    def _new(self, slots: Ints, begin: Ints, end: Ints, *, base: str, upto: str) -> Held:
        """The events of groups' stretches whose value is new, by what is known of the time before
        the floor (`base` _settled) or of all time; that they had it is noted likewise (`upto`).
        """
        blocks, groups = self.memory.blocks, self.memory.blocks.groups
        laid = spans(begin, end)
        timely = np.flatnonzero(~blocks.rows["blind"][laid.places])
        owner, places = laid.owner[timely], laid.places[timely]
        time, of = blocks.rows["time"][places], slots[owner]
        first = firsts(owner)
        before = np.where(first, groups[f"last{base}"][of] + LONG_AGO, np.roll(time, 1))
        begins = time - before >= self._span_us
        place = np.arange(len(time))
        # Of the group, what begins latest; none of the stretch: what began before.
        start = np.maximum.accumulate(np.where(begins | first, place, 0))
        began = np.where(begins[start], time[start], groups[f"began{base}"][of] + LONG_AGO)
        keys = self._keys(of, places)
        seen = self._seen_before(keys, time, settled=bool(base))
        new = (time - seen >= self._span_us) & (time - began >= self._learning_us)
        last = lasts(np.flatnonzero(first), len(time))
        groups[f"last{upto}"][of[last]] = time[last] - LONG_AGO
        groups[f"began{upto}"][of[last]] = began[last] - LONG_AGO
        order = np.argsort(keys, kind="stable")
        newest = order[lasts(np.flatnonzero(firsts(keys[order])), len(order))]
        gids = groups["gid"][of[newest]]
        self._known.see(keys[newest], gids, time[newest], settled=bool(upto))
        at = np.flatnonzero(new)
        return Held(owner[at], places[at], places[at], places[at] + 1, np.empty(0, np.int64))

    def _seen_before(self, keys: Words, time: Ints, *, settled: bool) -> Ints:
        """When the value of each event was seen before; LONG_AGO: never."""
        order = np.argsort(keys, kind="stable")
        first = firsts(keys[order])
        before = np.empty(len(keys), np.int64)
        before[order[~first]] = time[order[np.flatnonzero(~first) - 1]]
        before[order[first]] = self._known.times(keys[order[first]], settled=settled)
        return before

    # --- what is said -----------------------------------------------------------------------------

    def _crossings(self, slots: Ints, held: Held) -> Crossings:
        of, time = slots[held.group], self.memory.blocks.rows["time"][held.place]
        return Crossings(
            of,
            self._keys(of, held.place).tolist(),
            (time // self._span_us).tolist(),
            held.place,
            held.opens,
            held.ends,
            (time - self._span_us + 1).tolist(),
        )

    def _say(self, found: Crossings, revision: int, *, anew: bool = False) -> list[Fired]:
        gids = self.memory.blocks.groups["gid"][found.slot].tolist()
        for gid, *said in zip(gids, found.bucket, found.gid, strict=True):
            self._saying.setdefault(gid, set()).add((said[0], said[1]))
        return self._reports.differing(found, revision, anew=anew)

    def _based(self, crossings: Crossings) -> list[Basis]:
        """Each rests on its event alone. Left out are late ones that had the value before it."""
        blocks = self.memory.blocks
        begin = blocks.bounds(crossings.slot)[0]
        until = blocks.since(crossings.slot, blocks.rows["time"][crossings.place], after=True)
        return [
            Basis([int(place)], 1, 1, self._late(slice(int(b), int(e)), int(place)))
            for place, b, e in zip(crossings.place, begin, until, strict=True)
        ]

    def _late(self, earlier: slice, place: int) -> int:
        rows = self.memory.blocks.rows
        alike = rows["blind"][earlier] & (rows["value"][earlier] == rows["value"][place])
        near = rows["time"][earlier] > rows["time"][place] - self._span_us
        return int((alike & near).sum())

    def history(self, slot: int, place: int) -> tuple[int, int]:
        """When the group last had the value of an event before it, and since when it was watched
        without a pause; LONG_AGO: never.
        """
        blocks = self.memory.blocks
        rows, begin = blocks.rows, int(blocks.bounds(np.array([slot]))[0][0])
        key = self._keys(np.array([slot]), np.array([place]))
        had = int(self._known.times(key, settled=True)[0])
        began, last = (
            int(blocks.groups[name][slot]) + LONG_AGO for name in ("began_settled", "last_settled")
        )
        for at in range(begin, place + 1):
            if rows["blind"][at]:
                continue
            time = int(rows["time"][at])
            began = time if time - last >= self._span_us else began
            last = time
            if at < place and rows["value"][at] == rows["value"][place]:
                had = time
        return had, began

    # --- time goes by -----------------------------------------------------------------------------

    def settle(self) -> None:
        """See Judge: nothing waits."""

    def advance(self, floor_us: int, revision: int) -> list[Fired]:  # noqa: ARG002
        """See Judge: events before the floor are known for good."""
        if floor_us <= self._floor_us:
            return []
        self._floor_us = self._reports.floor_us = floor_us
        blocks = self.memory.blocks
        slots, until = self.memory.expired(floor_us)
        if len(slots):
            begin = blocks.bounds(slots)[0]
            self._new(slots, begin, until, base="_settled", upto="_settled")
            blocks.drop(slots, until)
        self._reports.settle(floor_us)
        self._keep_saying()
        if floor_us - self._tidied_us >= self._span_us // 8:
            self._tidy()
        return []

    def _tidy(self) -> None:
        """Forget values and groups that were not seen for a timespan, and what is too much."""
        self._tidied_us = self._floor_us
        before = self._floor_us - self._span_us
        self._forget(before)
        blocks, groups = self.memory.blocks, self.memory.blocks.groups
        groups["cut"][groups["cut"] < before - LONG_AGO] = 0
        known = np.flatnonzero(groups["gid"][: blocks.top])
        idle = known[(groups["size"][known] == 0) & (groups["last"][known] + LONG_AGO < before)]
        blocks.free(idle)
        self.memory.crowd("last")

    def state(self) -> CorrelatorState:
        groups = self.memory.blocks.groups
        known = np.flatnonzero(groups["gid"][: self.memory.blocks.top])
        names = ("gid", "began_settled", "last_settled")
        extra = msgspec.msgpack.encode(
            _State(
                self._known.state(),
                {name: groups[name][known].tobytes() for name in names},
                {gid: list(said) for gid, said in self._saying.items()},
            )
        )
        return CorrelatorState(self.memory.state(), self._reports.said.state(), extra)

    def restore(self, state: CorrelatorState, floor_us: int | None) -> None:
        """Take up a dump."""
        floor = LONG_AGO if floor_us is None else floor_us
        self._floor_us = self._reports.floor_us = floor
        kept = msgspec.msgpack.decode(state.extra, type=_State)
        self._known.restore(kept.known)
        blocks = self.memory.blocks
        slots, _ = blocks.open(np.frombuffer(kept.groups["gid"], "<u8"))
        for name in ("began_settled", "last_settled"):
            values = np.frombuffer(kept.groups[name], "<i8")
            blocks.groups[name][slots] = values
            blocks.groups[name.removesuffix("_settled")][slots] = values
        self.memory.restore(state.memory)
        self._reports.said.restore(state.said)
        self._saying = {gid: set(said) for gid, said in kept.saying.items()}
        held = blocks.used()
        self._new(held, *blocks.bounds(held), base="_settled", upto="")
        blocks.groups["stale"][held] = False
