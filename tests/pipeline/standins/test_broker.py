"""The embedded broker: what any Kafka client on this machine sees of it."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, Producer, TopicPartition

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.standins import broker as standin
from tachograph.pipeline.standins.broker import EmbeddedBroker, MockBroker
from tests.waiting import WAIT_S


@pytest.fixture(scope="module")
def broker() -> Iterator[MockBroker]:
    with MockBroker() as running:
        yield running


def _producer(broker: MockBroker | EmbeddedBroker) -> Producer:
    return Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 2})


def _consumer(broker: MockBroker | EmbeddedBroker, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 2,
        }
    )


def test_a_record_goes_through_and_its_commit_is_remembered(broker: MockBroker) -> None:
    topic = f"t{uuid.uuid4().hex}"
    producer, consumer = _producer(broker), _consumer(broker, f"g-{topic}")
    producer.produce(topic, b"value", key=b"key", partition=1, headers={"h": b"1"})
    assert producer.flush(WAIT_S) == 0
    consumer.subscribe([topic])
    message = consumer.poll(WAIT_S)
    assert message is not None
    assert (message.key(), message.value(), message.headers()) == (b"key", b"value", [("h", b"1")])
    consumer.commit(message=message, asynchronous=False)
    consumer.close()
    again = _consumer(broker, f"g-{topic}")
    assert again.committed([TopicPartition(topic, 1)], timeout=WAIT_S)[0].offset == 1
    again.close()


def test_aiokafka_reads_what_confluent_kafka_wrote_and_the_other_way_round(
    broker: MockBroker,
) -> None:
    topic = f"t{uuid.uuid4().hex}"
    producer = _producer(broker)
    producer.produce(topic, b"from librdkafka", partition=0)
    producer.flush(WAIT_S)

    async def meet() -> bytes:
        reader = AIOKafkaConsumer(
            topic,
            bootstrap_servers=broker.bootstrap_servers,
            group_id=f"g-{topic}",
            auto_offset_reset="earliest",
        )
        writer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers)
        await reader.start()
        await writer.start()
        try:
            first = await asyncio.wait_for(reader.getone(), WAIT_S)
            await writer.send_and_wait(topic, b"from aiokafka", partition=0)
            second = await asyncio.wait_for(reader.getone(), WAIT_S)
        finally:
            await writer.stop()
            await reader.stop()
        return bytes(first.value + b" | " + second.value)

    assert asyncio.run(meet()) == b"from librdkafka | from aiokafka"


def test_a_topic_has_the_partitions_it_was_given_and_four_otherwise() -> None:
    with MockBroker(partitions=2, topics=("two",)) as broker:
        broker.create_topic("seven", 7)
        producer = _producer(broker)
        unasked = producer.list_topics("unasked", timeout=WAIT_S).topics["unasked"]
        assert unasked.partitions.keys() == {*range(standin.AUTO_PARTITIONS)}
        topics = producer.list_topics(timeout=WAIT_S).topics
    assert len(topics["two"].partitions) == 2
    assert len(topics["seven"].partitions) == 7


def test_creating_a_topic_twice_is_refused() -> None:
    with MockBroker(topics=("once",)) as broker, pytest.raises(ConfigError, match="already exists"):
        broker.create_topic("once")


def test_a_partition_drops_its_oldest_records_at_the_cap_that_is_stated(broker: MockBroker) -> None:
    topic, size_bytes = f"t{uuid.uuid4().hex}", 100_000
    producer, consumer = _producer(broker), _consumer(broker, "watch")
    fits = standin.MAX_PARTITION_BYTES // size_bytes
    place = TopicPartition(topic, 0)
    kept = []
    for count in (fits - 2, 10):
        for _ in range(count):
            producer.produce(topic, b"x" * size_bytes, partition=0)
            producer.flush(WAIT_S)
        low, high = consumer.get_watermark_offsets(place, timeout=WAIT_S)
        kept.append((low, high - low))
    consumer.close()
    assert kept[0] == (0, fits - 2)
    assert kept[1][0] > 0
    assert kept[1][1] <= fits


def test_the_process_says_where_it_listens_and_ends_with_its_input() -> None:
    command = [sys.executable, "-m", "tachograph.pipeline.standins.broker", "--topic", "a.b:3"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert b'"bootstrap_servers": "127.0.0.1:' in process.stdout.readline()
    process.stdin.close()
    assert process.wait(WAIT_S) == 0
    process.stdout.close()


def test_the_process_ends_on_sigterm_and_its_owner_sees_it() -> None:
    with EmbeddedBroker(topics={"a.b": 3}) as broker:
        topics = _producer(broker).list_topics(timeout=WAIT_S).topics
        assert len(topics["a.b"].partitions) == 3
        assert broker.alive()
        os.kill(broker.pid, signal.SIGTERM)
        broker.close()
        assert not broker.alive()
    assert any("in-memory stand-in" in sentence for sentence in broker.limits)
