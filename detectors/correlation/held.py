"""What a rule holds of its groups, for a person to look at: their values, and their events."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from tachograph.detectors.correlation.arrays import Array, Ints, spans
from tachograph.detectors.correlation.evidence import Crossings
from tachograph.detectors.correlation.first_seen import FirstSeenJudge
from tachograph.detectors.correlation.judges import Judge, sweep_of
from tachograph.detectors.correlation.stretch import FOREVER, Stretch
from tachograph.detectors.fact_store import FactStore, Places
from tachograph.detectors.facts import Facts, group_value, number_column
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.language.rule import Correlation, Figure, FirstSeen, Leaf, Values


@dataclass(frozen=True, slots=True)
class Group:
    """One group: whose it is, and the values that the rule groups by. `size`: events held."""

    slot: int
    tenant: str
    # Empty where the rule reaches across partitions.
    place: str
    values: dict[str, str]
    size: int


@dataclass(frozen=True, slots=True)
class Events:
    """The events held of a group, by (time, event id): columns as in Blocks, facts, and the value
    that the rule asks of each (empty: it asks none).
    """

    rows: dict[str, Array]
    facts: list[Facts]
    values: list[str]

    def find(self, event_id: str) -> int | None:
        """Where the event of this id is."""
        return next((at for at, one in enumerate(self.facts) if one.event_id == event_id), None)


class HeldGroups:
    """The groups of one rule that is judged here. Reads only; not to be kept over a change."""

    def __init__(self, judge: Judge, store: FactStore, fields: FieldMap) -> None:
        self.judge = judge
        self.rule: Correlation = judge.rule
        self._store, self._fields = store, fields
        self._blocks = judge.memory.blocks

    def __iter__(self) -> Iterator[Group]:
        slots = self._blocks.used()
        facts = self._facts(self._blocks.bounds(slots)[0])
        by = self.rule.group_by
        for slot, first in zip(slots.tolist(), facts, strict=True):
            yield Group(
                slot,
                first.tenant,
                "" if self.rule.across else first.partition_key or "",
                dict(zip(by, first.group[: len(by)], strict=True)),
                int(self._blocks.groups["size"][slot]),
            )

    def of(self, event_id: str) -> list[Group]:
        """The groups that hold an event."""
        held = spans(*self._blocks.bounds(self._blocks.used()))
        at = self._at(held.places)
        here = (self._store.rows(at.table, at.row)["event_id"] == event_id).to_numpy()
        wanted = set(self._blocks.used()[held.owner[here]].tolist())
        return [group for group in self if group.slot in wanted] if wanted else []

    def events(self, group: Group) -> Events:
        """What is held of a group."""
        places = self._places(group)
        rows = {name: column[places] for name, column in self._blocks.rows.items()}
        return Events(rows, self._facts(places), self._values(places))

    def chain(self, group: Group, place: int, window: slice) -> list[int] | None:
        """Places of the chain of an ordered rule that ends with an event, or (of windows that do
        not slide) in its window; None: none does.
        """
        slots, sweep = np.array([group.slot]), sweep_of(self.rule)
        first = int(self._blocks.bounds(slots)[0][0])
        if self.rule.window == "sliding":
            at = np.array([first + place])
            now_us, span_us = self._blocks.rows["time"][at], self.rule.timespan_us
            begin = self._blocks.since(slots, now_us - sweep.reach * span_us, after=True)
            stretch = Stretch(slots, begin, at + 1, at, span_us, fresh=True, keep=False)
            held = sweep.run(self._blocks, stretch)
        else:
            begin, ends = (np.array([first + bound]) for bound in (window.start, window.stop))
            span_us, held = FOREVER, sweep.whole(self._blocks, slots, begin, ends)
        if not len(held.place):
            return None
        one = Crossings(slots, [0], [0], held.place, held.opens, held.ends, [0])
        [basis] = sweep.bases(self._blocks, one, span_us)
        return [at - first for at in basis.events]

    def history(self, group: Group, place: int) -> tuple[int, int]:
        """See FirstSeenJudge, of an event of a group."""
        if not isinstance(self.judge, FirstSeenJudge):
            raise TypeError(f"{self.rule.meta.title} asks for no new values")
        first = int(self._blocks.bounds(np.array([group.slot]))[0][0])
        return self.judge.history(group.slot, first + place)

    def _places(self, group: Group) -> Ints:
        return spans(*self._blocks.bounds(np.array([group.slot]))).places

    def _facts(self, places: Ints) -> list[Facts]:
        return self._store.facts(self._at(places), {}, self.judge.voice.by)

    def _at(self, places: Ints) -> Places:
        rows = self._blocks.rows
        return Places(*(rows[name][places].astype(np.int64) for name in ("table", "row", "leaf")))

    def _values(self, places: Ints) -> list[str]:
        """What the rule asks of each event, as text."""
        if not isinstance(self.rule.asks, Values | FirstSeen | Figure):
            return [""] * len(places)
        at, leaves = self._at(places), self.rule.leaves
        facts = self._store.rows(at.table, at.row)
        found = np.full(len(places), "", object)
        for leaf in np.unique(at.leaf).tolist():
            own = np.flatnonzero(at.leaf == leaf)
            frame = facts[own].select(
                expr.alias(str(n)) for n, expr in enumerate(self._asked(leaves[leaf]))
            )
            found[own] = [", ".join(map(str, row)) for row in frame.iter_rows()]
        return list(found)

    def _asked(self, leaf: Leaf) -> Iterator[pl.Expr]:
        for field in leaf.values:
            if isinstance(self.rule.asks, Figure):
                yield pl.col(number_column(field))
            else:
                yield group_value(field, self._fields)
