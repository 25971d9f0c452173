"""How full the stand-in broker is of records that somebody has still to read.

librdkafka's cluster drops the oldest batches of a partition beyond five MiB without a word, so who
takes records in must stop before that: the door answers 429, the replay waits. No Kafka request
tells how many bytes a partition holds, so they are estimated, always from above:

- Once a partition has dropped something (its first offset is past 0) it is exactly full: what is
  unread, as a share of what it holds, is how full it is.
- Before that it holds everything ever written: unread records × bytes a record. The bytes are those
  that the writers reported (`wrote`), uncompressed and with an allowance for framing; for a topic
  that nobody reports, those of a sample of its unread records.
- What was written since the last look counts as if all of it had gone to the fullest partition.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from tachograph.pipeline.log import get
from tachograph.pipeline.standins.broker import MAX_PARTITION_BATCHES, MAX_PARTITION_BYTES

log = get("standins.backlog")

# Key, header and framing bytes that a record adds to its value, at worst one batch a record.
RECORD_OVERHEAD_BYTES = 96
HIGH_WATER = 0.5
LOW_WATER = 0.3
SAMPLE_RECORDS = 64
REQUEST_TIMEOUT_S = 2.0
MIN_LOOK_GAP_S = 0.01
# A look older than this says nothing: better to stop than to guess.
STALE_AFTER_S = 5.0


@dataclass(frozen=True)
class Caps:
    """What one partition holds before it drops its oldest batch."""

    partition_bytes: int = MAX_PARTITION_BYTES
    partition_batches: int = MAX_PARTITION_BATCHES


@dataclass(frozen=True)
class Fullness:
    """The fullest unread partition. At `fraction` 1.0 the next batch may cut off unread records.

    `cut_off` counts the records that were dropped before their group read them."""

    fraction: float
    topic: str = ""
    partition: int = 0
    group: str = ""
    unread: int = 0
    cut_off: int = 0


@dataclass
class _Sizes:
    """Bytes and records that writers reported for one topic."""

    size_bytes: int = 0
    records: int = 0
    recent_bytes: int = 0
    recent_records: int = 0

    @property
    def mean_bytes(self) -> float:
        return self.size_bytes / self.records


@dataclass
class _Log:
    """One partition at one look."""

    low: int = 0
    high: int = 0


Place = tuple[str, int]
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class Backpressure:
    """Watches, on a thread of its own, how far the readers of some topics are behind.

    `readers` names for each topic the consumer groups that must read all of it. `wrote` and
    `should_wait` never block and may be called from any thread; `wait` blocks. Until the first look
    has come back, and whenever the broker is away, the backlog counts as full."""

    def __init__(
        self,
        bootstrap_servers: str,
        readers: Mapping[str, Sequence[str]],
        *,
        caps: Caps | None = None,
        refresh_s: float = 0.25,
    ) -> None:
        self._readers = {topic: tuple(groups) for topic, groups in readers.items()}
        self._caps = caps or Caps()
        self._refresh_s = refresh_s
        self._condition = threading.Condition()
        self._sizes: dict[str, _Sizes] = {}
        self._seen = Fullness(1.0)
        self._seen_at = -STALE_AFTER_S
        self._shares: dict[str, float] = {}
        self._cut_off: dict[tuple[str, Place], int] = {}
        self._behind = False
        self._closed = False
        self._watch = _Watch(bootstrap_servers)
        self._look_now = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backpressure", daemon=True)
        self._thread.start()

    def wrote(self, topic: str, size_bytes: int, records: int = 1) -> None:
        """Say that the broker acknowledged records: bytes of keys, values and headers."""
        with self._condition:
            sizes = self._sizes.setdefault(topic, _Sizes())
            full_bytes = size_bytes + records * RECORD_OVERHEAD_BYTES
            sizes.size_bytes += full_bytes
            sizes.records += records
            sizes.recent_bytes += full_bytes
            sizes.recent_records += records

    def fullness(self) -> Fullness:
        """The last look, plus what was reported since. Does not block."""
        with self._condition:
            return self._fullness()

    def _fullness(self) -> Fullness:
        if time.monotonic() - self._seen_at > STALE_AFTER_S:
            return Fullness(1.0, cut_off=self._seen.cut_off)
        worst, fraction = "", self._seen.fraction
        for topic, sizes in self._sizes.items():
            if topic in self._readers:
                by_bytes = sizes.recent_bytes / self._caps.partition_bytes
                by_count = sizes.recent_records / self._caps.partition_batches
                share = self._shares.get(topic, 0.0) + max(by_bytes, by_count)
                if share > fraction:
                    worst, fraction = topic, share
        if not worst:
            return self._seen
        return Fullness(fraction, worst, cut_off=self._seen.cut_off)

    def should_wait(self) -> bool:
        """Whether to take nothing in: from HIGH_WATER on, then until below LOW_WATER."""
        with self._condition:
            if self._behind:
                return True
            # Perhaps only what was just written, counted from above: look again before the next.
            full = self._fullness().fraction >= HIGH_WATER
            if full:
                self._look_now.set()
            return full

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until there is room. False if there was none within `timeout_s`."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while self.should_wait():
            left = self._refresh_s if end is None else min(self._refresh_s, end - time.monotonic())
            if left <= 0:
                return False
            with self._condition:
                self._condition.wait(left)
        return True

    def close(self) -> None:
        """Stop watching."""
        with self._condition:
            self._closed = True
        self._look_now.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while not self._closed:
                try:
                    self._look()
                except KafkaException as error:  # away or starting: the last look goes stale
                    log.debug("no look at the backlog", reason=str(error))
                time.sleep(MIN_LOOK_GAP_S)
                self._look_now.wait(self._refresh_s)
                self._look_now.clear()
        finally:
            self._watch.close()

    def _look(self) -> None:
        with self._condition:
            began = time.monotonic()
            counted = {
                topic: (s.recent_bytes, s.recent_records) for topic, s in self._sizes.items()
            }
        logs = self._watch.logs(tuple(self._readers))
        groups = sorted({group for groups in self._readers.values() for group in groups})
        committed = {group: self._watch.committed(group, tuple(logs)) for group in groups}
        found = [
            self._judge(topic, partition, group, log, committed[group].get((topic, partition), -1))
            for (topic, partition), log in logs.items()
            for group in self._readers[topic]
        ]
        with self._condition:
            cut_off = sum(self._cut_off.values())
            worst = max(found, key=lambda one: one.fraction, default=Fullness(0.0))
            self._seen = Fullness(
                worst.fraction, worst.topic, worst.partition, worst.group, worst.unread, cut_off
            )
            self._seen_at = began
            self._behind = worst.fraction >= (LOW_WATER if self._behind else HIGH_WATER)
            self._shares = {}
            for one in found:
                self._shares[one.topic] = max(self._shares.get(one.topic, 0.0), one.fraction)
            for topic, (size_bytes, records) in counted.items():
                self._sizes[topic].recent_bytes -= size_bytes
                self._sizes[topic].recent_records -= records
            self._condition.notify_all()

    def _judge(self, topic: str, partition: int, group: str, log: _Log, committed: int) -> Fullness:
        position = max(committed, 0)
        lost = max(0, log.low - position)
        key = (group, (topic, partition))
        self._cut_off[key] = max(lost, self._cut_off.get(key, 0))
        unread = max(0, log.high - max(position, log.low))
        if unread == 0:
            return Fullness(0.0, topic, partition, group)
        if log.low > 0:
            fraction = unread / (log.high - log.low)
        else:
            mean = self._mean_bytes(topic, partition, position, unread)
            by_bytes = unread * mean / self._caps.partition_bytes
            fraction = max(by_bytes, unread / self._caps.partition_batches)
        return Fullness(fraction, topic, partition, group, unread)

    def _mean_bytes(self, topic: str, partition: int, position: int, unread: int) -> float:
        with self._condition:
            sizes = self._sizes.get(topic)
            if sizes is not None and sizes.records:
                return sizes.mean_bytes
        return self._watch.sampled_bytes(topic, partition, position, unread)


@dataclass
class _Watch:
    """The requests, for one thread: offsets and samples. They raise KafkaException."""

    bootstrap_servers: str
    _admin: AdminClient | None = None
    _sampler: Consumer | None = None
    _sampled: dict[Place, tuple[int, int, float]] = field(default_factory=dict)

    def _config(self) -> dict[str, str | int | float | bool]:
        return {"bootstrap.servers": self.bootstrap_servers, "log_level": 2}

    def admin(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(self._config())
        return self._admin

    def logs(self, topics: tuple[str, ...]) -> dict[Place, _Log]:
        """First and next offset of every partition of the topics that exist."""
        metadata = self.admin().list_topics(timeout=REQUEST_TIMEOUT_S)
        places = [
            TopicPartition(topic, partition)
            for topic in topics
            if topic in metadata.topics
            for partition in metadata.topics[topic].partitions
        ]
        found = {(place.topic, place.partition): _Log() for place in places}
        if not places:
            return found
        # High after low: a record that comes in between is counted as unread, never overlooked.
        for place, offset in self._offsets(places, _EARLIEST).items():
            found[place].low = offset
        for place, offset in self._offsets(places, _LATEST).items():
            found[place].high = offset
        return found

    def _offsets(self, places: list[TopicPartition], spec: OffsetSpec) -> dict[Place, int]:
        wanted = {TopicPartition(place.topic, place.partition): spec for place in places}
        futures = self.admin().list_offsets(wanted, request_timeout=REQUEST_TIMEOUT_S)
        return {
            (place.topic, place.partition): int(future.result(REQUEST_TIMEOUT_S).offset)
            for place, future in futures.items()
        }

    def committed(self, group: str, places: tuple[Place, ...]) -> dict[Place, int]:
        """Where a group will read on. A place it never committed is left out."""
        if not places:
            return {}
        wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(*place) for place in places])
        futures = self.admin().list_consumer_group_offsets(
            [wanted], request_timeout=REQUEST_TIMEOUT_S
        )
        answer = futures[group].result(REQUEST_TIMEOUT_S)
        return {
            (place.topic, place.partition): place.offset
            for place in answer.topic_partitions
            if place.offset >= 0
        }

    def sampled_bytes(self, topic: str, partition: int, position: int, unread: int) -> float:
        """Bytes of an unread record: the mean of the oldest or of the newest, whichever is larger.

        Taken anew when twice as much is unread."""
        at, size, mean = self._sampled.get((topic, partition), (-1, 0, 0.0))
        if at <= position < at + size and unread <= 2 * size:
            return mean
        starts = {position, max(position, position + unread - SAMPLE_RECORDS)}
        mean = max(self._sample(topic, partition, start, unread) for start in starts)
        self._sampled[(topic, partition)] = (position, unread, mean)
        return mean

    def _sample(self, topic: str, partition: int, start: int, unread: int) -> float:
        if self._sampler is None:
            self._sampler = Consumer(
                {
                    **self._config(),
                    "group.id": "tacho.backlog",
                    "enable.auto.commit": False,
                    "auto.offset.reset": "earliest",
                    "queued.max.messages.kbytes": 8192,
                }
            )
        self._sampler.assign([TopicPartition(topic, partition, start)])
        messages = self._sampler.consume(min(unread, SAMPLE_RECORDS), timeout=1.0)
        self._sampler.unassign()
        sizes = [_size_bytes(message) for message in messages if message.error() is None]
        if not sizes:
            return float(MAX_PARTITION_BYTES)
        return sum(sizes) / len(sizes) + RECORD_OVERHEAD_BYTES

    def close(self) -> None:
        if self._sampler is not None:
            self._sampler.close()


def _size_bytes(message: Message) -> int:
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    extra = sum(len(name) + len(value or b"") for name, value in pairs)
    return len(message.value() or b"") + len(message.key() or b"") + extra
