"""Where conditions over time become true: pure functions over events of many groups at once.

Events come by (group, time, event id).
"Within the timespan" means over (e.time − timespan, e.time]. For each (group, epoch-aligned
bucket of the timespan) the first event at which the condition holds is found.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Frame:
    """Events of groups. `rank` numbers groups 0, 1 …; `moment` numbers distinct times; both cannot
    overflow.
    """

    rank: Ints
    time: Ints
    moment: Ints
    moments: int
    # First moment inside the window that ends at the event.
    opens: Ints
    timespan_us: int

    @classmethod
    def of(cls, gid: Words, time: Ints, timespan_us: int) -> "Frame":
        rank = np.zeros(len(gid), np.int64)
        np.cumsum(gid[1:] != gid[:-1], out=rank[1:])
        distinct, moment = np.unique(time, return_inverse=True)
        opens = np.searchsorted(distinct, time - timespan_us, side="right")
        return cls(rank, time, moment.astype(np.int64), len(distinct), opens, timespan_us)

    def bounds(self) -> tuple[Ints, Ints]:
        """Places [from, to) of the events in each event's window."""
        width = self.moments + 1
        at = self.rank * width + self.moment
        start: Ints = np.searchsorted(at, self.rank * width + self.opens, side="left")
        stop: Ints = np.searchsorted(at, at, side="right")
        return start, stop

    def firsts(self, holds: Bools) -> Ints:
        """Places of the first event of each (group, bucket) at which it holds."""
        places = np.flatnonzero(holds)
        if len(places) < 2:
            return places
        rank, bucket = self.rank[places], self.time[places] // self.timespan_us
        new = (rank[1:] != rank[:-1]) | (bucket[1:] != bucket[:-1])
        found: Ints = places[np.concatenate([[True], new])]
        return found


def sizes_of(gid: Words) -> tuple[Ints, Ints]:
    """First place and size of each group."""
    if not len(gid):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first = np.flatnonzero(np.concatenate([[True], gid[1:] != gid[:-1]]))
    return first, np.diff(np.append(first, len(gid)))


def counts(frame: Frame, keys: Words) -> tuple[Ints, Ints, Ints]:
    """Distinct keys in each event's window, and the places [from, to) of that window."""
    start, stop = frame.bounds()
    count = stop - start
    order = np.lexsort((keys, frame.rank))
    rank, key = frame.rank[order], keys[order]
    twins = (rank[1:] == rank[:-1]) & (key[1:] == key[:-1])
    for group in np.unique(rank[1:][twins]).tolist():
        first, last = np.searchsorted(frame.rank, [group, group + 1])
        count[first:last] = _distinct(
            keys[first:last].tolist(),
            (start[first:last] - first).tolist(),
            (stop[first:last] - first).tolist(),
        )
    return count, start, stop


def _distinct(keys: list[int], start: list[int], stop: list[int]) -> list[int]:
    """Distinct keys in windows whose bounds only move forward."""
    inside: Counter[int] = Counter()
    low = high = 0
    found = []
    for begin, end in zip(start, stop, strict=True):
        while high < end:
            inside[keys[high]] += 1
            high += 1
        while low < begin:
            inside[keys[low]] -= 1
            if not inside[keys[low]]:
                del inside[keys[low]]
            low += 1
        found.append(len(inside))
    return found


@dataclass(frozen=True, slots=True)
class Chains:
    """Ordered steps; steps next to each other are never two reports of one action.

    `starts[i]` has for each event that ends a chain of steps 0 … i the latest such chain's start.
    """

    frame: Frame
    keys: Words
    starts: list[Ints]

    def complete(self) -> Bools:
        """Events that end a whole chain within the timespan."""
        start = self.starts[-1] - self.frame.rank * (self.frame.moments + 2) - 1
        return (start >= 0) & (start >= self.frame.opens)

    def back(self, place: int) -> list[int]:
        """The chain that ends at a complete event, first step first, each as late as can be."""
        wanted = self.starts[-1][place]
        group = int(np.searchsorted(self.frame.rank, self.frame.rank[place]))
        chain = [place]
        for starts in reversed(self.starts[:-1]):
            after = chain[-1]
            fits = (starts[group:after] == wanted) & (self.keys[group:after] != self.keys[after])
            chain.append(group + int(np.flatnonzero(fits)[-1]))
        return chain[::-1]


def chains(frame: Frame, keys: Words, steps: Ints, number: int) -> Chains:
    """Follow `number` steps in order; bit i of `steps` says that the event matches step i."""
    none = frame.rank * (frame.moments + 2)
    starts = [np.where(steps & 1, none + frame.moment + 1, none)]
    for step in range(1, number):
        reached = (steps >> step) & 1 == 1
        before = _latest_of_another(starts[-1], keys, frame.rank, reached)
        starts.append(np.where(reached, np.maximum(before, none), none))
    return Chains(frame, keys, starts)


def _latest_of_another(starts: Ints, keys: Words, rank: Ints, asked: Bools) -> Ints:
    """For each event the largest start before it, of an event that is another action's."""
    best = np.zeros_like(starts)
    np.maximum.accumulate(starts[:-1], out=best[1:])
    # Where the best so far was reached, and by which action.
    rises = np.flatnonzero(np.concatenate([[True], starts[1:] > best[1:]]))
    holder = rises[np.searchsorted(rises, np.arange(len(starts)), side="left") - 1]
    own = asked & (keys[holder] == keys) & (rank[holder] == rank)
    own[:1] = False
    for place in np.flatnonzero(own).tolist():
        group = int(np.searchsorted(rank, rank[place]))
        others = starts[group:place][keys[group:place] != keys[place]]
        best[place] = others.max() if len(others) else 0
    return best
