"""One partition that `detect` reads: its records in, what is found out, its state kept.

State is a function of the log: a shard starts from its newest checkpoint, takes in the records
after it and says nothing of those that were committed before (they were emitted then), and goes
on from there.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import polars as pl
from confluent_kafka import Message

from tachograph.detectors.partition import Found
from tachograph.pipeline.detect.judges import Judge
from tachograph.pipeline.kafka.reader import Place, headers_of
from tachograph.pipeline.log import get
from tachograph.pipeline.metrics import DROPPED
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER

log = get("detect.shard")

# A signal's revision: offset << 20, so that what one record causes can be told apart.
REVISION_SHIFT = 20
# Actions judged in one go: enough to be fast, few enough to stay small.
JUDGE_ROWS = 50_000


class Shard:
    """State and judgement of one partition."""

    def __init__(
        self,
        place: Place,
        judge: Judge,
        *,
        start: int,
        muted_until: int,
        careful_until: int = 0,
    ) -> None:
        """`careful_until`: how far the owner before may have come without committing it."""
        self.place = place
        self.judge = judge
        self.next_offset = start
        self.muted_until = muted_until
        self.careful_until = careful_until
        # Everything before it was acknowledged and committed.
        self.committed = muted_until
        self.changed = False
        self._repeated = 0
        self._lost: Counter[str] = Counter()

    def dump(self) -> bytes:
        """The state at `next_offset`, for a checkpoint."""
        self.changed = False
        return self.judge.dump()

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
        return self.next_offset == self.committed

    def process(self, messages: Sequence[Message]) -> list[Found]:
        """Judge records of this partition, in order; what was committed before comes back empty."""
        found: list[Found] = []
        for (muted, _), stretch in groupby(messages, key=self._stretch):
            for results in self._judged(stretch):
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

    def _judged(self, messages: Iterator[Message]) -> Iterator[list[Found]]:
        """What is found in a stretch, judged in pieces of at most JUDGE_ROWS."""
        rows = offset = 0
        for message in messages:
            rows += self._take(message)
            offset = message.offset() or 0
            if rows >= JUDGE_ROWS:
                yield self.judge.judge(offset << REVISION_SHIFT)
                rows = 0
        yield self.judge.judge(offset << REVISION_SHIFT)

    def _take(self, message: Message) -> int:
        """Decode one record; its rows. Broken ones are counted and told."""
        try:
            return self.judge.take(headers_of(message).get(RECORD_HEADER), message.value() or b"")
        except (pl.exceptions.PolarsError, OSError, codec.InvalidRecord) as error:
            # Only our stages write here: this is a fault of ours or a foreign writer, never an
            # agent's.
            DROPPED.labels("detect", "undecodable_record").inc()
            place = f"{message.topic()}/{message.partition()}@{message.offset()}"
            log.warning("record cannot be read and is passed over", place=place, error=str(error))
            return 0
