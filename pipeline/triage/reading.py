"""Each record of a partition once, in order, none left out: whatever the client hands over.

Faust fetches on while it seeks to the committed offset and then empties its queues, and it drops
what it believes to have read. So what it hands over is checked here: a repeated record is passed
by, and a record that is not the next one is an error unless the log itself has nothing in between.
"""

from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.kafka.reader import SILENT, mapped
from tachograph.pipeline.settings import Settings

LOOK_S = 20.0
_GONE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}

# (partition, offset) → offset of the first record there is at or after it. May block.
FirstFrom = Callable[[int, int], int]


class Reading:
    """The next offset of each partition that is owned. Knows no client."""

    def __init__(self, first_from: FirstFrom) -> None:
        """`first_from` is asked when offsets are missing; what it raises goes to the caller."""
        self._first_from = first_from
        self._next: dict[int, int] = {}

    def start(self, starts: Mapping[int, int]) -> None:
        """Own these partitions, and no others, from these offsets on."""
        self._next = dict(starts)

    def admits(self, partition: int, offset: int) -> bool:
        """Whether the record is the next one; false when it was read before.

        Raises RetryLater when records between were not handed over: to be read again from the
        committed offset. What `first_from` raises when they are no longer kept.
        """
        due = self._next.get(partition)
        if due is None:
            raise RetryLater(f"a record of partition {partition} came before its start was known")
        if offset < due:
            return False
        if offset > due and self._first_from(partition, due) < offset:
            raise RetryLater(f"records {due} to {offset - 1} of partition {partition} did not come")
        self._next[partition] = offset + 1
        return True


def expired(topic: str, partition: int, group: str) -> Refused:
    """The records at the committed offset are gone: a jump would lose records without a word."""
    return Refused(
        f"{topic}/{partition}: the committed offset is no longer kept;"
        f" reset group {group} deliberately to go on"
    )


def first_from(settings: Settings, group: str, topic: str, partition: int, offset: int) -> int:
    """Offset of the first record at or after `offset`, read with a client of its own.

    Blocks for up to LOOK_S. Raises RetryLater, and Refused when the record is no longer kept.
    """
    consumer = Consumer(
        {
            **settings.kafka.client_config(),
            "group.id": f"{group}.look",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "logger": SILENT,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        message = consumer.poll(LOOK_S)
        error = message.error() if message else None
        if error is not None and error.code() in _GONE:
            raise expired(topic, partition, group)
        if error is not None:
            raise mapped(error, f"{topic}/{partition}")
        found = message.offset() if message else None
        if found is None:
            raise RetryLater(f"{topic}/{partition}: the broker shows no record from {offset} on")
        return found
    except KafkaException as error:
        raise mapped(error.args[0], f"{topic}/{partition}") from error
    finally:
        consumer.close()
