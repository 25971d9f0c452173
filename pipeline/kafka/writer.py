"""Writing Kafka: send without waiting, then flush once for everything an input caused."""

import time
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.kafka.reader import SILENT, mapped
from tachograph.pipeline.settings import Settings

MAX_RECORD_BYTES = 1_000_000
QUEUE_RECORDS = 200_000
QUEUE_KB = 262_144
_NEVER = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._FATAL}


class Writer:
    """An idempotent producer. Used by one thread; `flush` says whether all that was sent is
    acknowledged.
    """

    def __init__(
        self, settings: Settings, *, overrides: Mapping[str, str | int | bool] | None = None
    ) -> None:
        self._failed: KafkaError | None = None
        self._producer = Producer(
            {
                **settings.kafka.client_config(),
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": "zstd",
                # Java's and aiokafka's hash: librdkafka's default puts keys elsewhere.
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "message.max.bytes": MAX_RECORD_BYTES * 2,
                "queue.buffering.max.messages": QUEUE_RECORDS,
                "queue.buffering.max.kbytes": QUEUE_KB,
                "delivery.timeout.ms": 60_000,
                "topic.metadata.refresh.interval.ms": 10_000,
                "logger": SILENT,
                **(overrides or {}),
            }
        )

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Mapping[str, bytes] | None = None,
        timestamp_ms: int = 0,
    ) -> None:
        """Queue one record; blocks while the queue is full. Without a value what has the key is
        gone from a compacted topic. `timestamp_ms`: of the record, where it is not now. Raises
        Refused when it is too large.
        """
        place = -1 if partition is None else partition
        while True:
            try:
                self._producer.produce(
                    topic,
                    value,
                    key,
                    place,
                    self._done,
                    timestamp=timestamp_ms,
                    headers=dict(headers or {}),
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise self._mapped(error.args[0], topic) from error
            else:
                self._producer.poll(0)
                return

    def _done(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed = error

    @staticmethod
    def _mapped(error: KafkaError, what: str) -> RetryLater | Refused:
        if error.code() in _NEVER:
            return Refused(f"{what}: {error.str()}")
        return mapped(error, what)

    def flush(self, deadline_s: float = 90.0) -> None:
        """Wait until everything sent is acknowledged.

        Raises RetryLater or Refused if a record since the last flush was not acknowledged: then
        nothing that caused it may be committed.
        """
        end = time.monotonic() + deadline_s
        while (left := self._producer.flush(max(0.0, min(1.0, end - time.monotonic())))) > 0:
            if time.monotonic() >= end:
                raise RetryLater(f"{left} records were not acknowledged within {deadline_s:.0f} s")
        failed, self._failed = self._failed, None
        if failed is not None:
            raise self._mapped(failed, "produce")

    def poll(self) -> None:
        """Serve delivery reports without waiting."""
        self._producer.poll(0)

    def partitions(self, topic: str, timeout_s: float = 10.0) -> int:
        """Number of partitions of a topic. Asking creates it where the broker does so, which takes
        a moment: it is asked again until `timeout_s`. Raises RetryLater, Refused.
        """
        end = time.monotonic() + timeout_s
        while True:
            try:
                found = self._producer.list_topics(topic, timeout_s).topics[topic]
            except KafkaException as error:
                raise mapped(error.args[0], f"topic {topic}") from error
            if found.error is None and found.partitions:
                return len(found.partitions)
            if time.monotonic() >= end:
                raise RetryLater(f"topic {topic} is not there yet")
            time.sleep(0.1)
