"""How chains of ordered steps run through a stretch of events.

For each node of the rule's graph and each event that can stand for it, the latest start of a chain
up to there is found: of all chains that end at an event only the latest start matters. Two events
next to each other in a chain are never two reports of one action.
"""

from dataclasses import dataclass

import numpy as np

from tachograph.detectors.correlation.arrays import Bools, Ints, firsts, spans
from tachograph.detectors.correlation.blocks import Blocks
from tachograph.detectors.correlation.nodes import Graph
from tachograph.detectors.correlation.stretch import LONG_AGO, Stretch


def group_kinds(graph: Graph) -> dict[str, tuple[str, int]]:
    """What is kept of a group for each node: the latest start of a chain that the node can go on
    with (counted from LONG_AGO, so that 0 is none), and which action holds it. For a node that
    begins a chain: when something last was that must not come before it.
    """
    width = len(graph.nodes)
    return {
        "start": ("<i8", width),
        "holder_twin": ("<u8", width),
        "holder_origin": ("<u8", width),
    }


@dataclass(frozen=True, slots=True)
class Running:
    """The largest value since a segment began: at each event, and before it."""

    value: Ints
    before: Ints
    # Which event has it, and where the segment of each event began.
    holder: Ints
    began: Ints


class Course:
    """One stretch, one group after the other. Times are numbered from 1 in order; 0 is no time.

    `starts`: by node the latest start of a chain that ends at each event. `doubtful`: groups for
    which what was kept of them does not tell.
    """

    def __init__(self, graph: Graph, blocks: Blocks, stretch: Stretch) -> None:
        self.graph = graph
        self.stretch = stretch
        rows, self._groups = blocks.rows, blocks.groups
        laid = spans(stretch.begin, stretch.end)
        self.places, self.owner = laid.places, laid.owner
        # Groups that have events here, by their place in the stretch; their first and last event.
        self.group = np.flatnonzero(stretch.end > stretch.begin)
        self.first = laid.starts[self.group]
        sizes = (stretch.end - stretch.begin)[self.group]
        self.last = self.first + sizes - 1
        self._begin = np.repeat(self.first, sizes)
        self.blind = rows["blind"][laid.places]
        self._steps = np.where(self.blind, 0, rows["steps"][laid.places])
        self._twin, self._origin = rows["twin"][laid.places], rows["origin"][laid.places]
        time = rows["time"][laid.places]
        known = self._groups["start"][stretch.slots] + LONG_AGO
        if stretch.fresh:
            known = np.full_like(known, LONG_AGO)
        self.times = np.unique(np.concatenate([[LONG_AGO], known.ravel(), time]))
        self.moment = np.searchsorted(self.times, time)
        self._known = np.searchsorted(self.times, known)
        self.doubtful = np.zeros(len(stretch.slots), np.bool_)
        if stretch.fresh and stretch.keep:
            self._groups["start"][stretch.slots] = 0
        self.starts: list[Ints] = []
        for at, node in enumerate(graph.nodes):
            self.starts.append(self._following(at) if node.after else self._beginning(at))

    def has(self, steps: int, rows: slice = slice(None)) -> Bools:
        """Events of any of these steps, given as bits; of all or of these rows."""
        found: Bools = (self._steps[rows] & steps) != 0
        return found

    def opens(self, rows: slice = slice(None)) -> Ints:
        """When the window of each event opens; of all or of these rows."""
        found: Ints = self.times[self.moment[rows]] - self.stretch.span_us
        return found

    def one_action(self, rows: slice, row: int) -> Bools:
        """Which events report the same action as the one at `row`, from another source."""
        found: Bools = (self._twin[rows] == self._twin[row]) & (self._twin[row] != 0)
        found &= self._origin[rows] != self._origin[row]
        return found

    def _beginning(self, at: int) -> Ints:
        node = self.graph.nodes[at]
        begins = self.has(1 << node.step)
        if node.without:
            bad = self.has(node.without)
            running = self._running(np.where(bad, self.moment, 0), firsts(self.owner))
            newest = np.maximum(running.before, self._known[self.owner, at])
            begins &= self.times[newest] <= self.opens()
            last = np.maximum(running.value[self.last], self._known[self.group, at])
            self._keep(at, last, np.full(len(last), -1))
        return np.where(begins, self.moment, 0)

    def _following(self, at: int) -> Ints:
        node = self.graph.nodes[at]
        source = self.starts[node.after[0]]
        for other in node.after[1:]:
            source = np.maximum(source, self.starts[other])
        bad = self.has(node.without)
        running = self._running(source, firsts(self.owner) | bad)
        # What a group brings counts until something comes that must not.
        past: Ints = np.cumsum(bad) - bad
        good: Bools = past == past[self._begin]
        brought = np.where(good, self._known[self.owner, at], 0)
        asked = self.has(1 << node.step)
        before = np.maximum(running.before, brought)
        self._settle(at, source, running, np.where(asked, brought, 0), before)
        still = good[self.last] & ~bad[self.last]
        brought = np.where(still, self._known[self.group, at], 0)
        own = running.value[self.last]
        self._keep(
            at, np.maximum(own, brought), np.where(own >= brought, running.holder[self.last], -1)
        )
        return np.where(asked, before, 0)

    def _settle(self, at: int, source: Ints, running: Running, brought: Ints, before: Ints) -> None:
        """Where the latest start is held by a report of the very action that is to come next, the
        latest of another action takes its place in `before`.
        """
        asked = self.has(1 << self.graph.nodes[at].step)
        rows = np.flatnonzero(asked & (self._twin != 0) & (before > 0))
        if not len(rows):
            return
        of_old = brought[rows] > running.before[rows]
        holder = running.holder[np.maximum(rows - 1, 0)]
        group = self.stretch.slots[self.owner[rows]]
        old_twin = self._groups["holder_twin"][group, at]
        old_origin = self._groups["holder_origin"][group, at]
        twin = np.where(of_old, old_twin, self._twin[holder])
        origin = np.where(of_old, old_origin, self._origin[holder])
        same = (twin == self._twin[rows]) & (origin != self._origin[rows])
        alike = (old_twin == self._twin[rows]) & (old_origin != self._origin[rows])
        for number in np.flatnonzero(same).tolist():
            row = int(rows[number])
            window = slice(int(running.began[row - 1]), row) if not of_old[number] else slice(0, 0)
            best = int(source[window][~self.one_action(window, row)].max(initial=0))
            if brought[row] > best:
                # Whether the group brings others than the one that is kept is not known.
                self.doubtful[self.owner[row]] |= alike[number]
                best = int(brought[row])
            before[row] = best

    def _running(self, values: Ints, begins: Bools) -> Running:
        """`begins`: events at which a segment begins. Before an event the segment of the event
        before it counts, if that is of the same group.
        """
        segment = np.cumsum(begins)
        place = np.arange(len(values))
        coded = segment * len(self.times) + values
        largest = np.maximum.accumulate(coded)
        rises = np.ones(len(values), np.bool_)
        rises[1:] = coded[1:] > largest[:-1]
        value = largest - segment * len(self.times)
        before = np.zeros(len(values), np.int64)
        before[1:] = value[:-1]
        before[self.first] = 0
        return Running(
            value=value,
            before=before,
            holder=np.maximum.accumulate(np.where(rises, place, 0)),
            began=np.maximum.accumulate(np.where(begins, place, 0)),
        )

    def _keep(self, at: int, start: Ints, holder: Ints) -> None:
        """Remember a node's start; `holder`: the event that has it, −1: as before."""
        if not self.stretch.keep:
            return
        slots, groups = self.stretch.slots[self.group], self._groups
        groups["start"][slots, at] = self.times[start] - LONG_AGO
        new = holder >= 0
        groups["holder_twin"][slots[new], at] = self._twin[holder[new]]
        groups["holder_origin"][slots[new], at] = self._origin[holder[new]]
