"""What a shard does with the records of its topic: decodes them into what waits, and judges it."""

from typing import Protocol

import msgspec
import polars as pl

from tachograph.detectors.across import AcrossDetector
from tachograph.detectors.correlation.stretch import LONG_AGO
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.partition import Found, PartitionDetector
from tachograph.pipeline.detect.ticks import TickBook
from tachograph.schemas import batch, codec, contracts
from tachograph.schemas.records import SessionLink, Tick

ACTIONS = "agent.actions"
MATCHES = "agent.matches"
# What `normalize` reads: each of these ticks.
RAW_TOPICS = [t.topic for t in contracts.topics().values() if t.raw and t.owner == "producers"]


class Judge(Protocol):
    """Judges one partition. Called by the thread of its shard; no I/O."""

    ticks: TickBook
    actions: int

    @property
    def repeated(self) -> int:
        """Actions known already, since the start."""
        ...

    def take(self, kind: bytes | None, payload: bytes) -> int:
        """Decode one record into what waits to be judged; its rows. Kinds that are not known are
        passed over. Raises PolarsError, OSError or InvalidRecord.
        """
        ...

    def judge(self, revision: int) -> list[Found]:
        """Judge what waits, as caused by the record of this revision."""
        ...

    def evicted(self) -> dict[str, int]:
        """What was forgotten at a limit since the start, by kind."""
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
    ticks: list[tuple[str, int, int, int]]
    chained: list[tuple[str, int, int, int]] = []


def _kept(state: bytes) -> _State:
    try:
        return msgspec.msgpack.decode(state, type=_State)
    except msgspec.DecodeError as error:
        raise ValueError(f"no state of a shard: {error}") from error


class ActionJudge:
    """Actions, session links and the ticks of raw partitions."""

    def __init__(self, rules: RuleSet) -> None:
        self.ticks = TickBook(RAW_TOPICS)
        self.actions = 0
        self._detector = PartitionDetector(rules)
        self._frames: list[pl.DataFrame] = []
        self._links: list[SessionLink] = []
        self._ticked = False

    @property
    def repeated(self) -> int:
        """See Judge."""
        return self._detector.seen.repeated

    def take(self, kind: bytes | None, payload: bytes) -> int:
        """See Judge."""
        match kind:
            case b"action_batch":
                self._frames.append(batch.decode(payload))
                return self._frames[-1].height
            case b"session_link":
                self._links.append(codec.decode(SessionLink, payload))
            case b"tick":
                self.ticks.note(codec.decode(Tick, payload))
                self._ticked = True
        return 0

    def judge(self, revision: int) -> list[Found]:
        """See Judge. A tick says nothing of what comes after it, so it is judged last."""
        frames, links, ticked = self._frames, self._links, self._ticked
        self._frames, self._links, self._ticked = [], [], False
        found = []
        if frames or links:
            frame = pl.concat(frames, how="diagonal") if frames else batch.empty()
            self.actions += frame.height
            found.append(self._detector.process(frame, links, revision))
        if ticked and (watermark := self.ticks.watermark_us()) is not None:
            found.append(self._detector.tick(watermark, revision))
        return found

    def evicted(self) -> dict[str, int]:
        """See Judge."""
        return self._detector.evicted()

    def dump(self) -> bytes:
        """See Judge."""
        return msgspec.msgpack.encode(_State(self._detector.dump(), self.ticks.dump()))

    def load(self, state: bytes) -> None:
        """See Judge."""
        kept = _kept(state)
        self._detector.load(kept.detector)
        self.ticks.load(kept.ticks)


class MatchJudge:
    """Match rows, and the ticks of the partitions of agent.actions that they come from."""

    def __init__(self, rules: RuleSet, source: str = ACTIONS) -> None:
        """`source`: the topic whose partitions tick here."""
        self.ticks = TickBook([source])
        # Those of the places that judge matches, which send signals as events of rules on them.
        self.chained = TickBook([MATCHES])
        self.actions = self.repeated = 0
        self._detector = AcrossDetector(rules)
        self._frames: list[pl.DataFrame] = []
        self._ticked = False

    def take(self, kind: bytes | None, payload: bytes) -> int:
        """See Judge."""
        match kind:
            case b"match_batch":
                self._frames.append(batch.decode(payload))
                return self._frames[-1].height
            case b"tick":
                tick = codec.decode(Tick, payload)
                (self.chained if tick.raw_topic == MATCHES else self.ticks).note(tick)
                self._ticked = True
        return 0

    def judge(self, revision: int) -> list[Found]:
        """See Judge."""
        frames, ticked = self._frames, self._ticked
        self._frames, self._ticked = [], False
        found = []
        if frames:
            rows = pl.concat(frames, how="diagonal")
            found.append(self._detector.process(rows, revision))
        if ticked and (watermark := self.ticks.watermark_us()) is not None:
            chained = self.chained.watermark_us()
            found.append(
                self._detector.tick(watermark, revision, LONG_AGO if chained is None else chained)
            )
        return found

    def evicted(self) -> dict[str, int]:
        """See Judge."""
        return self._detector.evicted()

    def dump(self) -> bytes:
        """See Judge."""
        return msgspec.msgpack.encode(
            _State(self._detector.dump(), self.ticks.dump(), self.chained.dump())
        )

    def load(self, state: bytes) -> None:
        """See Judge."""
        kept = _kept(state)
        self._detector.load(kept.detector)
        self.ticks.load(kept.ticks)
        self.chained.load(kept.chained)
