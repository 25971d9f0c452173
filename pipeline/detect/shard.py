"""One partition of agent.actions in `detect`: its records in, what is found out, its state kept.

State is a function of the log: a shard starts from its newest checkpoint, takes in the records
after it and says nothing of those that were committed before (they were emitted then), and goes
on from there.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import msgspec
import polars as pl
from confluent_kafka import Message

from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.partition import Found, PartitionDetector
from tachograph.pipeline.detect.ticks import TickBook
from tachograph.pipeline.kafka.reader import Place, headers_of
from tachograph.pipeline.log import get
from tachograph.pipeline.metrics import DROPPED
from tachograph.schemas import batch, codec, contracts
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.records import SessionLink, Tick

log = get("detect.shard")

# A signal's revision: offset << 20, so that what one record causes can be told apart.
REVISION_SHIFT = 20
# Actions judged in one go: enough to be fast, few enough to stay small.
JUDGE_ROWS = 50_000
# What `normalize` reads: each of these ticks.
RAW_TOPICS = [t.topic for t in contracts.topics().values() if t.raw and t.owner == "producers"]


class State(msgspec.Struct, frozen=True):
    """What a checkpoint holds."""

    detector: bytes
    ticks: list[tuple[str, int, int, int]]


class Part(msgspec.Struct):
    """Records of one stretch of the log, sorted by kind."""

    frames: list[pl.DataFrame]
    links: list[SessionLink]
    ticks: list[Tick]
    last_offset: int


class Shard:
    """State and judgement of one partition."""

    def __init__(
        self,
        place: Place,
        rules: RuleSet,
        *,
        start: int,
        muted_until: int,
        careful_until: int = 0,
    ) -> None:
        """`careful_until`: how far the owner before may have come without committing it."""
        self.place = place
        self.next_offset = start
        self.muted_until = muted_until
        self.careful_until = careful_until
        # Everything before it was acknowledged and committed.
        self.committed = muted_until
        self.changed = False
        self.actions = 0
        self.ticks = TickBook(RAW_TOPICS)
        self._detector = PartitionDetector(rules)
        self._repeated = 0
        self._lost: Counter[str] = Counter()

    def load(self, state: bytes) -> None:
        """Take up a checkpoint. Raises ValueError when it cannot be read."""
        try:
            kept = msgspec.msgpack.decode(state, type=State)
        except msgspec.DecodeError as error:
            raise ValueError(f"checkpoint of {self.place}: {error}") from error
        self._detector.load(kept.detector)
        self.ticks.load(kept.ticks)

    def dump(self) -> bytes:
        """The state at `next_offset`, for a checkpoint."""
        state = State(detector=self._detector.dump(), ticks=self.ticks.dump())
        self.changed = False
        return msgspec.msgpack.encode(state)

    def news(self) -> tuple[int, Mapping[str, int]]:
        """Since the last call: actions known already, and what was forgotten at limits, by kind."""
        repeated, lost = self._detector.seen.repeated, Counter(self._detector.evicted())
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
        return self.next_offset == self.committed

    def process(self, messages: Sequence[Message]) -> list[Found]:
        """Judge records of this partition, in order; what was committed before comes back empty."""
        found: list[Found] = []
        for (muted, _), stretch in groupby(messages, key=self._stretch):
            for part in _parts(list(stretch)):
                results = self._judge(part)
                found += [] if muted else results
        if messages:
            self.next_offset = (messages[-1].offset() or 0) + 1
            self.changed = True
        return found

    def _stretch(self, message: Message) -> tuple[bool, int]:
        """Whether a record is muted, and which others are judged together with it.

        The owner before may have died between saying something and committing it. How it had cut
        its stretches is not known, and what stood at the end of one may be undone by the very next
        record. Judged one by one, these records say all that may have been said, and take it back.
        """
        offset = message.offset() or 0
        muted = offset < self.muted_until
        return muted, offset if not muted and offset < self.careful_until else -1

    def _judge(self, part: Part) -> list[Found]:
        revision = part.last_offset << REVISION_SHIFT
        found = []
        if part.frames or part.links:
            frame = pl.concat(part.frames, how="diagonal") if part.frames else batch.empty()
            self.actions += frame.height
            found.append(self._detector.process(frame, part.links, revision))
        for tick in part.ticks:
            self.ticks.note(tick)
        if part.ticks and (watermark := self.ticks.watermark_us()) is not None:
            found.append(self._detector.tick(watermark, revision))
        return found


def _parts(messages: list[Message]) -> Iterator[Part]:
    """The records in stretches of at most JUDGE_ROWS actions."""
    part, rows = Part([], [], [], 0), 0
    for message in messages:
        rows += _sort_in(message, part)
        part.last_offset = message.offset() or 0
        if rows >= JUDGE_ROWS:
            yield part
            part, rows = Part([], [], [], 0), 0
    if part.frames or part.links or part.ticks:
        yield part


def _sort_in(message: Message, part: Part) -> int:
    """Decode one record into the part; its number of actions. Broken ones are counted and told."""
    headers = headers_of(message)
    payload = message.value() or b""
    try:
        match headers.get(RECORD_HEADER):
            case b"action_batch":
                part.frames.append(batch.decode(payload))
                return part.frames[-1].height
            case b"session_link":
                part.links.append(codec.decode(SessionLink, payload))
            case b"tick":
                part.ticks.append(codec.decode(Tick, payload))
    except (pl.exceptions.PolarsError, OSError, codec.InvalidRecord) as error:
        # Only `normalize` writes here: this is a fault of ours or a foreign writer, never an
        # agent's.
        DROPPED.labels("detect", "undecodable_record").inc()
        place = f"{message.topic()}/{message.partition()}@{message.offset()}"
        log.warning("record cannot be read and is passed over", place=place, error=str(error))
    return 0
