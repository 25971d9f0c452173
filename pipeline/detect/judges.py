"""What a shard does with the records of its topic: decodes them into what waits, and judges it."""

import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, Self

import msgspec
import polars as pl

from tachograph.detectors.across import AcrossDetector
from tachograph.detectors.behaviour.models import Models
from tachograph.detectors.correlation.held import HeldGroups
from tachograph.detectors.correlation.matched import chain_of
from tachograph.detectors.correlation.stretch import LONG_AGO
from tachograph.detectors.engine import RuleStats
from tachograph.detectors.language.rule import Correlation
from tachograph.detectors.partition import Begun, Found, PartitionDetector, judged_together
from tachograph.detectors.plan import Plan
from tachograph.detectors.silences import Silences
from tachograph.detectors.warming import Warmer
from tachograph.pipeline.detect.milestones import Milestones
from tachograph.pipeline.detect.openness import Openness
from tachograph.pipeline.detect.ticks import TickBook, TickRow
from tachograph.schemas import batch, codec, contracts
from tachograph.schemas.alert import Signal, StateSnapshot
from tachograph.schemas.records import SessionLink, Tick

ACTIONS = "agent.actions"
MATCHES = "agent.matches"
# What `normalize` reads: each of these ticks.
RAW_TOPICS = [t.topic for t in contracts.topics().values() if t.raw and t.owner == "producers"]
# A signal's revision: offset << 20, so that what one record causes can be told apart.
REVISION_SHIFT = 20


# A judgement: tells what it has begun, is given what was found in that, returns all that it found.
Judging = Generator[Begun, Found, list[Found]]


def together(running: Sequence[Judging]) -> Iterator[tuple[int, list[Found]]]:
    """Judgements of different places, run side by side: what they begin at the same time is looked
    at together. Each by its place in the sequence with what it returns, as soon as it does.
    """
    begun: dict[int, Begun] = {}
    returned: list[tuple[int, list[Found]]] = []

    def go_on(at: int, found: Found | None) -> None:
        try:
            begun[at] = next(running[at]) if found is None else running[at].send(found)
        except StopIteration as end:
            returned.append((at, end.value))

    for at in range(len(running)):
        go_on(at, None)
    while begun or returned:
        places, asked = list(begun), list(begun.values())
        begun.clear()
        for at, found in zip(places, judged_together(asked), strict=True):
            go_on(at, found)
            yield from returned
            returned.clear()
        yield from returned
        returned.clear()


class Warming(Protocol):
    """Shows rules that are new what was there before them."""

    def take(self, kind: bytes | None, payload: bytes) -> int:
        """As Judge.take."""
        ...

    def judge(self, revision: int) -> list[Found]:
        """Show what waits; matches that others are to be shown."""
        ...


