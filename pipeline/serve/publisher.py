"""To Kafka from an event loop: a request waits for its records' acknowledgement, the loop for
nothing.

Records of all requests share one producer, which batches them. Its delivery reports arrive on a
thread of their own; the last report of a request wakes the loop.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tachograph.pipeline.kafka.reader import SILENT
from tachograph.pipeline.log import get
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.limits import Limits
from tachograph.pipeline.settings import Settings

log = get("serve.publisher")

POLL_S: Final = 0.1
PROBE_TIMEOUT_S: Final = 2.0
PROBE_AGE_S: Final = 2.0
# What librdkafka itself adds to a record, with room to spare.
_ENVELOPE_BYTES: Final = 65_536


class Outgoing(NamedTuple):
    """One record to write."""

    topic: str
    value: bytes
    key: bytes | None
    headers: Mapping[str, bytes]


class _Batch:
    """The records of one request; `delivered` is called on the producer's thread."""

    __slots__ = ("_lock", "_loop", "done", "error", "left", "size_bytes")

    def __init__(self, records: Sequence[Outgoing], loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self.left = len(records)
        self.size_bytes = sum(len(record.value) for record in records)
        self.error: KafkaError | None = None
        self.done: asyncio.Future[None] = loop.create_future()

    def delivered(self, error: KafkaError | None, _message: Message | None) -> None:
        self.settle(1, error)

    def settle(self, count: int, error: KafkaError | None) -> None:
        """`count` records are acknowledged, or never will be."""
        with self._lock:
            self.error = self.error or error
            self.left -= count
            finished = self.left == 0
        if finished:
            # The loop may be closed at the end of a shutdown: then nobody waits any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Publisher:
    """Writes records and waits for their acknowledgement. Methods are called on the event loop."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        overrides: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        self._limits = limits
        self._records = 0
        self._bytes = 0
        self._stop = threading.Event()
        self._fatal: str | None = None
        self._probe: tuple[float, bool] = (float("-inf"), False)
        self._probing = asyncio.Lock()
        self._producer = Producer(
            {
                **settings.kafka.client_config(),
                "client.id": "tacho.serve",
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": "zstd",
                # Java's and aiokafka's hash, as everywhere in the pipeline.
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "message.max.bytes": limits.body_bytes + _ENVELOPE_BYTES,
                "queue.buffering.max.messages": limits.in_flight_records,
                "queue.buffering.max.kbytes": limits.in_flight_bytes // 1024 + 32_768,
                "delivery.timeout.ms": int(limits.delivery_timeout_s * 1000),
                "topic.metadata.refresh.interval.ms": 10_000,
                "error_cb": self._on_error,
                "logger": SILENT,
                **(overrides or {}),
            }
        )
        self._thread = threading.Thread(target=self._poll, name="door-delivery", daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(POLL_S)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error.str()
        log.warning("broker", error=error.str())

    @property
    def fatal(self) -> str | None:
        """Why this producer can never write again, if so: the stage starts afresh."""
        return self._fatal

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Write all records and wait until each is acknowledged.

        Raises RequestError: 429 when the queue is full (none is written), 413 when the broker
        takes no record of that size, 503 when they were not acknowledged in time; then some may
        stand, and sending again changes nothing.
        """
        batch = _Batch(records, asyncio.get_running_loop())
        full = self._records + len(records) > self._limits.in_flight_records
        # A lone batch may be larger than the bound, or it could never pass.
        crowded = self._bytes + batch.size_bytes > self._limits.in_flight_bytes and self._bytes > 0
        if full or crowded:
            raise RequestError(429, "the queue to Kafka is full: send again later", retry_after_s=1)
        self._records += len(records)
        self._bytes += batch.size_bytes
        batch.done.add_done_callback(lambda _: self._release(len(records), batch.size_bytes))
        self._produce(batch, records)
        # The records are on their way whether or not the client still waits.
        await asyncio.shield(batch.done)
        if batch.error is not None:
            raise _answer(batch.error)

    def _release(self, records: int, size_bytes: int) -> None:
        self._records -= records
        self._bytes -= size_bytes

    def _produce(self, batch: _Batch, records: Sequence[Outgoing]) -> None:
        for sent, (topic, value, key, headers) in enumerate(records):
            try:
                self._producer.produce(
                    topic, value, key, headers=dict(headers), on_delivery=batch.delivered
                )
            except BufferError:
                batch.settle(len(records) - sent, KafkaError(KafkaError._QUEUE_FULL))
                return
            except KafkaException as error:
                batch.settle(len(records) - sent, error.args[0])
                return

    async def reachable(self) -> bool:
        """Whether the broker answers; asked at most every two seconds."""
        async with self._probing:
            at, answer = self._probe
            if time.monotonic() - at > PROBE_AGE_S:
                answer = await asyncio.to_thread(self._ask_broker)
                self._probe = (time.monotonic(), answer)
        return answer and self._fatal is None

    def _ask_broker(self) -> bool:
        try:
            self._producer.list_topics(timeout=PROBE_TIMEOUT_S)
        except KafkaException:
            return False
        return True

    def close(self, deadline_s: float) -> int:
        """Give what is on its way until the deadline. Returns the number of records left
        unacknowledged.
        """
        left: int = self._producer.flush(deadline_s)
        self._stop.set()
        self._thread.join(timeout=POLL_S * 5)
        return left


def _answer(error: KafkaError) -> RequestError:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return RequestError(413, "the broker takes no record of this size: send smaller batches")
    if error.code() == KafkaError._QUEUE_FULL:
        return RequestError(429, "the queue to Kafka is full: send again later", retry_after_s=1)
    log.warning("not acknowledged", error=error.str(), code=error.name())
    return RequestError(
        503, "Kafka did not acknowledge in time: send again, repeats count once", retry_after_s=5
    )
