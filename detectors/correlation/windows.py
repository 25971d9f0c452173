"""Windows that do not slide: every event is in one, and it is judged as a whole when it is over.

Tumbling windows are aligned to the epoch. A session ends when nothing happens for longer than the
gap, or with the last event within the timespan of its first.
"""

from typing import NamedTuple

import numpy as np

from tachograph.detectors.correlation.arrays import Bools, Ints, firsts, lasts, spans
from tachograph.detectors.correlation.blocks import Columns
from tachograph.detectors.correlation.correlator import CorrelatorState
from tachograph.detectors.correlation.evidence import Crossings
from tachograph.detectors.correlation.memory import Memory
from tachograph.detectors.correlation.reports import Fired, Reports, Voice
from tachograph.detectors.correlation.stretch import FOREVER, LONG_AGO, Sweep
from tachograph.detectors.limits import Limits


class _Windows(NamedTuple):
    """Windows of groups: whose, the places of their first and last event, and whether they are
    over.
    """

    owner: Ints
    first: Ints
    last: Ints
    over: Bools


class WholeWindows:
    """Tumbling and session windows of one rule (a Judge). What was said stands."""

    def __init__(self, voice: Voice, sweep: Sweep, limits: Limits) -> None:
        self.rule = voice.rule
        self.voice = voice
        self.memory = Memory(limits, sweep.row_kinds, sweep.group_kinds)
        self._sweep = sweep
        self._span_us, self._gap_us = self.rule.timespan_us, self.rule.gap_us
        self._reports = Reports(
            voice,
            self.memory,
            lambda crossings: sweep.bases(self.memory.blocks, crossings, FOREVER),
            limits.signals_per_rule,
            back_us=0,
        )
        self._floor_us = LONG_AGO
        self._tidied_us = LONG_AGO

    def process(
        self,
        columns: Columns,
        revision: int,  # noqa: ARG002
        *,
        gone: Columns | None = None,
    ) -> list[Fired]:
        """See Judge: nothing is said before a window is over."""
        if gone is not None:
            self.memory.let_go(gone, judged=False)
        columns = self.memory.useful(columns, self._oldest_us())
        if len(columns["gid"]):
            groups = self.memory.blocks.groups
            known = self.memory.blocks.find(columns["gid"])
            closed = np.where(known >= 0, groups["closed"][known] + LONG_AGO, LONG_AGO)
            over = columns["time"] <= closed
            if over.any():
                columns = {name: values[~over] for name, values in columns.items()}
        if len(columns["gid"]):
            self._take(columns)
        return []

    def _take(self, columns: Columns) -> None:
        blocks = self.memory.blocks
        waited = blocks.find(columns["gid"])
        waited = np.unique(waited[waited >= 0])
        waited = waited[blocks.groups["waits"][waited]]
        came = self.memory.take(columns)
        self.memory.hold(came.slots)
        groups = self.memory.blocks.groups
        due = self._due(came.since_us, came.since_us) - LONG_AGO
        known = np.isin(came.slots, waited)
        groups["due"][came.slots] = np.where(known, np.minimum(groups["due"][came.slots], due), due)
        self.memory.trim()

    def _due(self, first_us: Ints, last_us: Ints) -> Ints:
        """When a window with these first and last events is over: after this time."""
        if self.rule.window == "tumbling":
            return (first_us // self._span_us + 1) * self._span_us - 1
        return np.minimum(last_us + self._gap_us, first_us + self._span_us)

    def _oldest_us(self) -> int:
        """Begin of the oldest window that may not be over."""
        if self.rule.window == "tumbling":
            return max(self._floor_us // self._span_us * self._span_us, LONG_AGO)
        return self._floor_us - self._span_us

    def settle(self) -> None:
        """See Judge: nothing waits."""

    def advance(self, floor_us: int, revision: int) -> list[Fired]:
        """See Judge."""
        if floor_us <= self._floor_us:
            return []
        blocks, groups = self.memory.blocks, self.memory.blocks.groups
        due = groups["due"][: blocks.top] + LONG_AGO < floor_us
        slots = np.flatnonzero(groups["waits"][: blocks.top] & due)
        self._floor_us = floor_us
        fired = self._close(slots, revision) if len(slots) else []
        if floor_us - self._tidied_us >= self._span_us // 2:
            self._tidy()
        return fired

    def _close(self, slots: Ints, revision: int) -> list[Fired]:
        """Judge the windows of groups that are over."""
        blocks, groups = self.memory.blocks, self.memory.blocks.groups
        begin = np.maximum(blocks.place(slots, groups["judged"][slots]), blocks.bounds(slots)[0])
        end = blocks.since(slots, np.full(len(slots), self._floor_us))
        found = self._windows(begin, end)
        fired = self._judge(slots, found, revision)
        self._move_on(slots, end, found)
        return fired

    def _windows(self, begin: Ints, end: Ints) -> _Windows:
        """The windows that timely events at places [begin, end) of groups are in."""
        rows = self.memory.blocks.rows
        laid = spans(begin, end)
        timely = np.flatnonzero(~rows["blind"][laid.places])
        owner, places = laid.owner[timely], laid.places[timely]
        time = rows["time"][places]
        first = np.flatnonzero(self._begins(owner, time))
        last = lasts(first, len(owner))
        over = self._due(time[first], time[last]) < self._floor_us
        # Only the last window of a group may go on.
        over[:-1] |= owner[first[1:]] == owner[first[:-1]]
        return _Windows(owner[first], places[first], places[last], over)

    def _begins(self, owner: Ints, time: Ints) -> Bools:
        """Events that begin a window."""
        if self.rule.window == "tumbling":
            return firsts(owner, time // self._span_us)
        begins = firsts(owner)
        begins[1:] |= time[1:] - time[:-1] > self._gap_us
        first = np.flatnonzero(begins)
        last = lasts(first, len(owner))
        long = time[last] - time[first] > self._span_us
        for start, stop in zip(first[long].tolist(), last[long].tolist(), strict=True):
            at = start
            while time[stop] - time[at] > self._span_us:
                reach = np.searchsorted(time[at : stop + 1], time[at] + self._span_us, "right")
                at += int(reach)
                begins[at] = True
        return begins

    def _judge(self, slots: Ints, found: _Windows, revision: int) -> list[Fired]:
        """Judge the windows that are over."""
        over = found.over
        if not over.any():
            return []
        blocks = self.memory.blocks
        slots, begin, end = slots[found.owner[over]], found.first[over], found.last[over] + 1
        held = self._sweep.whole(blocks, slots, begin, end)
        of = slots[held.group]
        start = blocks.rows["time"][begin[held.group]]
        tumbling = self.rule.window == "tumbling"
        crossings = Crossings(
            of,
            blocks.groups["gid"][of].tolist(),
            (start // self._span_us if tumbling else start).tolist(),
            held.place,
            begin[held.group],
            end[held.group],
            # An event that was forgotten may have begun the window.
            (start // self._span_us * self._span_us if tumbling else start - self._gap_us).tolist(),
        )
        return self._reports.once(crossings, revision)

    def _move_on(self, slots: Ints, end: Ints, found: _Windows) -> None:
        """Note what is judged, and when the next window of each group may be over."""
        blocks, groups = self.memory.blocks, self.memory.blocks.groups
        time, over = blocks.rows["time"], found.over
        closed = np.full(len(slots), LONG_AGO)
        closed[found.owner[over]] = time[found.last[over]]
        groups["closed"][slots] = np.maximum(groups["closed"][slots], closed - LONG_AGO)
        judged, newest = end.copy(), end.copy()
        judged[found.owner[~over]] = found.first[~over]
        newest[found.owner[~over]] = found.last[~over]
        groups["judged"][slots] = blocks.ordinal(slots, judged)
        left = judged < blocks.bounds(slots)[1]
        groups["waits"][slots] = left
        due = self._due(time[judged[left]], time[newest[left]])
        groups["due"][slots[left]] = due - LONG_AGO

    def _tidy(self) -> None:
        """Forget what is judged."""
        self._tidied_us = self._floor_us
        blocks, groups = self.memory.blocks, self.memory.blocks.groups
        slots = blocks.used()
        begin, end = blocks.bounds(slots)
        until = np.clip(blocks.place(slots, groups["judged"][slots]), begin, end)
        blocks.drop(slots, until)
        self.memory.sweep(self._oldest_us())
        self._sweep.forget(blocks)

    def state(self) -> CorrelatorState:
        self._tidy()
        return CorrelatorState(self.memory.state(), {})

    def restore(self, state: CorrelatorState, floor_us: int | None) -> None:
        """Take up a dump."""
        self._floor_us = LONG_AGO if floor_us is None else floor_us
        self.memory.restore(state.memory)
