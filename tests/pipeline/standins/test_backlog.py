"""Backpressure: nothing unread is cut off while writers honour it."""

import threading
import uuid
from collections.abc import Iterator
from functools import partial

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tachograph.pipeline.standins.backlog import HIGH_WATER, LOW_WATER, Backpressure, Caps
from tachograph.pipeline.standins.broker import MAX_PARTITION_BYTES, MockBroker
from tests.waiting import WAIT_S, eventually

RECORD = b"x" * 10_000


@pytest.fixture(scope="module")
def broker() -> Iterator[MockBroker]:
    with MockBroker() as running:
        yield running


@pytest.fixture
def topic() -> str:
    return f"t{uuid.uuid4().hex}"


def _producer(broker: MockBroker) -> Producer:
    return Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 2})


def _reader(broker: MockBroker, topic: str) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": f"g-{topic}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "log_level": 2,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    return consumer


def _fill(producer: Producer, topic: str, records: int, value: bytes = RECORD) -> None:
    for _ in range(records):
        producer.produce(topic, value, partition=0)
    assert producer.flush(WAIT_S) == 0


def _sees(pressure: Backpressure, unread: int) -> bool:
    return pressure.fullness().unread == unread


def test_a_stalled_reader_stops_a_fast_writer_before_anything_unread_is_dropped(
    broker: MockBroker, topic: str
) -> None:
    producer, reader = _producer(broker), _reader(broker, topic)
    with Backpressure(broker.bootstrap_servers, {topic: [f"g-{topic}"]}) as pressure:
        eventually(lambda: pressure.fullness().fraction == 0, "the first look never came")
        written = 0
        while pressure.wait(timeout_s=1.5):
            _fill(producer, topic, 20)
            pressure.wrote(topic, 20 * len(RECORD), records=20)
            written += 20
            assert written * len(RECORD) < MAX_PARTITION_BYTES, "the writer was never stopped"
        assert written * len(RECORD) > MAX_PARTITION_BYTES * HIGH_WATER * 0.9, "stopped too early"
        offsets: list[int] = []
        while len(offsets) < written:
            batch = reader.consume(min(100, written - len(offsets)), timeout=WAIT_S)
            assert batch, "a record that nobody read was dropped"
            assert all(message.error() is None for message in batch)
            offsets += [message.offset() or 0 for message in batch]
        reader.commit(offsets=[TopicPartition(topic, 0, offsets[-1] + 1)], asynchronous=False)
        assert offsets == list(range(written))
        assert pressure.wait(timeout_s=WAIT_S), "a reader that caught up makes room again"
        assert pressure.fullness().cut_off == 0
    reader.close()


def test_a_slow_reader_gets_everything_though_many_times_the_cap_goes_through(
    broker: MockBroker, topic: str
) -> None:
    total = 4 * MAX_PARTITION_BYTES // len(RECORD)
    producer, reader = _producer(broker), _reader(broker, topic)
    seen: list[int] = []

    def read() -> None:
        while len(seen) < total:
            batch = reader.consume(min(150, total - len(seen)), timeout=1)
            assert all(message.error() is None for message in batch)
            seen.extend(message.offset() or 0 for message in batch)
            if batch:
                reader.commit(offsets=[TopicPartition(topic, 0, seen[-1] + 1)], asynchronous=False)

    thread = threading.Thread(target=read)
    with Backpressure(
        broker.bootstrap_servers, {topic: [f"g-{topic}"]}, refresh_s=0.05
    ) as pressure:
        _fill(producer, topic, 1)
        thread.start()
        for _ in range((total - 1) // 50):
            assert pressure.wait(timeout_s=WAIT_S)
            _fill(producer, topic, 50)
            pressure.wrote(topic, 50 * len(RECORD), records=50)
        _fill(producer, topic, (total - 1) % 50)
        thread.join(WAIT_S)
        assert pressure.fullness().cut_off == 0
    reader.close()
    assert seen == list(range(total))


def test_records_that_nobody_reported_are_measured_by_a_sample(
    broker: MockBroker, topic: str
) -> None:
    with Backpressure(
        broker.bootstrap_servers, {topic: [f"g-{topic}"]}, refresh_s=0.05
    ) as pressure:
        eventually(lambda: pressure.fullness().fraction == 0, "an empty topic is empty")
        _fill(_producer(broker), topic, 100)
        expected = 100 * len(RECORD) / MAX_PARTITION_BYTES
        eventually(lambda: pressure.fullness().unread == 100, "the records were never seen")
        assert expected <= pressure.fullness().fraction < expected * 1.1
        assert pressure.fullness().group == f"g-{topic}"


def test_a_partition_that_dropped_unread_records_is_full_and_says_how_many(
    broker: MockBroker, topic: str
) -> None:
    records = MAX_PARTITION_BYTES // len(RECORD) + 100
    producer = _producer(broker)
    for _ in range(records):
        _fill(producer, topic, 1)
    with Backpressure(broker.bootstrap_servers, {topic: [f"g-{topic}"]}) as pressure:
        eventually(lambda: pressure.fullness().topic == topic, "the topic was never seen")
        assert pressure.fullness().fraction == 1.0
        assert pressure.fullness().cut_off >= 100
        assert pressure.should_wait()


def test_the_slowest_group_decides(broker: MockBroker, topic: str) -> None:
    _fill(_producer(broker), topic, 200)
    reader = _reader(broker, topic)
    reader.commit(offsets=[TopicPartition(topic, 0, 200)], asynchronous=False)
    reader.close()
    groups = [f"g-{topic}", "behind"]
    with Backpressure(broker.bootstrap_servers, {topic: groups}) as pressure:
        eventually(lambda: pressure.fullness().unread == 200, "the slow group was overlooked")
        assert pressure.fullness().group == "behind"


def test_what_was_just_written_counts_before_the_next_look(broker: MockBroker, topic: str) -> None:
    with Backpressure(broker.bootstrap_servers, {topic: ["g"]}, refresh_s=3600) as pressure:
        eventually(lambda: pressure.fullness().fraction == 0, "the first look never came")
        pressure.wrote(topic, int(MAX_PARTITION_BYTES * HIGH_WATER))
        assert pressure.fullness().fraction >= HIGH_WATER


def test_it_goes_on_waiting_until_well_below_the_mark(broker: MockBroker, topic: str) -> None:
    caps = Caps(partition_bytes=1_000_000)
    with Backpressure(
        broker.bootstrap_servers, {topic: [f"g-{topic}"]}, caps=caps, refresh_s=0.05
    ) as pressure:
        _fill(_producer(broker), topic, 60)
        eventually(lambda: pressure.fullness().unread == 60, "no look came")
        assert pressure.should_wait()
        reader = _reader(broker, topic)
        for left, waits in ((40, True), (20, False)):
            place = TopicPartition(topic, 0, 60 - left)
            reader.commit(offsets=[place], asynchronous=False)
            eventually(partial(_sees, pressure, left), "no look came")
            assert pressure.should_wait() is waits
        reader.close()
    assert LOW_WATER < 0.4 < HIGH_WATER


def test_a_broker_that_is_away_counts_as_full() -> None:
    with Backpressure("127.0.0.1:1", {"t": ["g"]}) as pressure:
        assert pressure.fullness().fraction == 1.0
        assert not pressure.wait(timeout_s=0.2)
