"""Behaviour in one partition: what agents do in windows of event time, against what they did
before, and persons against what a hand can do.

Windows are judged once, when ticks say that nothing of them can come any more; so what is said is
a function of the set of actions, whatever their order and batches. Nothing is revised.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour import hands
from tachograph.detectors.behaviour.agents import (
    NOBODY,
    Agents,
    AgentsState,
    BySlot,
    Identity,
    moved,
)
from tachograph.detectors.behaviour.baselines import EPOCH_PANES, WARM, Baselines, BaselinesState
from tachograph.detectors.behaviour.calibration import Calibration, shipped
from tachograph.detectors.behaviour.closed import Closed, Judged, closed_of
from tachograph.detectors.behaviour.company import told_now, unknown_now
from tachograph.detectors.behaviour.course import Course, CourseState
from tachograph.detectors.behaviour.crossing import CLOCK, HAND, Crossing, crossings_of
from tachograph.detectors.behaviour.crowd import risen_now
from tachograph.detectors.behaviour.daily import Daily, DailyState
from tachograph.detectors.behaviour.features import ADDED_UP, PANE_US, SCALES
from tachograph.detectors.behaviour.measures import (
    NO_SCORE,
    Sent,
    added_scores_of,
    count_new,
    free_bits,
    scores_of,
    used_by_several,
)
from tachograph.detectors.behaviour.meeting import Meeting, MeetingState
from tachograph.detectors.behaviour.met import Met, MetState
from tachograph.detectors.behaviour.models import NO_MODELS, Models
from tachograph.detectors.behaviour.observed import observed
from tachograph.detectors.behaviour.parts import Parts, of_parts
from tachograph.detectors.behaviour.peers import PeerGroups, PeersState
from tachograph.detectors.behaviour.pending import Pending, windows_over
from tachograph.detectors.behaviour.rows import KEY, UNLINKED, measured_rows, merged, panes_of
from tachograph.detectors.behaviour.saying import Saying
from tachograph.detectors.behaviour.shared import Sender, SenderState, received
from tachograph.detectors.behaviour.swarm import may_be_part
from tachograph.detectors.behaviour.unlike import unlike_honest
from tachograph.detectors.behaviour.waiting import Waiting
from tachograph.detectors.correlation.bank import END_US, Outcome
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked, Trace
from tachograph.schemas.alert import Signal
from tachograph.schemas.behaviour import AGENT, PERSON

FORMAT: Final = 11
# Rows of base panes that are judged in one go.
_STEP_ROWS: Final = 50_000

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


class _State(msgspec.Struct, frozen=True, array_like=True):
    format: int
    agents: AgentsState
    pending: list[bytes]
    baselines: BaselinesState
    met: MetState
    said: bytes
    closed: int | None
    epoch: int | None
    course: CourseState
    sender: SenderState
    meeting: MeetingState
    peers: PeersState
    daily: DailyState
    parts: dict[str, bytes]


class Behaviour:
    """Judges one partition. Not thread-safe, no I/O, no clock."""

    def __init__(
        self, *, limits: Limits | None = None, calibration: Calibration | None = None,
        bars: Ints | None = None, listener: Callable[[Judged], None] | None = None,
        shared: bool = False, part: str = "",
    ) -> None:  # fmt: skip
        """`bars`: the scores from which windows are out of line, (judgements, features); None: by
        the calibration and the usual budget. `listener` hears of every window of an agent, with its
        scores less what its bars are higher.
        `shared`: it judges principals and credentials, by what `take` is given of all places.
        `part`: it measures sessions or instances, and says nothing itself.
        """
        limits = limits or Limits()
        self.calibration = calibration or shipped()
        self._bars = self.calibration.bars() if bars is None else bars
        self._listener = listener
        # They judge, and change nothing of what is known.
        self.models: Models = NO_MODELS
        self._lateness_us = limits.allowed_lateness_us
        self._agents = Agents(limits.behaviour_agents)
        most = limits.behaviour_windows
        self._pending = [Pending(most, UNLINKED, replaces=shared)]
        self._pending += [Pending(most) for _ in SCALES[1:]]
        # What is shared is sent by the minute.
        self._shared, self._first_scale = shared, int(shared)
        self._sender = Sender(limits)
        self._waiting = Waiting()
        self._meeting = Meeting(self.calibration, self._bars, limits)
        self._sending: list[pl.DataFrame] = []
        self._baselines = Baselines(self.calibration)
        self._peers = PeerGroups()
        self._met = Met()
        self._daily = Daily()
        self._saying = Saying(self.calibration)
        # Base panes before this one are closed; the epoch that is being learned.
        self._closed: int | None = None
        self._epoch: int | None = None
        self._passed_over = 0
        self._course = Course()
        # Whether rules ask for what is measured, what is to be told of it, and the rows for them.
        self.asked = False
        self._to_tell: dict[str, list[Judged]] = {}
        # What this judges is part of agents: sessions or instances; "": it judges agents.
        self._part = part
        self._parts = Parts(lambda name: self._part_of(name, limits))
        self._speaks = not part
        # Whether what is shared goes to where all of it meets.
        self.sends = not (part or shared)
        self._observed: list[pl.DataFrame] = []

    @property
    def speaks(self) -> bool:
        """Whether it says anything itself."""
        return self._speaks

    @speaks.setter
    def speaks(self, speaks: bool) -> None:
        # What waits came while it spoke, or while it did not.
        self._measure()
        self._speaks, self.sends = speaks, speaks and not self._shared

    @property
    def gathers(self) -> bool:
        """Whether who is out of line is said where all of a tenant meet, beside the others (see
        crowd), and not here.
        """
        return self._saying.gathers

    @gathers.setter
    def gathers(self, gathers: bool) -> None:
        self._saying.gathers = gathers

    def _part_of(self, part: str, limits: Limits) -> "Behaviour":
        limits = of_parts(limits)
        one = Behaviour(limits=limits, calibration=self.calibration, bars=self._bars, part=part)
        one.asked = True
        return one

    def measure_parts(self, parts: frozenset[str]) -> None:
        """Which parts of agents are measured from now on, too: sessions, instances."""
        self._measure()
        self._parts.ask(parts)

    def judge(self, actions: pl.DataFrame, revision: int) -> Outcome:
        """See Detector. Nothing is said before a window is over."""
        del revision
        self._waiting.add(actions)
        if self._waiting.full:
            self._measure()
        return Outcome()

    def _measure(self, before: int | None = None) -> None:
        """Count the actions that wait. `before`: if some may belong to a base pane before this."""
        actions = self._waiting.take(before)
        if actions is None:
            return
        rows = measured_rows(actions)
        if self._closed is not None and not rows.is_empty():
            timely = rows.filter(pl.col("window") >= self._closed)
            self._passed_over += rows.height - timely.height
            rows = timely
        if not rows.is_empty():
            self.count(rows)
            self._parts.count(rows)
            if self.sends:
                self._sender.add(rows)

    def count(self, rows: pl.DataFrame) -> None:
        """Take measured rows in."""
        placed = rows.with_columns(pl.Series("slot", self._slots(rows)))
        self._pending[0].add(panes_of(placed.filter(pl.col("slot") != NOBODY)))

    def take(self, came: pl.DataFrame) -> None:
        """What other places sent: base panes of principals and credentials, and windows of agents
        that may be part of a swarm.
        """
        if came.is_empty():
            return
        self._meeting.take(came)
        rows = received(came)
        if self._closed is not None:
            rows = rows.filter(pl.col("window") >= self._closed)
        if not rows.is_empty():
            placed = rows.with_columns(pl.Series("slot", self._slots(rows))).drop(KEY)
            columns = self._pending[0].columns
            self._pending[0].add(placed.filter(pl.col("slot") != NOBODY).select(columns))

    def relink(self, links: Mapping[Trace, Linked], revision: int) -> Outcome:
        """See Detector. What is not over yet is counted to whom it belongs; what is over stays."""
        if not links:
            return Outcome()
        self._measure()
        self._parts.relink(links, revision)
        rows = self._pending[0].take({trace for _, _, trace in links})
        if rows is None:
            return Outcome()
        now = [
            moved(self._agents.who(slot), trace, links)
            for slot, trace in zip(rows["slot"].to_list(), rows["trace"].to_list(), strict=True)
        ]
        columns = {
            name: [values[place] for values in now] for place, name in enumerate((*KEY, "trace"))
        }
        renewed = rows.with_columns(pl.Series(name, of, pl.String) for name, of in columns.items())
        slots = pl.Series("slot", self._slots(renewed))
        placed = renewed.drop(KEY).with_columns(slots).filter(pl.col("slot") != NOBODY)
        self._pending[0].add(merged(placed.select(rows.columns), UNLINKED))
        return Outcome()

    def _slots(self, rows: pl.DataFrame) -> Ints:
        settled = self._baselines.settled()
        # A part of an agent is over some day, however much is known of it.
        slots, gone = self._agents.slots_of(rows, settled & (not self._part))
        self._forget(gone)
        self._grow(self._agents.size)
        return slots

    def close(self, revision: int) -> Outcome:
        """See Detector."""
        return self.advance(END_US, revision)

    def advance(self, watermark_us: int, revision: int) -> Outcome:
        """See Detector. Judges the windows that are over."""
        until = (watermark_us - self._lateness_us) // PANE_US
        if self._closed is not None and until <= self._closed:
            return Outcome()
        self._measure(until)
        said: list[Signal] = []
        while (step := self._step(until)) is not None:
            said += self._close(step, revision)
        said += self._meeting.close(until, revision)
        self._closed = until
        if self._epoch is not None and until >= (self._epoch + 1) * EPOCH_PANES:
            self._begin_epoch(until // EPOCH_PANES)
        measured, self._observed = self._observed, []
        measured += self._parts.advance(watermark_us, revision)
        sending, self._sending = self._sending, []
        sending += self._saying.sending()
        flows = [rows for rows in (self._sender.close(until), *sending) if not rows.is_empty()]
        held = self._saying.held()
        return Outcome(said if self.speaks else [], flows=flows, measured=measured, held=held)

    def _step(self, until: int) -> int | None:
        """The base pane before which to judge next, of those before `until`; None: all is judged.
        Not all at once, where it is much.
        """
        firsts = [pending.first_window() for pending in self._pending]
        ends = [
            (first + 1) * scale.panes
            for scale, first in zip(SCALES, firsts, strict=True)
            if first is not None
        ]
        if not ends or min(ends) > until:
            return None
        far = self._pending[0].window_at(_STEP_ROWS)
        return until if far is None else min(until, (far // EPOCH_PANES + 1) * EPOCH_PANES)

    def _begin_epoch(self, epoch: int) -> None:
        if self._epoch is not None and epoch > self._epoch:
            if self.sends:
                self._sending += told_now(self._baselines, self.agents, self._peers, self._epoch)
            self._baselines.fold()
            self._peers.fold()
            self._met.fold(self._epoch, epoch)
            self._daily.fold()
        self._epoch = epoch if self._epoch is None else max(self._epoch, epoch)

    def _close(self, until: int, revision: int) -> list[Signal]:
        """Judge all windows that end at or before a base pane."""
        closed = closed_of(windows_over(self._pending, self._course, until))
        persons = self._agents.persons(closed.slots)
        if self._first_scale:
            told = persons | (closed.scales >= self._first_scale)
            closed, persons = closed.at(told), persons[told]
        crossings = self._hands(closed.at(persons)) if persons.any() else []
        closed = closed.at(~persons) if persons.any() else closed
        for epoch, rows in closed.epochs():
            self._begin_epoch(epoch)
            crossings += self._judged(closed.at(rows), epoch)
        for subject, parts in self._to_tell.items():
            self._observed.append(observed(parts, self.agents, subject))
        self._to_tell = {}
        crossings.sort(key=lambda one: (one.end, one.judgement, one.slot, one.feature))
        return [
            signal
            for one in crossings
            for signal in self._saying.say(one, self._agents.who(one.slot), revision)
        ]

    def _judged(self, closed: Closed, epoch: int) -> list[Crossing]:
        """Judge agents' windows of an epoch, and learn from them."""
        slots, scales, levels = closed.slots, closed.scales, closed.levels
        before = self._met.before(slots, scales)
        to = Sent(closed.receivers, closed.sent)
        count_new(closed.amounts, levels, closed.words, to, before)
        known = self._baselines.known(slots, scales)
        own = self._baselines.windows(slots, scales)
        scores = scores_of(scales, closed.amounts, levels, known, own)
        suspect = np.any(scores * 2 >= self._bars[scales], axis=1)
        self._baselines.note((slots, scales), levels, known, suspect)
        # What an agent met while out of line is not held to be its own.
        met = (scales == self._first_scale) & (~suspect | (own < WARM[self._first_scale]))
        self._met.note(slots[met], closed.words[met])
        judged = Judged(closed, scales, scores, known, own)
        self._observe(judged, self._part or AGENT)
        if self.speaks and not self._shared:
            self._sending += may_be_part(closed, own, before, self._baselines, self.agents)
            self._sending += unknown_now(judged, self.agents, self._peers)
            self._sending += risen_now(judged, self.agents) if self.gathers else []
        if self._shared:
            several = used_by_several(closed.words, before)
            judged = judged._replace(scores=np.where(several[:, None], scores, NO_SCORE))
        found = self._crossed(judged, epoch) + unlike_honest(self.models, judged)
        longest = np.flatnonzero(scales == len(SCALES) - 1)
        if not len(longest):
            return found
        self._peers.note(closed.at(longest), self.agents)
        return found + self._added_up(closed.at(longest), epoch)

    def _observe(self, judged: Judged, subject: str) -> None:
        if self.asked and len(judged.scores):
            self._to_tell.setdefault(subject, []).append(judged)

    def _added_up(self, closed: Closed, epoch: int) -> list[Crossing]:
        """Judge the longest windows together with those before them."""
        slots, scales = closed.slots, closed.scales
        known = self._baselines.known(slots, scales)
        own = self._baselines.windows(slots, scales)
        before = self._met.before(slots, scales)
        free = free_bits(before)
        new = self._baselines.expected_new(slots, closed.amounts)
        step = self._baselines.steps(slots, closed.amounts, closed.levels, known, free)
        way = np.full(len(slots), ADDED_UP)
        bars = self._bars[ADDED_UP] + self._baselines.raised(slots, way, epoch)
        added = self._baselines.add_up(slots, step, bars)
        scores = added_scores_of(scales, closed.amounts, added, own)
        if self._shared:
            several = used_by_several(closed.words, before)
            scores = np.where(several[:, None], scores, NO_SCORE)
        return self._crossed(Judged(closed, way, scores, known, own, new), epoch)

    def _crossed(self, judged: Judged, epoch: int) -> list[Crossing]:
        slots, ways, bars = judged.closed.slots, judged.judgement, self._bars[judged.judgement]
        raised = self._baselines.raised(slots, ways, epoch)
        raised += self._baselines.unsure(judged.closed.scales, judged.own)
        places, features = np.nonzero(judged.scores >= bars + raised)
        above = (judged.scores - bars)[places, features]
        usual = self._daily.note((slots[places], ways[places], features), above, epoch)
        if self._listener is not None:
            heard = judged.scores - raised
            heard[places[usual], features[usual]] = NO_SCORE
            self._listener(judged._replace(scores=heard))
        places, features, above = places[~usual], features[~usual], above[~usual]
        at, spreads = (slots[places], ways[places], features), judged.known.spread
        self._baselines.raise_bars(at, above, spreads[places, features], epoch)
        crossings = crossings_of(judged, places, features, (bars + raised)[places, features])
        return self._peers.beside(crossings, self._baselines)

    def _hands(self, closed: Closed) -> list[Crossing]:
        """Windows of persons that hold more than a hand can do, or keep time as none can."""
        if self._shared:  # What is done in one session is said of that.
            [sessions] = closed.columns("sessions0")
            closed = closed.at(np.bitwise_count(sessions) > 1)
        needed, deeds, squared, first_us, last_us = closed.columns(
            "needed_ms", "deeds", "squared", "first_us", "last_us"
        )
        fast = np.flatnonzero(hands.too_fast(closed.scales, needed, deeds))
        panes = last_us // PANE_US - first_us // PANE_US + 1
        clocked = np.flatnonzero(hands.too_regular(panes, closed.amounts[:, 0], squared))
        known = self._baselines.known(closed.slots, closed.scales)
        judged = Judged(closed, closed.scales, closed.levels, known, closed.scales)
        if not self._shared:
            self._observe(judged, PERSON)
        return [
            *crossings_of(judged, fast, np.full(len(fast), HAND)),
            *crossings_of(judged, clocked, np.full(len(clocked), CLOCK)),
        ]

    @property
    def _by_slot(self) -> Sequence[BySlot]:
        return self._baselines, self._met, self._peers, self._course, self._saying

    def _grow(self, size: int) -> None:
        for part in self._by_slot:
            part.grow(size)

    def _forget(self, slots: list[int]) -> None:
        if not slots:
            return
        for part in self._by_slot:
            part.forget(slots)
        self._daily.forget(slots)
        for pending in self._pending:
            pending.forget(slots)

    @property
    def agents(self) -> Sequence[Identity | None]:
        """Who they are, by slot; None where nobody is any more."""
        return self._agents.identities

    def evicted(self) -> dict[str, int]:
        """What was forgotten at a limit since the start, by kind."""
        windows = sum(pending.evicted for pending in self._pending) + self._sender.evicted_panes
        found = Counter(
            behaviour_agents=self._agents.evicted + self._sender.evicted_subjects,
            behaviour_windows=windows + self._meeting.evicted,
            behaviour_untimely=self._passed_over,
        )
        found.update(self._parts.evicted())
        return dict(found)

    def dump(self) -> bytes:
        """The whole state."""
        self._measure()
        size = self._agents.size
        return msgspec.msgpack.encode(
            _State(
                FORMAT,
                self._agents.state(),
                [pending.dump() for pending in self._pending],
                self._baselines.state(size),
                self._met.state(size),
                self._saying.state(size),
                self._closed,
                self._epoch,
                self._course.state(size),
                self._sender.state(),
                self._meeting.state(),
                self._peers.state(size),
                self._daily.state(),
                self._parts.dump(),
            )
        )

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises ValueError when it is none of ours, or of another Polars."""
        try:
            kept = msgspec.msgpack.decode(state, type=_State)
            if kept.format != FORMAT:
                raise ValueError(f"behaviour state of format {kept.format}, not {FORMAT}")
            self._restore(kept)
        except (msgspec.MsgspecError, pl.exceptions.PolarsError, OSError, zlib.error) as error:
            raise ValueError(f"no state of behaviour: {error}") from error

    def _restore(self, kept: _State) -> None:
        self._agents.restore(kept.agents)
        for pending, held in zip(self._pending, kept.pending, strict=True):
            pending.load(held)
        self._baselines.restore(kept.baselines)
        size = self._agents.size
        self._met.restore(kept.met, size)
        self._saying.restore(kept.said, size)
        self._closed, self._epoch = kept.closed, kept.epoch
        self._course.restore(kept.course)
        self._sender.restore(kept.sender)
        self._meeting.restore(kept.meeting)
        self._peers.restore(kept.peers, size)
        self._daily.restore(kept.daily)
        self._parts.load(kept.parts)