class Judge(Protocol):
    """Judges one partition. Called by the thread of its shard; no I/O."""

    plan: Plan
    ticks: TickBook
    milestones: Milestones
    actions: int

    @property
    def repeated(self) -> int:
        """Actions known already, since the start."""
        ...

    @property
    def config_offset(self) -> int:
        """What the rules ask for that stand so far in agent.config has come here."""
        ...

    def take(self, kind: bytes | None, payload: bytes) -> int:
        """Decode one record into what waits to be judged; its rows. Kinds that are not known are
        passed over. Raises PolarsError, OSError or InvalidRecord.
        """
        ...

    def judge(self, revision: int) -> list[Found]:
        """Judge what waits, as caused by the record of this revision."""
        ...

    def judging(self, revision: int) -> Judging:
        """As `judge`, but for what can be asked of several places together: see `together`."""
        ...

    def say(self, signals: Sequence[Signal], revision: int) -> Found:
        """These signals stand, or are retracted, whatever was judged: with their groups."""
        ...

    def adopt(self, plan: Plan) -> None:
        """Judge by another plan from now on; nothing waits."""
        ...

    def silence(self, silences: Silences) -> None:
        """Keep what these cover apart from now on."""
        ...

    def judge_by(self, models: Models) -> None:
        """These models of behaviour are in force from now on."""
        ...

    def fresh(self, plan: Plan) -> Self:
        """A judge like this one by another plan, that has seen nothing."""
        ...

    def warmer(self, rules: Sequence[Correlation]) -> Warming | None:
        """Shows these rules of this judge records from before; None: there is nothing to show."""
        ...

    def evicted(self) -> dict[str, int]:
        """What was forgotten at a limit since the start, by kind."""
        ...

    def groups(self, rule: Correlation) -> HeldGroups | None:
        """What is held of a rule's groups, for a person who asks; None: it is not judged here."""
        ...

    def stats(self) -> Mapping[str, RuleStats]:
        """Counts of the rules that are asked of events here, by their ids, since the start."""
        ...

    def age(self) -> None:
        """See Engine.age."""
        ...

    def dump(self) -> bytes:
        """The whole state; nothing waits."""
        ...

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises ValueError when it is none of ours."""
        ...


class _State(msgspec.Struct, frozen=True):
    """What a checkpoint holds."""

    detector: bytes
    ticks: list[TickRow]
    milestones: tuple[int | None, list[tuple[int, int]]]
    chained: list[TickRow]
    since: dict[str, int]


class _Base:
    """What judges of both topics do alike."""

    def __init__(self, plan: Plan, topics: Sequence[str]) -> None:
        self.plan = plan
        self.openness = Openness(plan)
        self.ticks = TickBook(topics)
        self.milestones = Milestones()
        self.actions = 0
        # Of places that send signals as events of rules on them.
        self._chained = TickBook([MATCHES])
        self._frames: list[pl.DataFrame] = []
        self._ticked = False

    def _judge_by(self, plan: Plan) -> None:
        self.plan, self.openness = plan, Openness(plan, self.openness.since)

    def _take_frame(self, payload: bytes) -> int:
        self._frames.append(batch.decode(payload))
        return self._frames[-1].height

    def _take_tick(self, payload: bytes) -> int:
        tick = codec.decode(Tick, payload)
        (self._chained if tick.raw_topic == MATCHES else self.ticks).note(tick)
        self._ticked = True
        return 0

    def _waiting(self, revision: int) -> pl.DataFrame | None:
        """The rows that wait, in one frame."""
        if not self._frames:
            return None
        frame = pl.concat(self._frames, how="diagonal")
        self._frames = []
        if "observed_time" in frame.columns:
            newest = frame["observed_time"].to_physical().max()
            if isinstance(newest, int):
                self.milestones.note(newest, (revision >> REVISION_SHIFT) + 1)
        return frame

    def _reached(self) -> int | None:
        """The watermark, if a tick waits."""
        ticked, self._ticked = self._ticked, False
        return self.ticks.watermark_us() if ticked else None

    def _dumped(self, detector: bytes) -> bytes:
        return msgspec.msgpack.encode(
            _State(
                detector,
                self.ticks.dump(),
                self.milestones.state(),
                self._chained.dump(),
                self.openness.since,
            )
        )

    def _loaded(self, state: bytes) -> bytes:
        """The detector's part of a dump; the rest is taken up."""
        try:
            kept = msgspec.msgpack.decode(state, type=_State)
        except msgspec.DecodeError as error:
            raise ValueError(f"no state of a shard: {error}") from error
        self.ticks.load(kept.ticks)
        self._chained.load(kept.chained)
        self.openness = Openness(self.plan, kept.since)
        self.milestones.restore(kept.milestones)
        return kept.detector


