"""Each record once, in order, none left out, whatever the client hands over."""

from collections.abc import Callable

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.triage.reading import Reading, first_from
from tests.conftest import Broker, SharedKafka

GROUP = "tests.reading"


def _log(kept: set[int]) -> Callable[[int, int], int]:
    """A log whose records have these offsets."""

    def first(_partition: int, offset: int) -> int:
        return min((number for number in kept if number >= offset), default=10**9)

    return first


@settings(deadline=None)
@given(
    kept=st.sets(st.integers(0, 30)), handed=st.lists(st.integers(0, 30)), start=st.integers(0, 9)
)
def test_what_is_admitted_is_the_log_from_its_start_without_a_gap(
    kept: set[int], handed: list[int], start: int
) -> None:
    reading = Reading(_log(kept))
    reading.start({4: start})
    admitted: list[int] = []
    for offset in handed:
        if offset not in kept:
            continue
        try:
            if reading.admits(4, offset):
                admitted.append(offset)
        except RetryLater:
            break
    whole = sorted(number for number in kept if number >= start)
    assert admitted == whole[: len(admitted)]


def test_a_hole_of_the_log_itself_is_passed_over() -> None:
    reading = Reading(_log({1, 2, 5}))
    reading.start({0: 1})
    assert [reading.admits(0, offset) for offset in (1, 2, 5, 2)] == [True, True, True, False]


def test_records_that_did_not_come_stop_the_reading_and_are_named() -> None:
    reading = Reading(_log(set(range(9))))
    reading.start({0: 3})
    with pytest.raises(RetryLater, match="records 3 to 6 of partition 0"):
        reading.admits(0, 7)


def test_a_partition_that_is_not_owned_is_not_read() -> None:
    reading = Reading(_log({0}))
    reading.start({0: 0})
    reading.start({1: 0})
    with pytest.raises(RetryLater, match="partition 0"):
        reading.admits(0, 0)


def test_the_first_record_from_an_offset_on_is_found(
    any_broker: Broker, settings_for: Callable[[str], Settings], topic_name: str
) -> None:
    settings = settings_for(any_broker.bootstrap_servers)
    writer = Writer(settings)
    for _ in range(3):
        writer.send(topic_name, b"{}", partition=0)
    writer.flush()
    assert first_from(settings, GROUP, topic_name, 0, 1) == 1


def test_records_that_are_no_longer_kept_are_refused_by_name(
    kafka_broker: SharedKafka, settings_for: Callable[[str], Settings], topic_name: str
) -> None:
    settings = settings_for(kafka_broker.bootstrap_servers)
    writer = Writer(settings)
    for _ in range(3):
        writer.send(topic_name, b"{}", partition=0)
    writer.flush()
    admin = AdminClient(settings.kafka.client_config())
    for deleted in admin.delete_records([TopicPartition(topic_name, 0, 2)]).values():
        deleted.result(30)
    with pytest.raises(Refused, match=f"{topic_name}/0: .*no longer kept.*{GROUP}"):
        first_from(settings, GROUP, topic_name, 0, 0)
    assert first_from(settings, GROUP, topic_name, 0, 2) == 2
