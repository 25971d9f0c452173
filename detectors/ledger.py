"""The events one correlation remembers: columns of numbers, and the facts beside them.

A group is a number here; its values (tenant first) are kept once. Blind events are late ones: remembered so
that signals can say they were left out, never counted.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from tachograph.detectors.facts import Facts

Ints = npt.NDArray[np.int64]
Group = tuple[str, ...]


class LedgerState(msgspec.Struct, frozen=True, array_like=True):
    """A ledger as it is dumped: numbers little-endian."""

    groups: list[list[str]]
    numbers: list[int]
    gid: bytes
    time: bytes
    steps: bytes
    blind: bytes
    facts: list[Facts]
    cuts: dict[int, int]
    next_gid: int


class Ledger:
    """Append, look up by group, expire. Not thread-safe."""

    def __init__(self) -> None:
        self.gid: Ints = np.empty(0, np.int64)
        self.time: Ints = np.empty(0, np.int64)
        self.steps: Ints = np.empty(0, np.int64)
        self.blind: npt.NDArray[np.bool_] = np.empty(0, np.bool_)
        self.facts: npt.NDArray[np.object_] = np.empty(0, np.object_)
        self.values: dict[int, Group] = {}
        # Newest event dropped from a group that held too many.
        self.cuts: dict[int, int] = {}
        self._gids: dict[Group, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self.gid)

    def number(self, group: Group) -> int:
        """The group's number, given to it at first sight."""
        gid = self._gids.get(group)
        if gid is None:
            gid = self._gids[group] = self._next
            self.values[gid] = group
            self._next += 1
        return gid

    def append(
        self, gid: Ints, steps: Ints, blind: npt.NDArray[np.bool_], facts: Sequence[Facts]
    ) -> None:
        """Remember events, one element each."""
        column = np.empty(len(facts), np.object_)
        column[:] = facts
        times = np.fromiter((event.time_us for event in facts), np.int64, len(facts))
        self.gid = np.concatenate([self.gid, gid])
        self.time = np.concatenate([self.time, times])
        self.steps = np.concatenate([self.steps, steps])
        self.blind = np.concatenate([self.blind, blind])
        self.facts = np.concatenate([self.facts, column])

    def keep(self, mask: npt.NDArray[np.bool_]) -> None:
        """Forget the events that the mask leaves out."""
        self.gid, self.time, self.steps = self.gid[mask], self.time[mask], self.steps[mask]
        self.blind, self.facts = self.blind[mask], self.facts[mask]

    def of(self, gids: Ints) -> Ints:
        """Places of the events of these groups, by (group, time, event id); a repeated event once."""
        places = np.flatnonzero(np.isin(self.gid, gids))
        order = np.lexsort((self.time[places], self.gid[places]))
        places = places[order]
        gid, time = self.gid[places], self.time[places]
        tied = (gid[1:] == gid[:-1]) & (time[1:] == time[:-1])
        if not tied.any():
            return places
        ids = np.array([self.facts[place].event_id for place in places])
        places = places[np.lexsort((ids, time, gid))]
        ids = np.array([self.facts[place].event_id for place in places])
        gid, time = self.gid[places], self.time[places]
        same = (gid[1:] == gid[:-1]) & (time[1:] == time[:-1]) & (ids[1:] == ids[:-1])
        return places[np.concatenate([[True], ~same])]

    def forget_groups(self, kept: Iterable[int]) -> None:
        """Drop the names of groups without events that are not in `kept`."""
        used = set(np.unique(self.gid).tolist()) | set(kept)
        for gid in [gid for gid in self.values if gid not in used]:
            del self._gids[self.values.pop(gid)]
            self.cuts.pop(gid, None)

    def state(self) -> LedgerState:
        return LedgerState(
            groups=[list(group) for group in self.values.values()],
            numbers=list(self.values),
            gid=self.gid.astype("<i8").tobytes(),
            time=self.time.astype("<i8").tobytes(),
            steps=self.steps.astype("<i8").tobytes(),
            blind=self.blind.tobytes(),
            facts=list(self.facts),
            cuts=self.cuts,
            next_gid=self._next,
        )

    @classmethod
    def of_state(cls, state: LedgerState) -> "Ledger":
        ledger = cls()
        ledger.gid = np.frombuffer(state.gid, "<i8").astype(np.int64)
        ledger.time = np.frombuffer(state.time, "<i8").astype(np.int64)
        ledger.steps = np.frombuffer(state.steps, "<i8").astype(np.int64)
        ledger.blind = np.frombuffer(state.blind, np.bool_).copy()
        ledger.facts = np.empty(len(state.facts), np.object_)
        ledger.facts[:] = state.facts
        pairs = zip(state.numbers, state.groups, strict=True)
        ledger.values = {number: tuple(group) for number, group in pairs}
        ledger._gids = {group: number for number, group in ledger.values.items()}
        ledger.cuts = dict(state.cuts)
        ledger._next = state.next_gid
        return ledger