class ActionJudge(_Base):
    """Actions, session links and the ticks of raw partitions."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, RAW_TOPICS)
        self._detector = PartitionDetector(plan)
        self._links: list[SessionLink] = []

    @property
    def repeated(self) -> int:
        """See Judge."""
        return self._detector.seen.repeated

    @property
    def config_offset(self) -> int:
        """See Judge. Actions come whatever the rules are."""
        return sys.maxsize

    def take(self, kind: bytes | None, payload: bytes) -> int:
        """See Judge."""
        match kind:
            case b"action_batch":
                return self._take_frame(payload)
            case b"session_link":
                self._links.append(codec.decode(SessionLink, payload))
            case b"state_snapshot":
                self._detector.published.learn([codec.decode(StateSnapshot, payload)])
            case b"tick":
                return self._take_tick(payload)
        return 0

    def judge(self, revision: int) -> list[Found]:
        """See Judge."""
        [(_, found)] = together([self.judging(revision)])
        return found

    def judging(self, revision: int) -> Judging:
        """See Judge. A tick says nothing of what comes after it, so it is judged last."""
        frame, links, self._links = self._waiting(revision), self._links, []
        found = []
        if frame is not None or links:
            frame = batch.empty() if frame is None else frame
            self.actions += frame.height
            found.append((yield self._detector.begin(frame, links, revision)))
        if (watermark := self._reached()) is not None:
            found.append(self._detector.tick(watermark, revision))
        return found

    def say(self, signals: Sequence[Signal], revision: int) -> Found:
        """See Judge."""
        return self._detector.say(signals, revision)

    def adopt(self, plan: Plan) -> None:
        """See Judge."""
        self._detector.adopt(plan)
        self._judge_by(plan)

    def silence(self, silences: Silences) -> None:
        """See Judge."""
        self._detector.groups.silences = silences

    def judge_by(self, models: Models) -> None:
        """See Judge."""
        self._detector.judge_by(models)

    def groups(self, rule: Correlation) -> HeldGroups | None:
        """See Judge."""
        return self._detector.engine.bank.groups(rule)

    def stats(self) -> Mapping[str, RuleStats]:
        """See Judge."""
        return self._detector.stats

    def age(self) -> None:
        """See Judge."""
        self._detector.engine.age()

    def fresh(self, plan: Plan) -> "ActionJudge":
        """See Judge."""
        return ActionJudge(plan)

    def warmer(self, rules: Sequence[Correlation]) -> Warming | None:
        """See Judge. What links told since is known already."""
        return _Warm(b"action_batch", Warmer(self._detector, rules).show) if rules else None

    def evicted(self) -> dict[str, int]:
        """See Judge."""
        return self._detector.evicted()

    def dump(self) -> bytes:
        """See Judge."""
        return self._dumped(self._detector.dump())

    def load(self, state: bytes) -> None:
        """See Judge."""
        self._detector.load(self._loaded(state))


class _Warm:
    """Frames of one kind of records once more, for rules that are new."""

    def __init__(
        self, kind: bytes, show: Callable[[pl.DataFrame, int], list[pl.DataFrame]]
    ) -> None:
        self._kind, self._show = kind, show
        self._frames: list[pl.DataFrame] = []

    def take(self, kind: bytes | None, payload: bytes) -> int:
        """See Warming."""
        if kind != self._kind:
            return 0
        self._frames.append(batch.decode(payload))
        return self._frames[-1].height

    def judge(self, revision: int) -> list[Found]:
        """See Warming."""
        if not self._frames:
            return []
        frame, self._frames = pl.concat(self._frames, how="diagonal"), []
        return [Found(matches=self._show(frame, revision))]


class MatchJudge(_Base):
    """Match rows, and the ticks of the partitions of agent.actions that they come from."""

    def __init__(self, plan: Plan, source: str = ACTIONS) -> None:
        """`source`: the topic whose partitions tick here."""
        super().__init__(plan, [source])
        self._source = source
        self.repeated = 0
        self._detector = AcrossDetector(plan)

    @property
    def config_offset(self) -> int:
        """See Judge."""
        return self.ticks.config_offset()

    def take(self, kind: bytes | None, payload: bytes) -> int:
        """See Judge."""
        match kind:
            case b"match_batch":
                return self._take_frame(payload)
            case b"tick":
                return self._take_tick(payload)
        return 0

    def judging(self, revision: int) -> Judging:
        """See Judge. What comes here is no action: nothing is to be looked at."""
        yield from ()
        return self.judge(revision)

    def judge(self, revision: int) -> list[Found]:
        """See Judge."""
        found = []
        if (rows := self._waiting(revision)) is not None:
            found.append(self._detector.process(rows, revision))
        if (watermark := self._reached()) is not None:
            chained = self._chained.watermark_us()
            chained = LONG_AGO if chained is None else chained
            held = self.openness.held(self.ticks.config_offset(), self._chained.config_offset())
            found.append(self._detector.tick(watermark, revision, chained, held))
        return found

    def say(self, signals: Sequence[Signal], revision: int) -> Found:
        """See Judge."""
        return self._detector.say(signals, revision)

    def adopt(self, plan: Plan) -> None:
        """See Judge."""
        self._detector.adopt(plan)
        self._judge_by(plan)

    def silence(self, silences: Silences) -> None:
        """See Judge."""
        self._detector.groups.silences = silences

    def judge_by(self, models: Models) -> None:
        """See Judge. Agents are watched where their actions are."""

    def groups(self, rule: Correlation) -> HeldGroups | None:
        """See Judge."""
        return self._detector.bank.groups(rule)

    def fresh(self, plan: Plan) -> "MatchJudge":
        """See Judge."""
        judge = MatchJudge(plan, self._source)
        judge.openness = Openness(plan, self.openness.since)
        return judge

    def warmer(self, rules: Sequence[Correlation]) -> Warming | None:
        """See Judge. Who owns actions may have learned of new rules before this place did, and
        have sent what they have to see already.
        """
        if not any(rule.across for rule in chain_of(rules)):
            return None
        return _Warm(b"match_batch", partial(self._detector.show, rules))

    def stats(self) -> Mapping[str, RuleStats]:
        """See Judge. What else comes here was asked where it was found."""
        return self._detector.stats

    def age(self) -> None:
        """See Judge."""

    def evicted(self) -> dict[str, int]:
        """See Judge."""
        return self._detector.evicted()

    def dump(self) -> bytes:
        """See Judge."""
        return self._dumped(self._detector.dump())

    def load(self, state: bytes) -> None:
        """See Judge."""
        self._detector.load(self._loaded(state))
