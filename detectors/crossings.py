"""Where conditions over time become true: pure functions over events of many groups at once.

Events come by (group, time, event id). "Within the timespan" means over (e.time − timespan, e.time]. For each
(group, epoch-aligned bucket of the timespan) the first event at which the condition holds is found.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Frame:
    """Events of groups: `rank` numbers groups 0, 1 …; `first` is where each event's window begins."""

    rank: Ints
    time: Ints
    # Place of the event's time among all distinct times: small numbers that cannot overflow.
    moment: Ints
    moments: int
    # First moment inside the window that ends at the event.
    opens: Ints
    timespan_us: int

    @classmethod
    def of(cls, gid: Ints, time: Ints, timespan_us: int) -> "Frame":
        _, rank = np.unique(gid, return_inverse=True)
        distinct, moment = np.unique(time, return_inverse=True)
        opens = np.searchsorted(distinct, time - timespan_us, side="right")
        return cls(
            rank.astype(np.int64), time, moment.astype(np.int64), len(distinct), opens, timespan_us
        )

    def bounds(self) -> tuple[Ints, Ints]:
        """Places [from, to) of the events in each event's window."""
        width = self.moments + 1
        at = self.rank * width + self.moment
        return (
            np.searchsorted(at, self.rank * width + self.opens, side="left"),
            np.searchsorted(at, at, side="right"),
        )

    def firsts(self, holds: Bools) -> Ints:
        """Places of the first event of each (group, bucket) at which it holds."""
        places = np.flatnonzero(holds)
        if not len(places):
            return places
        rank, bucket = self.rank[places], self.time[places] // self.timespan_us
        new = (rank[1:] != rank[:-1]) | (bucket[1:] != bucket[:-1])
        return places[np.concatenate([[True], new])]


def counts(frame: Frame, keys: Sequence[str] | None) -> tuple[Ints, Ints, Ints]:
    """Events in each event's window, and the places [from, to) of that window.

    `keys`, given only where two events can be reports of one action: distinct ones count.
    """
    start, stop = frame.bounds()
    count = stop - start
    if keys is not None:
        for group in np.unique(frame.rank):
            places = np.flatnonzero(frame.rank == group)
            group_keys = [keys[place] for place in places]
            if len(set(group_keys)) < len(group_keys):
                count[places] = _distinct(
                    group_keys, start[places] - places[0], stop[places] - places[0]
                )
    return count, start, stop


def _distinct(keys: list[str], start: Ints, stop: Ints) -> Ints:
    """Distinct keys in windows whose bounds only move forward."""
    inside: Counter[str] = Counter()
    low = high = 0
    found = np.empty(len(keys), np.int64)
    for place, (begin, end) in enumerate(zip(start.tolist(), stop.tolist(), strict=True)):
        while high < end:
            inside[keys[high]] += 1
            high += 1
        while low < begin:
            inside[keys[low]] -= 1
            if not inside[keys[low]]:
                del inside[keys[low]]
            low += 1
        found[place] = len(inside)
    return found


@dataclass(frozen=True, slots=True)
class Chains:
    """Ordered steps: for each step and event, the latest start of a chain that ends there (see `_starts`)."""

    frame: Frame
    starts: list[Ints]

    def complete(self) -> Bools:
        """Events that end a whole chain within the timespan."""
        width = self.frame.moments + 2
        start = self.starts[-1] - self.frame.rank * width - 1
        return (start >= 0) & (start >= self.frame.opens)

    def back(self, place: int) -> list[int]:
        """The chain that ends at a complete event, first step first: each step as late as it can be."""
        wanted = self.starts[-1][place]
        chain = [place]
        for starts in reversed(self.starts[:-1]):
            place = int(np.flatnonzero(starts[: chain[-1]] == wanted)[-1])
            chain.append(place)
        return chain[::-1]


def chains(frame: Frame, steps: Ints, number: int) -> Chains:
    """Follow `number` steps in order; bit i of `steps` says that the event matches step i."""
    none = frame.rank * (frame.moments + 2)
    starts = [np.where(steps & 1, none + frame.moment + 1, none)]
    for step in range(1, number):
        before = np.maximum.accumulate(starts[-1])
        before = np.concatenate([[0], before[:-1]]) if len(before) else before
        reached = (steps >> step) & 1 == 1
        starts.append(np.where(reached, np.maximum(before, none), none))
    return Chains(frame, starts)
