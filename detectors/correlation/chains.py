"""Ordered steps: where a chain of events ends that began within the timespan, and which events it
has.
"""

from collections.abc import Sequence

import numpy as np

from tachograph.detectors.correlation.arrays import Bools, Ints, firsts
from tachograph.detectors.correlation.blocks import Blocks
from tachograph.detectors.correlation.course import Course, group_kinds
from tachograph.detectors.correlation.evidence import Basis, Crossings, late, windows
from tachograph.detectors.correlation.nodes import Graph
from tachograph.detectors.correlation.stretch import FOREVER, NO_GROUPS, Held, Stretch
from tachograph.detectors.language.bounds import satisfies


class Chains:
    """Goes over stretches (a Sweep)."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.row_kinds: dict[str, tuple[str, int]] = {}
        self.group_kinds = group_kinds(graph)
        # What must not come before a chain begins may be a timespan before that.
        self.reach = 2 if any(node.without and not node.after for node in graph.nodes) else 1
        longest = max(node.length for node in graph.nodes)
        self.ahead = 0
        self._wanted = [n for n in range(1, longest + 1) if satisfies(graph.bounds, n)]

    def run(self, blocks: Blocks, stretch: Stretch) -> Held:
        """See Sweep."""
        course = Course(self.graph, blocks, stretch)
        asked = (course.places >= stretch.since[course.owner]) & ~course.blind
        asked &= ~course.doubtful[course.owner]
        at = np.flatnonzero(self._holds(course) & asked)
        owner, places = course.owner[at], course.places[at]
        opens = blocks.since(stretch.slots[owner], course.opens()[at], after=True)
        # With all that is of the same moment.
        ends = blocks.since(stretch.slots[owner], blocks.rows["time"][places], after=True)
        return Held(owner, places, opens, ends, np.flatnonzero(course.doubtful))

    def whole(self, blocks: Blocks, slots: Ints, begin: Ints, end: Ints) -> Held:
        """See Sweep: a chain anywhere in the window, or how long the longest is."""
        stretch = Stretch(slots, begin, end, begin, FOREVER, fresh=True, keep=False)
        course = Course(self.graph, blocks, stretch)
        if self.graph.bounds:
            length = self._lengths(course)
            longest = np.maximum.reduceat(length, course.first)
            wanted = np.isin(longest, self._wanted)
            size = course.last - course.first + 1
            found = (length == np.repeat(longest, size)) & np.repeat(wanted, size) & ~course.blind
        else:
            found = self._holds(course) & ~course.blind
        at = np.flatnonzero(found)
        at = at[firsts(course.owner[at])]
        owner = course.owner[at]
        return Held(owner, course.places[at], begin[owner], end[owner], NO_GROUPS)

    def bases(self, blocks: Blocks, crossings: Crossings, span_us: int) -> list[Basis]:
        """See Sweep."""
        chains = self._chains(blocks, crossings, span_us)
        return [
            Basis(chain, len(chain), len(chain), late(blocks.rows, window))
            for chain, window in zip(chains, windows(crossings), strict=True)
        ]

    def needs(self, blocks: Blocks, slots: Ints, until: Ints) -> Bools:  # noqa: ARG002
        """See Sweep: starts are known by their times."""
        return np.zeros(len(slots), np.bool_)

    def forget(self, blocks: Blocks) -> None:
        """See Sweep: nothing is remembered outside of Blocks."""

    def _holds(self, course: Course) -> Bools:
        """Events at which a chain ends that is what is asked for."""
        if self.graph.bounds:
            return np.isin(self._lengths(course), self._wanted)
        found = np.zeros(len(course.places), np.bool_)
        for node in self.graph.ends:
            found |= course.times[course.starts[node]] > course.opens()
        return found

    def _lengths(self, course: Course) -> Ints:
        """How many events the longest chain has that ends at each event."""
        length = np.zeros(len(course.places), np.int64)
        for start, node in zip(course.starts, self.graph.nodes, strict=True):
            whole = course.times[start] > course.opens()
            length[whole] = np.maximum(length[whole], node.length)
        return length

    def _chains(self, blocks: Blocks, crossings: Crossings, span_us: int) -> list[list[int]]:
        """Places of the chain that ends at each of these events, first one first: it begins as late
        as can be, and each event of it, from the end, is as late as can be.
        """
        slots, places, begin = crossings.slot, crossings.place, crossings.opens
        if span_us < FOREVER:
            time = blocks.rows["time"][places]
            begin = blocks.since(slots, time - self.reach * span_us, after=True)
        stretch = Stretch(slots, begin, places + 1, places, span_us, fresh=True, keep=False)
        course = Course(self.graph, blocks, stretch)
        return [self._back(course, at) for at in range(len(places))]

    def _back(self, course: Course, at: int) -> list[int]:
        """The chain that ends at the last event of one group."""
        first, row = int(course.first[at]), int(course.last[at])
        opens = int(course.opens(slice(row, row + 1))[0])
        nodes, starts = self.graph.nodes, course.starts
        whole = [node for node in self.graph.ends if course.times[starts[node][row]] > opens]
        if self.graph.bounds:
            longest = max(nodes[node].length for node in whole)
            whole = [node for node in whole if nodes[node].length == longest]
        wanted, chain = max(int(starts[node][row]) for node in whole), [row]
        # Ways that are alike so far go on together: one of them may have a later event before.
        ways = [node for node in whole if starts[node][row] == wanted]
        while any(nodes[node].after for node in ways):
            row, ways = self._before(course, ways, wanted, slice(first, row))
            chain.append(row)
        found: list[int] = course.places[chain[::-1]].tolist()
        return found

    def _before(
        self, course: Course, ways: Sequence[int], wanted: int, earlier: slice
    ) -> tuple[int, list[int]]:
        """The latest of some events, and its nodes, that a chain which began at the wanted time and
        goes on with any of these nodes at the event after them can have.
        """
        row, found = -1, set[int]()
        for node in ways:
            begin, without = earlier.start, self.graph.nodes[node].without
            if without:
                bad = np.flatnonzero(course.has(without, earlier))
                begin += int(bad[-1]) if len(bad) else 0
            window = slice(begin, earlier.stop)
            other = ~course.one_action(window, earlier.stop)
            for after in self.graph.nodes[node].after:
                (fits,) = ((course.starts[after][window] == wanted) & other).nonzero()
                last = begin + int(fits[-1]) if len(fits) else -1
                if last > row:
                    row, found = last, {after}
                elif last == row >= 0:
                    found.add(after)
        return row, sorted(found)
