"""The log itself, for rows that are too new to have a head."""

import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.kafka.reader import SILENT
from tachograph.pipeline.kafka.topics import cluster_id
from tachograph.pipeline.kafka.whole import bounds
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.verify.findings import TreeId

log = get("verify.kafka")

ANSWER_WITHIN_S = 3.0
READ_WITHIN_S = 30.0


class Kept(dict[int, bytes]):
    """Records of a place by offset, and what is known of where the log ends."""

    def __init__(self, low: int, end: int) -> None:
        super().__init__()
        self.low, self.end = low, end

    def lacks(self, offset: int) -> bool:
        """Whether the log never had the offset."""
        return offset >= self.end

    def holds(self, offset: int) -> bytes | None:
        """The record there; None when the log does not keep it any more, or it was not read."""
        return self.get(offset)


def answering(settings: Settings) -> Settings | None:
    """The settings, if a broker answers under them soon."""
    try:
        cluster_id(settings, ANSWER_WITHIN_S)
    except TachoError:
        return None
    return settings


class KafkaLog:
    """Reads a few records where they are asked for. Used by one thread. Raises RetryLater."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._cluster = settings, cluster_id(settings)

    def records(self, tree: TreeId, first: int, count: int) -> Kept | None:
        """Records from an offset on; None when this broker does not hold that log."""
        if tree.cluster != self._cluster:
            return None
        consumer = Consumer(
            {
                **self._settings.kafka.client_config(),
                "group.id": "tacho.verify",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 20,
                "logger": SILENT,
            }
        )
        at = TopicPartition(tree.topic, tree.partition)
        try:
            kept = Kept(*bounds(consumer, at))
            at.offset = max(kept.low, first)
            if at.offset < kept.end:
                consumer.assign([at])
                _read(consumer, at, kept, min(kept.end, at.offset + count))
        except KafkaException as error:
            log.warning("the log was not read", reason=error.args[0].name())
            return None
        finally:
            consumer.close()
        return kept


def _read(consumer: Consumer, at: TopicPartition, kept: Kept, end: int) -> None:
    until_s = time.monotonic() + READ_WITHIN_S
    while consumer.position([at])[0].offset < end and time.monotonic() < until_s:
        for message in consumer.consume(64, 0.1):
            if message.error() is None:
                kept[message.offset() or 0] = message.value() or b""
