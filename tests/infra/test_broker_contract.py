"""What both brokers promise: the stages rest on this and on nothing more.

What only Apache Kafka promises stands in the last section, beside what the stand-in does instead.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    Consumer,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from tests.infra.kafka_client import Headers, member, produce, read_all, take
from tests.waiting import WAIT_S

PARTITIONS = 4
NewName = Callable[[str], str]


def test_a_topic_creates_itself_on_first_use(any_broker: Any, topic_name: str) -> None:
    produce(any_broker.bootstrap_servers, topic_name, [b"x"])
    admin = AdminClient({"bootstrap.servers": any_broker.bootstrap_servers})
    known = admin.list_topics(topic_name, timeout=WAIT_S).topics[topic_name]
    assert sorted(known.partitions) == list(range(PARTITIONS))


def test_a_record_arrives_whole_in_the_partition_that_was_named(
    any_broker: Any, topic_name: str
) -> None:
    servers = any_broker.bootstrap_servers
    headers: Headers = [
        ("tacho-record", b"action_batch"),
        ("tacho-version", b"1"),
        ("tacho-record", b"\xff"),
    ]
    offsets = produce(servers, topic_name, [b"\x00\xff", b""], partition=2, headers=headers)

    first, second = read_all(servers, topic_name, 2, partition=2)

    assert [first.offset(), second.offset()] == offsets == [0, 1]
    assert (first.partition(), first.key(), first.value()) == (2, None, b"\x00\xff")
    assert first.headers() == headers
    assert second.value() == b""


def test_a_partition_keeps_its_order(any_broker: Any, topic_name: str) -> None:
    servers = any_broker.bootstrap_servers
    values = [str(number).encode() for number in range(2_000)]
    produce(servers, topic_name, values, partition=1, config={"linger.ms": 1})
    messages = read_all(servers, topic_name, len(values), partition=1)
    assert [m.value() for m in messages] == values
    assert [m.offset() for m in messages] == list(range(len(values)))


def test_zstd_and_lz4_batches_arrive(any_broker: Any, topic_name: str) -> None:
    servers = any_broker.bootstrap_servers
    for codec in ("zstd", "lz4"):
        produce(servers, topic_name, [codec.encode()], config={"compression.type": codec})
    assert [m.value() for m in read_all(servers, topic_name, 2)] == [b"zstd", b"lz4"]


def test_the_producers_time_is_kept(any_broker: Any, topic_name: str) -> None:
    servers = any_broker.bootstrap_servers
    producer = Producer({"bootstrap.servers": servers})
    producer.produce(topic_name, b"x", partition=0, timestamp=1_700_000_000_123)
    assert producer.flush(WAIT_S) == 0
    (message,) = read_all(servers, topic_name, 1)
    assert message.timestamp() == (TIMESTAMP_CREATE_TIME, 1_700_000_000_123)


def test_a_group_goes_on_after_its_last_commit(
    any_broker: Any, topic_name: str, new_name: NewName
) -> None:
    servers, group = any_broker.bootstrap_servers, new_name("group")
    produce(servers, topic_name, [b"0", b"1", b"2", b"3"])
    with member(servers, group) as consumer:
        consumer.subscribe([topic_name])
        assert len(take(consumer, 4)) == 4
        consumer.commit(offsets=[TopicPartition(topic_name, 0, 2)], asynchronous=False)
    with member(servers, group) as consumer:
        consumer.subscribe([topic_name])
        assert [m.value() for m in take(consumer, 2)] == [b"2", b"3"]


def test_what_was_read_but_not_committed_is_read_again(
    any_broker: Any, topic_name: str, new_name: NewName
) -> None:
    servers, group = any_broker.bootstrap_servers, new_name("group")
    produce(servers, topic_name, [b"0"])
    for _ in range(2):
        with member(servers, group) as consumer:
            consumer.subscribe([topic_name])
            assert [m.value() for m in take(consumer, 1)] == [b"0"]


def test_a_second_member_takes_over_a_share_and_gives_it_back(
    any_broker: Any, topic_name: str, new_name: NewName
) -> None:
    servers, group = any_broker.bootstrap_servers, new_name("group")
    for partition in range(PARTITIONS):
        produce(servers, topic_name, [b"x"], partition=partition)
    with member(servers, group) as first:
        first.subscribe([topic_name])
        settle([first], [PARTITIONS])
        with member(servers, group) as second:
            second.subscribe([topic_name])
            shares = settle([first, second], [2, 2])
            assert set.union(*shares) == set(range(PARTITIONS))
        settle([first], [PARTITIONS])


def test_pause_holds_back_one_partition_while_another_flows(
    any_broker: Any, topic_name: str
) -> None:
    servers = any_broker.bootstrap_servers
    for partition in (0, 1):
        produce(servers, topic_name, [b"x"], partition=partition)
    with member(servers, "assigned") as consumer:
        held, flowing = (TopicPartition(topic_name, p, 0) for p in (0, 1))
        consumer.assign([held, flowing])
        consumer.pause([held])
        assert [m.partition() for m in take(consumer, 1)] == [1]
        assert take(consumer, 1, wait_s=1.0) == []
        consumer.resume([held])
        assert [m.partition() for m in take(consumer, 1)] == [0]


def test_watermarks_bound_what_is_there(any_broker: Any, topic_name: str) -> None:
    servers = any_broker.bootstrap_servers
    produce(servers, topic_name, [b"0", b"1", b"2"])
    with member(servers, "watermarks") as consumer:
        place = TopicPartition(topic_name, 0)
        assert consumer.get_watermark_offsets(place, timeout=WAIT_S) == (0, 3)


def test_a_keyed_record_goes_where_java_would_put_it(any_broker: Any, topic_name: str) -> None:
    # murmur2 of "21" is one of the hashes that Kafka's own tests publish: -973932308.
    expected = (-973932308 & 0x7FFFFFFF) % PARTITIONS
    placed: list[Message] = []
    producer = Producer(
        {"bootstrap.servers": any_broker.bootstrap_servers, "partitioner": "murmur2_random"}
    )
    producer.produce(topic_name, b"x", key=b"21", on_delivery=lambda _, m: placed.append(m))
    assert producer.flush(WAIT_S) == 0
    assert [m.partition() for m in placed] == [expected]


# What only one of them promises.


def test_kafka_finds_an_offset_by_time_and_the_standin_answers_the_end(
    any_broker: Any, topic_name: str, request: Any
) -> None:
    servers = any_broker.bootstrap_servers
    producer = Producer({"bootstrap.servers": servers})
    for second in range(3):
        producer.produce(topic_name, b"x", partition=0, timestamp=1_700_000_000_000 + second * 1000)
    assert producer.flush(WAIT_S) == 0
    with member(servers, "by-time") as consumer:
        asked = [TopicPartition(topic_name, 0, 1_700_000_000_500)]
        (found,) = consumer.offsets_for_times(asked, timeout=WAIT_S)
    is_kafka = "kafka" in request.node.callspec.id
    assert (found.offset == 1) is is_kafka
    assert found.offset in (1, 3, -1)


def test_kafka_makes_topics_to_order_and_the_standin_makes_its_own_only(
    any_broker: Any, new_name: NewName, request: Any
) -> None:
    admin = AdminClient({"bootstrap.servers": any_broker.bootstrap_servers})
    name = new_name("ordered")
    is_kafka = "kafka" in request.node.callspec.id
    within_s = WAIT_S if is_kafka else 5.0
    (answer,) = admin.create_topics([NewTopic(name, 7)], request_timeout=within_s).values()
    if is_kafka:
        answer.result(WAIT_S)
    else:
        assert isinstance(answer.exception(WAIT_S), KafkaException)


def settle(members: list[Consumer], sizes: list[int]) -> list[set[int]]:
    """Poll the members until their shares have these sizes; return the shares."""
    deadline = time.monotonic() + WAIT_S
    shares: list[set[int]] = []
    while time.monotonic() < deadline:
        with ThreadPoolExecutor(len(members)) as pool:
            list(pool.map(lambda each: each.consume(10, 0.3), members))
        shares = [{place.partition for place in each.assignment()} for each in members]
        if sorted(map(len, shares)) == sizes:
            return shares
    raise AssertionError(f"the group did not settle to {sizes}: {shares}")
