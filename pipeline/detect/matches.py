"""Writing agent.matches: what matched of rules whose groups lie in several partitions, and how far
the matches have come.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import polars as pl

from tachograph.detectors.correlation.travel import by_partition
from tachograph.pipeline.clock import to_datetime
from tachograph.pipeline.detect.shard import Shard
from tachograph.pipeline.kafka.reader import Place
from tachograph.pipeline.kafka.writer import MAX_RECORD_BYTES, Writer
from tachograph.pipeline.normalize.batches import ROWS_HEADER
from tachograph.schemas import batch, codec
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.records import Tick

TOPIC = "agent.matches"
VERSION = b"1"
ROWS_MAX = 5_000
TICK_EVERY_S = 1.0


class Matches:
    """Sends matches and ticks of the partitions that this process owns. Used by one thread."""

    def __init__(
        self,
        writer: Writer,
        partitions: int,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`partitions`: of agent.matches."""
        self._writer, self._partitions, self._now_s = writer, partitions, now_s
        # Of each place the time reached and the offset in agent.config that were told last.
        self._told: dict[Place, tuple[int, int]] = {}
        self._ticked_s = -TICK_EVERY_S

    def send(self, rows: pl.DataFrame) -> None:
        """Send match rows to where their groups are judged; they count once the writer is
        flushed.
        """
        for partition, part in by_partition(rows, self._partitions).items():
            for payload, count in _payloads(part):
                headers = _headers(b"match_batch") | {ROWS_HEADER: str(count).encode()}
                self._writer.send(TOPIC, payload, partition=partition, headers=headers)

    def tick(
        self, shards: Iterable[Shard], sources: Mapping[str, int], config_offset: int = -1
    ) -> None:
        """Tell every partition how far these shards have come, at most once a second. All that
        they sent must be acknowledged. `sources`: partitions of the topics that the shards read.
        `config_offset`: how far in agent.config stands what they judge by.
        """
        now_s = self._now_s()
        if now_s - self._ticked_s < TICK_EVERY_S:
            return
        self._ticked_s = now_s
        for shard in shards:
            reached = shard.judge.ticks.watermark_us()
            # One that is behind has not sent what a new rule has to see.
            if shard.muted or shard.behind or reached is None:
                continue
            now = reached, min(config_offset, shard.judge.config_offset)
            if now == self._told.get(shard.place):
                continue
            self._told[shard.place] = now
            tick = Tick(
                raw_topic=shard.place[0],
                raw_partition=shard.place[1],
                raw_partitions=sources[shard.place[0]],
                observed_time=to_datetime(reached),
                config_offset=now[1],
            )
            for partition in range(self._partitions):
                self._writer.send(
                    TOPIC, codec.encode(tick), partition=partition, headers=_headers(b"tick")
                )

    def lost(self, place: Place) -> None:
        """A place is owned no more: who owns it now ticks for it."""
        self._told.pop(place, None)


def _headers(record: bytes) -> dict[str, bytes]:
    return {RECORD_HEADER: record, VERSION_HEADER: VERSION}


def _payloads(rows: pl.DataFrame) -> Iterator[tuple[bytes, int]]:
    """The rows as records that the broker takes, and their number of rows. One row always fits."""
    for part in rows.iter_slices(ROWS_MAX):
        payload = batch.encode(part)
        if len(payload) <= MAX_RECORD_BYTES or part.height == 1:
            yield payload, part.height
        else:
            half = part.height // 2
            yield from _payloads(part.head(half))
            yield from _payloads(part.slice(half))
