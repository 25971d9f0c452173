"""The alert feed: one reader of `agent.alerts` for all watchers, and the newest alerts in
memory.

A watcher that resumes from an older place reads the log itself (`History`) until it meets what
is in memory.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tachograph.pipeline.kafka.reader import SILENT
from tachograph.pipeline.log import get
from tachograph.pipeline.metrics import DROPPED
from tachograph.pipeline.serve.cursor import Cursor
from tachograph.pipeline.serve.limits import Limits
from tachograph.pipeline.settings import Settings

log = get("serve.feed")

TOPIC: Final = "agent.alerts"
CALL_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.1
RETRY_S: Final = 1.0
PARTITIONS_AGE_S: Final = 30.0
READ_RECORDS: Final = 500
# Batches the reader may be ahead of the loop.
_AHEAD: Final = 4


class _Rule(msgspec.Struct):
    rule_id: str


class Facts(msgspec.Struct):
    """What watchers filter by."""

    tenant: str
    severity: str
    risk_category: str
    rules: list[_Rule]


_LINE_ENDS: Final = tuple(
    (mark.encode(), b"\\u%04x" % ord(mark)) for mark in ("\u2028", "\u2029", "\u0085")
)
_FACTS: Final = msgspec.json.Decoder(Facts)


class Item(NamedTuple):
    """One alert of the log: its place, its JSON on one line, and what it is filtered by."""

    partition: int
    offset: int
    line: bytes
    facts: Facts | None  # None: no alert; only its place counts


def place_of(message: Message) -> tuple[int, int]:
    """Partition and offset of a record that was read: it has both."""
    partition, offset = message.partition(), message.offset()
    return -1 if partition is None else partition, -1 if offset is None else offset


def item_of(message: Message) -> Item:
    """A record as an item. What is no alert is counted and keeps its place only."""
    partition, offset = place_of(message)
    value = message.value() or b""
    try:
        facts = _FACTS.decode(value)
        if b"\n" in value or b"\r" in value:
            # A line break outside a string is the only one JSON allows, and a watcher would
            # read on after it.
            value = msgspec.json.format(value, indent=-1)
        # JSON lets these three stand inside strings, and some clients end a line at them.
        for mark, escape in _LINE_ENDS:
            value = value.replace(mark, escape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        DROPPED.labels("serve", "not_an_alert").inc()
        return Item(partition, offset, b"", None)
    return Item(partition, offset, value, facts)


def consumer_of(settings: Settings, **overrides: Any) -> Consumer:
    """A reader of a whole topic, in no group."""
    return Consumer(
        {
            **settings.kafka.client_config(),
            # Partitions are assigned by hand: no membership, no commits; the name is asked for
            # all the same.
            "group.id": "tacho.serve",
            "client.id": "tacho.serve",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": settings.kafka.fetch_wait_ms,
            "allow.auto.create.topics": True,
            "queued.max.messages.kbytes": 4096,
            "logger": SILENT,
            **overrides,
        }
    )


def _partitions(consumer: Consumer) -> list[int]:
    found = consumer.list_topics(TOPIC, timeout=CALL_TIMEOUT_S).topics[TOPIC]
    return [] if found.error is not None else sorted(found.partitions)


def _bounds(consumer: Consumer, partition: int) -> tuple[int, int]:
    low, high = consumer.get_watermark_offsets(
        TopicPartition(TOPIC, partition), timeout=CALL_TIMEOUT_S
    )
    return low, high


class Feed:
    """The newest alerts. Made and used on the event loop; its reader has a thread of its own."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self._settings, self._limits = settings, limits
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._room = threading.Semaphore(_AHEAD)
        self._items: list[Item] = []
        self._bytes = 0
        self._news = asyncio.Event()
        self.base = 0  # running number of the oldest alert in memory
        self.head: Cursor = {}  # next offset to arrive
        self.floor: Cursor = {}  # from here on everything is in memory
        self.fresh: Cursor = {}  # where a watcher without an id begins
        self.catching_up = asyncio.Semaphore(limits.catching_up)
        self._thread = threading.Thread(target=self._tail, name="alert-feed", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the log's partitions are known."""
        return bool(self.head)

    @property
    def closed(self) -> bool:
        """Whether watchers should leave."""
        return self._stop.is_set()

    @property
    def end(self) -> int:
        """Running number of the next alert to arrive."""
        return self.base + len(self._items)

    def at(self, number: int) -> Item:
        """The alert of a running number from `base` to below `end`."""
        return self._items[number - self.base]

    def now(self) -> Cursor:
        """The end of the feed, for a watcher that wants only what is new."""
        return {p: max(at, self.fresh.get(p, 0)) for p, at in self.head.items()}

    def covers(self, cursor: Cursor) -> bool:
        """Whether everything from `cursor` on is in memory or still to come."""
        return all(self.floor[p] <= cursor.get(p, -1) <= self.now()[p] for p in self.floor)

    async def news(self, after: int, timeout_s: float) -> bool:
        """Wait until there is an alert from number `after` on, or the feed closes. False:
        neither in time.
        """
        if self.end > after or self.closed:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
                return True
        return False

    def close(self) -> None:
        """Stop reading; watchers wake and leave."""
        self._stop.set()
        self._news.set()
        self._room.release()
        self._thread.join(timeout=CALL_TIMEOUT_S)

    def _announce(self) -> None:
        self._news.set()
        if not self.closed:
            self._news = asyncio.Event()

    def _begin(self, starts: Cursor, ends: Cursor) -> None:
        for partition, start in starts.items():
            if partition not in self.head:
                self.head[partition] = self.floor[partition] = start
                self.fresh[partition] = ends[partition]
        self._announce()

    def _arrived(self, items: list[Item]) -> None:
        self._room.release()
        for item in items:
            if item.offset < self.head.get(item.partition, 0):
                self._begin_anew(item)
            self.head[item.partition] = item.offset + 1
            self._items.append(item)
            self._bytes += len(item.line)
        if len(self._items) > self._limits.feed_items or self._bytes > self._limits.feed_bytes:
            self._trim()
        self._announce()

    def _begin_anew(self, item: Item) -> None:
        """The topic was made anew: what is in memory belongs to another log."""
        log.warning("the alert topic starts again", partition=item.partition, offset=item.offset)
        self._forget(len(self._items))
        for place in (self.floor, self.fresh):
            place[item.partition] = item.offset

    def _trim(self) -> None:
        # Down to three quarters, so that the list is not moved at every alert.
        keep_items = self._limits.feed_items * 3 // 4
        keep_bytes = self._limits.feed_bytes * 3 // 4
        count, size_bytes = 0, self._bytes
        while len(self._items) - count > keep_items or size_bytes > keep_bytes:
            size_bytes -= len(self._items[count].line)
            count += 1
        self._forget(count)

    def _forget(self, count: int) -> None:
        for item in self._items[:count]:
            self.floor[item.partition] = item.offset + 1
            self._bytes -= len(item.line)
        del self._items[:count]
        self.base += count

    # --- on the reader's thread ---------------------------------------------------------------

    def _tail(self) -> None:
        consumer = consumer_of(self._settings, **{"topic.metadata.refresh.interval.ms": 10_000})
        try:
            while not self._stop.is_set():
                try:
                    self._follow(consumer)
                except KafkaException as error:
                    log.warning("alert feed", error=str(error.args[0]))
                self._stop.wait(RETRY_S)
        finally:
            consumer.close()

    def _follow(self, consumer: Consumer) -> None:
        """Read from the newest alerts on, until there are other partitions or it stops."""
        partitions = _partitions(consumer)
        if not partitions:
            return
        starts, ends = {}, {}
        for partition in partitions:
            low, ends[partition] = _bounds(consumer, partition)
            prefill = ends[partition] - self._limits.prefill_items
            starts[partition] = self.head.get(partition, max(low, prefill))
        consumer.assign([TopicPartition(TOPIC, p, at) for p, at in starts.items()])
        self._tell(self._begin, starts, ends)
        checked_s = time.monotonic()
        while not self._stop.is_set():
            self._read(consumer)
            if time.monotonic() - checked_s > PARTITIONS_AGE_S:
                checked_s = time.monotonic()
                if _partitions(consumer) != partitions:
                    return

    def _read(self, consumer: Consumer) -> None:
        first = consumer.poll(POLL_S)
        if first is None:
            return
        messages = [first, *consumer.consume(READ_RECORDS, 0)]
        items = [item_of(message) for message in messages if message.error() is None]
        if items:
            self._room.acquire()
            self._tell(self._arrived, items)

    def _tell(self, what: Any, *values: Any) -> None:
        # The loop may be closed already at the end of a shutdown.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what, *values)


class Gap(NamedTuple):
    """Alerts that a resuming watcher can no longer get."""

    partition: int
    asked: int
    given: int


class History:
    """Older alerts straight from the log, for one watcher. Every method blocks: call it off the
    loop.
    """

    def __init__(self, settings: Settings, cursor: Cursor) -> None:
        self._consumer = consumer_of(
            settings, **{"enable.partition.eof": True, "queued.max.messages.kbytes": 1024}
        )
        self.cursor = dict(cursor)

    def examine(self) -> list[Gap]:
        """Fit the cursor to what the log holds, and begin there. Raises KafkaException."""
        gaps = []
        for partition in _partitions(self._consumer):
            low, high = _bounds(self._consumer, partition)
            asked = self.cursor.get(partition)
            if asked is None:
                self.cursor[partition] = low
            elif not low <= asked <= high:
                # Too old: retention took them. Ahead of the log: the topic was made anew.
                gaps.append(Gap(partition, asked, low))
                self.cursor[partition] = low
        places = [TopicPartition(TOPIC, p, at) for p, at in self.cursor.items()]
        self._consumer.assign(places)
        return gaps

    def read(self) -> list[Item]:
        """The next alerts, or none when there are none at the moment; the end of a partition
        moves the cursor.
        """
        first = self._consumer.poll(POLL_S)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(READ_RECORDS - 1, 0)]
        return list(self._items(messages))

    def _items(self, messages: Iterable[Message]) -> Iterable[Item]:
        for message in messages:
            error = message.error()
            if error is None:
                yield item_of(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                # Offsets without a record (a broker's own marks) end here too.
                partition, end = place_of(message)
                yield Item(partition, end - 1, b"", None)

    def close(self) -> None:
        """Let the broker go."""
        self._consumer.close()
