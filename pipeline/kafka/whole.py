"""Reading a partition from its beginning to where it ends now, as what is compacted is read."""

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.kafka.reader import SILENT, mapped
from tachograph.pipeline.settings import Settings

CALL_TIMEOUT_S = 30.0
# Reading a partition that goes on growing has to end.
READ_RECORDS_MAX = 1_000_000
# Records held at once.
READ_AT_ONCE = 64
LEADER_WITHIN_S = 10.0
_NO_LEADER = {
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}


def whole_partition(
    settings: Settings,
    group: str,
    topic: str,
    partition: int,
    *,
    at_most: int = READ_RECORDS_MAX,
) -> Iterator[Message]:
    """Every record of a partition, up to where it ended at the call, `at_most` so many. Blocks.
    Raises RetryLater, Refused.

    `group`: a name for the broker's rights; nothing is committed under it.
    """
    consumer = Consumer(
        {
            **settings.kafka.client_config(),
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
            "logger": SILENT,
        }
    )
    at = TopicPartition(topic, partition)
    try:
        low, high = bounds(consumer, at)
        if low < high:
            at.offset = low
            consumer.assign([at])
            yield from _until(consumer, at, high, at_most)
    except KafkaException as error:
        raise mapped(error.args[0], f"read {topic}/{partition}") from error
    finally:
        consumer.close()


def bounds(consumer: Consumer, at: TopicPartition) -> tuple[int, int]:
    """First and next offset; a topic that was just made may have no leader for a moment."""
    end = time.monotonic() + LEADER_WITHIN_S
    while True:
        try:
            low, high = consumer.get_watermark_offsets(at, CALL_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() not in _NO_LEADER or time.monotonic() >= end:
                raise
            time.sleep(0.1)
        else:
            return low, high


def _until(consumer: Consumer, at: TopicPartition, end: int, at_most: int) -> Iterator[Message]:
    silent = read = 0
    while consumer.position([at])[0].offset < end and read < at_most:
        messages = _some(consumer)
        read += len(messages)
        # The end of a compacted log may be a gap: nothing more comes, though the position stays
        # short of it.
        silent = 0 if messages else silent + 1
        if silent >= int(CALL_TIMEOUT_S):
            raise RetryLater(
                f"{at.topic}/{at.partition} cannot be read to its end: the broker does not answer"
            )
        yield from (message for message in messages if message.error() is None)


def _some(consumer: Consumer) -> list[Message]:
    """What is there, at most `READ_AT_ONCE`; none if nothing comes within a second. Whoever asks
    librdkafka for more than there is waits all of its time for the rest.
    """
    first = consumer.poll(1.0)
    return [] if first is None else [first, *consumer.consume(READ_AT_ONCE - 1, 0)]
