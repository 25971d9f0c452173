"""A partition is read to its end, and nobody waits for records that are not there."""

from typing import Any

import pytest
from confluent_kafka import TopicPartition

from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.kafka import whole


class Log:
    """A consumer of so many records. Like librdkafka it would wait all of its time for a batch that
    is never full, so it may not be asked to.
    """

    def __init__(self, *records: Any) -> None:
        self.left, self.next = list(records), 0

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(places[0].topic, places[0].partition, self.next)]

    def poll(self, timeout_s: float) -> Any:
        del timeout_s
        return self._taken(1)[0] if self.left else None

    def consume(self, most: int, timeout_s: float) -> list[Any]:
        assert timeout_s == 0
        return self._taken(most)

    def _taken(self, most: int) -> list[Any]:
        taken, self.left = self.left[:most], self.left[most:]
        self.next += len(taken)
        return taken


class Record:
    def error(self) -> None:
        return None


PLACE = TopicPartition("agent.checkpoints", 3)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_every_record_is_read_without_waiting_for_a_full_batch(count: int) -> None:
    records: list[Any] = [Record() for _ in range(count)]
    log: Any = Log(*records)
    assert list(whole._until(log, PLACE, count, at_most=1_000)) == records


def test_a_log_that_never_comes_to_its_end_is_read_again_later() -> None:
    log: Any = Log(Record())
    with pytest.raises(RetryLater, match=r"agent\.checkpoints/3"):
        list(whole._until(log, PLACE, 2, at_most=1_000))
