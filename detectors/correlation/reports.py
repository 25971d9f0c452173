"""What a rule says of its groups: new, revised and retracted signals, from events at which its
condition holds.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.correlation.arrays import Ints, firsts
from tachograph.detectors.correlation.evidence import Basis, Crossings
from tachograph.detectors.correlation.memory import Memory
from tachograph.detectors.correlation.said import Live, Said
from tachograph.detectors.correlation.stretch import LONG_AGO, Held
from tachograph.detectors.fact_store import FactStore, Places
from tachograph.detectors.facts import Facts
from tachograph.detectors.language.rule import Correlation
from tachograph.detectors.signals import Evidence, SignalMaker, changed
from tachograph.schemas.alert import Change, Signal

Based = Callable[[Crossings], list[Basis]]


class Fired(msgspec.Struct, frozen=True):
    """A signal that is new, revised or retracted, and the event that made it true."""

    signal: Signal
    table: int = -1
    row: int = -1
    leaf: int = 0


class Voice(msgspec.Struct, frozen=True):
    """How a rule speaks: the fields that each of its leaves shows, the values of its group (and
    those it names beside them) in a fact frame, by leaf, and what makes signals of them.
    """

    rule: Correlation
    shown: Mapping[int, Sequence[str]]
    by: Sequence[Sequence[pl.Expr]]
    maker: SignalMaker
    store: FactStore


class Reports:
    """Remembers what was said and says only what differs.

    `based` tells what a crossing rests on.
    """

    def __init__(
        self, voice: Voice, memory: Memory, based: Based, limit: int, *, back_us: int
    ) -> None:
        """`back_us`: how far before an event lies what its signal rests on."""
        self._back_us = back_us
        self._voice = voice
        self._memory = memory
        self._based = based
        self._span_us = voice.rule.timespan_us
        self.said = Said(limit)
        # Buckets that end by then change no more.
        self.floor_us = LONG_AGO

    def first(self, slots: Ints, held: Held, revision: int) -> list[Fired]:
        """Say what holds in buckets in which nothing was said of the group yet."""
        if not len(held.place):
            return []
        blocks = self._memory.blocks
        bucket = blocks.rows["time"][held.place] // self._span_us
        last = blocks.groups["fired"][slots[held.group]] + LONG_AGO
        found = self._crossings(slots, held.of(bucket > last))
        # A group that was forgotten does not know what was said of it.
        keys = enumerate(zip(found.bucket, found.gid, strict=True))
        crossings = found.only([n for n, key in keys if self.said.get(*key) is None])
        basis = self._based(crossings)
        return self._say(crossings, basis, [None] * len(basis), revision)

    def difference(
        self, slots: Ints, since: Ints, held: Held, revision: int, *, anew: bool
    ) -> list[Fired]:
        """Say what differs from what was said of these groups in buckets from a time on. `anew`:
        facts may have changed where numbers did not.
        """
        found = self._crossings(slots, held)
        times = dict(zip(slots.tolist(), since.tolist(), strict=True))
        olds = [self.said.get(*key) for key in zip(found.bucket, found.gid, strict=True)]
        standing: dict[int, set[int]] = {slot: set() for slot in times}
        wanted = []
        for number, (slot, bucket) in enumerate(
            zip(found.slot.tolist(), found.bucket, strict=True)
        ):
            standing[slot].add(bucket)
            if not self._frozen(slot, bucket, olds[number], times[slot]):
                wanted.append(number)
        fired = self.differing(found.only(wanted), revision, anew=anew)
        for slot, time in times.items():
            fired += self._retract(slot, time, standing[slot], revision)
        return fired

    def differing(self, found: Crossings, revision: int, *, anew: bool) -> list[Fired]:
        """Say those of these that differ from what was said of the same group and bucket."""
        olds = [self.said.get(*key) for key in zip(found.bucket, found.gid, strict=True)]
        basis = self._based(found)
        differing = [
            number
            for number, (old, one) in enumerate(zip(olds, basis, strict=True))
            if anew or old is None or old.footprint != self._footprint(found, number, one)
        ]
        return self._say(
            found.only(differing),
            [basis[number] for number in differing],
            [olds[number] for number in differing],
            revision,
        )

    def retract(self, bucket: int, gid: int, revision: int) -> list[Fired]:
        """What was said of a group in a bucket stands no more."""
        live = self.said.pop(bucket, gid)
        return [] if live is None else [Fired(changed(live.signal, "retracted", revision))]

    def settle(self, before_us: int) -> None:
        """What was said of events before this time changes no more."""
        self.said.settle(before_us)

    def once(self, crossings: Crossings, revision: int) -> list[Fired]:
        """Say these for good."""
        basis = self._based(crossings)
        return self._say(crossings, basis, [None] * len(basis), revision, final=True)

    def _crossings(self, slots: Ints, held: Held) -> Crossings:
        """Of the events at which it holds the first of each group and bucket."""
        blocks = self._memory.blocks
        bucket = blocks.rows["time"][held.place] // self._span_us
        first = firsts(held.group, bucket)
        of = slots[held.group[first]]
        return Crossings(
            of,
            blocks.groups["gid"][of].tolist(),
            bucket[first].tolist(),
            held.place[first],
            held.opens[first],
            held.ends[first],
            self._since(blocks.rows["time"][held.place[first]]).tolist(),
        )

    def _since(self, time: Ints) -> Ints:
        """The first moment that matters to a signal of an event: of the windows of its bucket, in
        which an earlier event may have been the first one.
        """
        begin = time // self._span_us * self._span_us
        return np.minimum(begin, begin - self._back_us + 1)

    def _frozen(self, slot: int, bucket: int, old: Live | None, since: int) -> bool:
        """Whether what was (or was not) said of a group in a bucket stays as it is: nothing to come
        changes it, it rests on what was before, or on what is forgotten.
        """
        if (bucket + 1) * self._span_us <= self.floor_us:
            return True
        if old is None:
            return False
        cut = int(self._memory.blocks.groups["cut"][slot]) + LONG_AGO
        return old.time_us < since or (bucket - 1) * self._span_us < cut

    def _retract(self, slot: int, since: int, standing: set[int], revision: int) -> list[Fired]:
        groups = self._memory.blocks.groups
        gid, begin = int(groups["gid"][slot]), since // self._span_us
        fired = []
        last = min(int(groups["fired"][slot]) + LONG_AGO, begin - 1)
        for bucket, live in list(self.said.of(gid, begin)):
            if bucket in standing or self._frozen(slot, bucket, live, since):
                last = max(last, bucket)
                continue
            fired += self.retract(bucket, gid, revision)
        groups["fired"][slot] = max(last, *standing, LONG_AGO) - LONG_AGO
        return fired

    def _footprint(self, crossings: Crossings, number: int, basis: Basis) -> tuple[float, ...]:
        return basis.footprint(self._memory.blocks.rows, int(crossings.place[number]))

    def _say(
        self,
        crossings: Crossings,
        basis: Sequence[Basis],
        olds: Sequence[Live | None],
        revision: int,
        *,
        final: bool = False,
    ) -> list[Fired]:
        facts = self._facts(crossings, basis)
        rows, fired = self._memory.blocks.rows, self._memory.blocks.groups["fired"]
        out: list[Fired] = []
        for number, (one, old) in enumerate(zip(basis, olds, strict=True)):
            last, bucket = int(crossings.place[number]), crossings.bucket[number]
            slot = int(crossings.slot[number])
            if not final:
                fired[slot] = max(int(fired[slot]), bucket - LONG_AGO)
            evidence = self._evidence(crossings, number, one, facts)
            change: Change = "new" if old is None else "revised"
            signal = self._voice.maker.of_group(self._voice.rule, evidence, revision, change)
            if old is not None and _same(old.signal, signal):
                continue
            if not final and (bucket + 1) * self._span_us > self.floor_us:
                footprint = self._footprint(crossings, number, one)
                live = Live.of(signal, int(rows["time"][last]), footprint)
                self.said.put(bucket, crossings.gid[number], live)
                self._memory.stats.evicted_signals = self.said.evicted
            at = (int(rows[name][last]) for name in ("table", "row", "leaf"))
            out.append(Fired(signal, *at))
        return out

    def _facts(self, crossings: Crossings, basis: Sequence[Basis]) -> dict[int, Facts]:
        places = [at for one in basis for at in one.events]
        wanted = np.unique(np.concatenate([crossings.place, np.array(places, np.int64)]))
        if not len(wanted):
            return {}
        table, row, leaf = (
            self._memory.blocks.rows[name][wanted].astype(np.int64)
            for name in ("table", "row", "leaf")
        )
        voice = self._voice
        found = voice.store.facts(Places(table, row, leaf), voice.shown, voice.by)
        return dict(zip(wanted.tolist(), found, strict=True))

    def _evidence(
        self, crossings: Crossings, number: int, basis: Basis, facts: Mapping[int, Facts]
    ) -> Evidence:
        rows, at = self._memory.blocks.rows, int(crossings.place[number])
        blind = []
        if basis.missed:
            blind.append(f"{basis.missed} late action(s) of this group were left out of the window")
        if self._memory.cut(int(crossings.slot[number])) >= crossings.since_us[number]:
            blind.append("the rule held too much and forgot actions that this window may need")
        if any(rows["partial"][event] for event in basis.events):
            blind.append("it rests on signals that may have missed something themselves")
        last, by = facts[at], self._voice.rule.group_by
        return Evidence(
            last=last,
            events=[facts[event] for event in basis.events],
            count=basis.number,
            value=basis.value,
            bucket=str(crossings.bucket[number]),
            group=dict(zip(by, last.group[: len(by)], strict=True)),
            values=last.group[len(by) :],
            blind=blind,
        )


def _same(one: Signal, other: Signal) -> bool:
    """Nothing differs but which record caused it."""
    return one == msgspec.structs.replace(other, change=one.change, revision=one.revision)
