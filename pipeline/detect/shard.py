"""One partition that `detect` reads: its records in, what is found out, its state kept.

State is a function of the log: a shard starts from its newest checkpoint, takes in the records
after it and says nothing of those that were committed before (they were emitted then), and goes
on from there.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

import msgspec
import polars as pl
from confluent_kafka import Message

from tachograph.detectors.in_force import FOR_EVER_US, Timeline
from tachograph.detectors.partition import Found
from tachograph.detectors.plan import Plan
from tachograph.pipeline.detect.judges import REVISION_SHIFT, Judge, Judging, together
from tachograph.pipeline.detect.stretches import Stretches
from tachograph.pipeline.kafka.reader import Commitment, Place, headers_of
from tachograph.pipeline.log import get
from tachograph.pipeline.metrics import DROPPED
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER

log = get("detect.shard")

# Actions judged in one go: enough to be fast, few enough to stay small.
JUDGE_ROWS = 50_000


class State(msgspec.Struct, frozen=True):
    """What a checkpoint holds: how many changes of what is in force were known, and what was judged
    by those.
    """

    changes: int
    timeline: Timeline
    judge: bytes


class Shard:
    """State and judgement of one partition."""

    def __init__(
        self,
        place: Place,
        judge: Judge,
        *,
        start: int,
        muted_until: int,
        stretches: Stretches | None = None,
        base: int = 0,
    ) -> None:
        """`stretches`: of which the owner before may have said something without committing it.
        `base`: of the topic's generation, added to offsets in revisions.
        """
        self.place = place
        self.base = base
        self.judge = judge
        # What was judged so far was judged by the first of these plans, and what was said may have
        # been said by any of them; empty: all is as the plan has it. See `CatchUp`.
        self.judged_by: list[Plan] = []
        # What is in force, while what was said before is still taken in as it was judged then.
        self._waiting: Plan | None = None
        # From here on nothing is judged before what `judged_by` tells of was looked at again.
        self._behind_at = muted_until
        self.next_offset = start
        self.muted_until = muted_until
        self._stretches = stretches or Stretches()
        # Records of a stretch whose end was not read yet.
        self._held: list[Message] = []
        # Everything before it was acknowledged and committed.
        self._committed = max(muted_until, start)
        self.changed = False
        self._repeated = 0
        self._lost: Counter[str] = Counter()

    def load(self, state: State, judged_by: Sequence[Plan]) -> None:
        """Take up a checkpoint, made by the first of these plans, while what was said after it may
        have been said by any of them. Raises ValueError when it cannot be read.
        """
        if any(_differ(plan, self.judge.plan) for plan in judged_by):
            self.judged_by = list(judged_by)
            self._waiting = self.judge.plan
            self.judge.adopt(judged_by[0])
        self.judge.load(state.judge)
        self._take_up()

    def adopt(self, plan: Plan) -> None:
        """Judge by another plan from now on."""
        before = self._waiting or self.judge.plan
        self._waiting = plan
        if _differ(before, plan):
            # While it is behind nothing is said by the plans between, unless by an owner before.
            if self._inherits or not self.judged_by:
                self.judged_by.append(before)
            self._behind_at = max(self.next_offset, self.muted_until)
        self._take_up()

    def _take_up(self) -> None:
        if self._waiting is not None and not self.muted:
            self.judge.adopt(self._waiting)
            self._waiting = None

    @property
    def _inherits(self) -> bool:
        """Of what comes next something may have been said by an owner before."""
        return self.next_offset < max(self.muted_until, self._stretches.last)

    def caught_up(self) -> None:
        """All that was judged is as the plan has it. What the owner before may have said besides is
        not known yet: once it is judged, too, there is more to be looked at.
        """
        self.judged_by = [self.judge.plan, *self.judged_by] if self._inherits else []
        self._behind_at = self._stretches.last
        self.changed = True

    @property
    def behind(self) -> bool:
        """Something that was judged has to be looked at again, before anything else is judged."""
        return bool(self.judged_by) and self.next_offset >= self._behind_at

    def dump(self, changes: int = 0) -> bytes:
        """The state at `next_offset`, for a checkpoint. `changes`: of what is in force, so far."""
        self.changed = False
        state = State(changes, self.judge.plan.timeline, self.judge.dump())
        return msgspec.msgpack.encode(state)

    def news(self) -> tuple[int, Mapping[str, int]]:
        """Since the last call: actions known already, and what was forgotten at limits, by kind."""
        repeated, lost = self.judge.repeated, Counter(self.judge.evicted())
        found = repeated - self._repeated, lost - self._lost
        self._repeated, self._lost = repeated, lost
        return found

    @property
    def muted(self) -> bool:
        """Still taking in what was emitted before."""
        return self.next_offset < self.muted_until

    @property
    def settled(self) -> bool:
        """Nothing was taken in whose effects may be unknown: the state may become a checkpoint."""
        return self.next_offset == self.committed and not self.judged_by

    @property
    def committed(self) -> int:
        """Everything before it was acknowledged and committed."""
        return self._committed

    @committed.setter
    def committed(self, offset: int) -> None:
        self._committed = offset
        self._stretches.committed(offset)

    def begin(self, messages: Sequence[Message]) -> Commitment | None:
        """These records are going to be processed: what to commit before, which is the offset that
        is committed already, and a note beside it. None: nothing has to be noted.
        """
        end = (messages[-1].offset() or 0) + 1
        if self.judged_by:
            end = min(end, self._behind_at)
        if end <= self._committed or not self._stretches.begin(end):
            return None
        return Commitment(self._committed, self.note)

    @property
    def note(self) -> str:
        """To be left with what is committed: stretches that the next owner has to cut alike."""
        return self._stretches.note

    def process(self, messages: Sequence[Message]) -> list[Found]:
        """As `judging`, by itself."""
        [(_, found)] = together([self.judging(messages)])
        return found

    def judging(self, messages: Sequence[Message]) -> Judging:
        """Judge records of this partition, in order; what was committed before comes back empty.

        It comes no further than to where it is behind: windows of a rule that has not seen what
        was before it would be cut. `next_offset` says from where on records are to be read again.
        A stretch that the owner before may have spoken of waits until all of it was read.
        """
        found: list[Found] = []
        messages, self._held = [*self._held, *messages], []
        for (muted, end), grouped in groupby(messages, key=self._stretch):
            stretch = list(grouped)
            if self.judged_by and (stretch[0].offset() or 0) >= self._behind_at:
                self.next_offset = stretch[0].offset() or 0
                self._take_up()
                break
            behind_last = (stretch[-1].offset() or 0) + 1
            if end is not None and behind_last < end:
                self._held = stretch
                break
            results = yield from self._judged(stretch)
            found += [] if muted else results
            self.next_offset = behind_last
            self.changed = True
            self._take_up()
        return found

    def _stretch(self, message: Message) -> tuple[bool, int | None]:
        """Whether a record is muted, and else where the stretch ends that it is judged with."""
        offset = message.offset() or 0
        muted = offset < self.muted_until
        return muted, None if muted else self._stretches.end_of(offset)

    def _judged(self, messages: Iterable[Message]) -> Judging:
        """What is found in a stretch, judged in pieces of at most JUDGE_ROWS."""
        found: list[Found] = []
        rows = offset = 0
        for message in messages:
            rows += self._take(message)
            offset = message.offset() or 0
            if rows >= JUDGE_ROWS:
                found += yield from self.judge.judging(self.revision(offset))
                rows = 0
        found += yield from self.judge.judging(self.revision(offset))
        return found

    def revision(self, offset: int, index: int = 0) -> int:
        """Of what the record at this offset causes. `index` tells apart what it caused."""
        return (self.base + offset) << REVISION_SHIFT | index

    def _take(self, message: Message) -> int:
        return decoded(message, self.judge.take)


def _differ(one: Plan, other: Plan) -> bool:
    return one.timeline.parts_us(other.timeline) < FOR_EVER_US


def decoded(message: Message, take: Callable[[bytes | None, bytes], int]) -> int:
    """Let a record be taken; its rows. Broken ones are counted and told."""
    try:
        return take(headers_of(message).get(RECORD_HEADER), message.value() or b"")
    except (pl.exceptions.PolarsError, OSError, codec.InvalidRecord) as error:
        # Only our stages write here: this is a fault of ours or a foreign writer, never an agent's.
        DROPPED.labels("detect", "undecodable_record").inc()
        place = f"{message.topic()}/{message.partition()}@{message.offset()}"
        log.warning("record cannot be read and is passed over", place=place, error=str(error))
        return 0
