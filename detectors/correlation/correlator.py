"""One correlation over one place: takes matching events, says what changed.

What stands is a function of the set of events taken; what was said last is remembered, and only the
difference goes out. Events that come after all that their group has are judged from where the group
was left; where one comes out of order, leaves or is late, the group is judged afresh from there.
"""

import msgspec
import numpy as np

from tachograph.detectors.correlation.arrays import Ints
from tachograph.detectors.correlation.blocks import Columns
from tachograph.detectors.correlation.lacking import Lacking, needed, stacked
from tachograph.detectors.correlation.memory import Memory, MemoryState, Touched
from tachograph.detectors.correlation.reports import Fired, Reports, Voice
from tachograph.detectors.correlation.said import Live
from tachograph.detectors.correlation.stretch import FOREVER, LONG_AGO, Stretch, Sweep
from tachograph.detectors.limits import Limits

_NONE = np.empty(0, np.int64)


class CorrelatorState(msgspec.Struct, frozen=True, array_like=True):
    """A correlator as it is dumped."""

    memory: MemoryState
    said: dict[int, dict[int, Live]]
    # What only one kind of rule keeps.
    extra: bytes = b""


class Correlator:
    """Sliding windows of one rule. A rule that is `closed` judges an event when nothing before it
    can come any more, others at once.
    """

    def __init__(self, voice: Voice, sweep: Sweep, limits: Limits) -> None:
        self.rule = voice.rule
        self.voice = voice
        self.memory = Memory(limits, sweep.row_kinds, sweep.group_kinds)
        self._sweep = sweep
        self._lacking = Lacking(needed(self.rule))
        self._span_us = self.rule.timespan_us
        self._reports = Reports(
            voice,
            self.memory,
            lambda crossings: sweep.bases(self.memory.blocks, crossings, self._span_us),
            limits.signals_per_rule,
            back_us=self._span_us * sweep.reach,
        )
        # What the condition says of events before this time, no event to come can change.
        self._floor_us = LONG_AGO
        self._tidied_us = LONG_AGO

    def process(
        self, columns: Columns, revision: int, *, gone: Columns | None = None
    ) -> list[Fired]:
        """Take in events, let go of others; what changed.

        `columns`: those of Blocks' rows, and gid; of `gone` gid, time and id are enough.
        """
        columns = self.memory.useful(columns, self._horizon())
        if gone is not None:
            # What goes has to be found.
            self._lacking.note(columns)
            self.settle()
        elif self._lacking.keep(columns):
            return []
        columns = stacked([*self._lacking.take(), columns])
        left = self.memory.let_go(gone) if gone is not None else None
        return self._take(columns, left, revision)

    def settle(self) -> None:
        """Take in what waits: nothing comes of it."""
        if waiting := self._lacking.take():
            self._take(stacked(waiting), None, 0)
        self._lacking.forget(self.memory.blocks)

    def _take(self, columns: Columns, left: Touched | None, revision: int) -> list[Fired]:
        came = None
        if len(columns["gid"]):
            came = self.memory.take(columns)
            over = self.memory.hold(came.slots)
            came = msgspec.structs.replace(came, in_order=came.in_order & ~over)
        fired = self._judge(came, left, revision)
        if self.memory.trim():
            self._sweep.forget(self.memory.blocks)
        return fired

    def _judge(self, came: Touched | None, left: Touched | None, revision: int) -> list[Fired]:
        afresh, since = (left.slots, left.since_us) if left is not None else (_NONE, _NONE)
        fired: list[Fired] = []
        if came is not None:
            quick = came.in_order & ~np.isin(came.slots, afresh)
            slow = ~quick
            if not self.rule.closed and quick.any():
                fired, doubtful = self._go_on(came.slots[quick], came.count[quick], revision)
                slow[np.flatnonzero(quick)[doubtful]] = True
            afresh = np.concatenate([afresh, came.slots[slow]])
            since = np.concatenate([since, came.since_us[slow]])
        if len(afresh):
            fired += self._again(afresh, since, revision, anew=left is not None)
        return fired

    def _go_on(self, slots: Ints, count: Ints, revision: int) -> tuple[list[Fired], Ints]:
        """Judge the events at the end of groups, so many of each, from where each was left; and
        which groups cannot be judged so.
        """
        end = self.memory.blocks.bounds(slots)[1]
        stretch = Stretch(slots, end - count, end, end - count, self._span_us, fresh=False)
        held = self._sweep.run(self.memory.blocks, stretch)
        return self._reports.first(slots, held, revision), held.doubtful

    def _again(self, slots: Ints, since_us: Ints, revision: int, *, anew: bool) -> list[Fired]:
        """Judge groups afresh, each from a time on; what differs from what was said."""
        slots, owner = np.unique(slots, return_inverse=True)
        since = np.full(len(slots), FOREVER)
        np.minimum.at(since, owner, since_us)
        limit = self._floor_us if self.rule.closed else FOREVER
        since -= self._sweep.ahead * self._span_us
        judged = since < limit
        slots, since = slots[judged], np.maximum(since[judged], self._opened_us())
        blocks = self.memory.blocks
        begin = blocks.since(slots, since - self._sweep.reach * self._span_us, after=True)
        end = blocks.since(slots, np.full(len(slots), limit))
        asked = blocks.since(slots, since)
        begin = np.minimum(begin, asked)
        held = self._sweep.run(blocks, Stretch(slots, begin, end, asked, self._span_us, fresh=True))
        blocks.groups["stale"][slots] = False
        blocks.groups["judged"][slots] = blocks.ordinal(slots, end)
        return self._reports.difference(slots, since, held, revision, anew=anew)

    def advance(self, floor_us: int, revision: int) -> list[Fired]:
        """Nothing before this time can come any more: say what had to wait for that, and forget."""
        floor_us -= self._sweep.ahead * self._span_us
        if floor_us <= self._floor_us:
            return []
        if self._lacking.oldest_us < floor_us:
            self.settle()
        fired = self._close(floor_us, revision) if self.rule.closed else []
        self._floor_us = self._reports.floor_us = floor_us
        self._reports.said.close(floor_us // self._span_us)
        if self._horizon() - self._tidied_us >= self._span_us // 2:
            self._tidy()
        return fired

    def _close(self, floor_us: int, revision: int) -> list[Fired]:
        """Judge the events before this time that were not judged yet."""
        blocks, groups = self.memory.blocks, self.memory.blocks.groups
        slots = np.flatnonzero(groups["waits"][: blocks.top] & (groups["size"][: blocks.top] > 0))
        begin = np.maximum(blocks.place(slots, groups["judged"][slots]), blocks.bounds(slots)[0])
        end = blocks.since(slots, np.full(len(slots), floor_us))
        groups["waits"][slots] = end < blocks.bounds(slots)[1]
        some = end > begin
        slots, begin, end = slots[some], begin[some], end[some]
        stale = groups["stale"][slots]
        quick, slow = np.flatnonzero(~stale), np.flatnonzero(stale)
        fired: list[Fired] = []
        if len(quick):
            of = slots[quick]
            stretch = Stretch(
                of, begin[quick], end[quick], begin[quick], self._span_us, fresh=False
            )
            held = self._sweep.run(blocks, stretch)
            fired += self._reports.first(of, held, revision)
            slow = np.concatenate([slow, quick[held.doubtful]])
        if len(slow):
            of = slots[slow]
            reach = blocks.rows["time"][begin[slow]] - self._sweep.reach * self._span_us
            start = np.minimum(blocks.since(of, reach, after=True), begin[slow])
            stretch = Stretch(of, start, end[slow], begin[slow], self._span_us, fresh=True)
            fired += self._reports.first(of, self._sweep.run(blocks, stretch), revision)
        groups["judged"][slots] = blocks.ordinal(slots, end)
        groups["stale"][slots] = False
        return fired

    def _opened_us(self) -> int:
        """Begin of the oldest bucket that can still change."""
        return max(self._floor_us // self._span_us * self._span_us, LONG_AGO)

    def _horizon(self) -> int:
        """Oldest event that matters to a bucket which can still change."""
        return self._opened_us() - self._sweep.reach * self._span_us

    def _tidy(self) -> None:
        """Forget what is too old to matter."""
        self._tidied_us = self._horizon()
        blocks = self.memory.blocks
        slots, until = self.memory.expired(self._tidied_us)
        blocks.groups["stale"][slots] |= self._sweep.needs(blocks, slots, until)
        blocks.drop(slots, until)
        self.memory.sweep(self._tidied_us)
        self._sweep.forget(blocks)

    def state(self) -> CorrelatorState:
        self.settle()
        return CorrelatorState(self.memory.state(), self._reports.said.state())

    def restore(self, state: CorrelatorState, floor_us: int | None) -> None:
        """Take up a dump, made when nothing before `floor_us` could come any more."""
        floor = LONG_AGO
        if floor_us is not None:
            floor = floor_us - self._sweep.ahead * self._span_us
        self._floor_us = self._reports.floor_us = floor
        self._reports.said.restore(state.said)
        self.memory.restore(state.memory)
        blocks = self.memory.blocks
        slots = blocks.used()
        self._lacking.take()
        self._lacking.forget(blocks, all_of_it=True)
        judged = blocks.since(slots, np.full(len(slots), floor))
        blocks.groups["judged"][slots] = blocks.ordinal(slots, judged)
