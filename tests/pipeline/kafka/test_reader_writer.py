import threading
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import KafkaError

from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.kafka.reader import (
    RECORD_BYTES,
    Commitment,
    Place,
    Reader,
    headers_of,
    mapped,
)
from tachograph.pipeline.kafka.writer import MAX_RECORD_BYTES, Writer
from tachograph.pipeline.settings import Settings
from tests.waiting import eventually

SettingsFor = Callable[..., Settings]


def read_some(reader: Reader, count: int) -> list[Any]:
    found: list[Any] = []

    def read() -> bool:
        found.extend(reader.read(1_000, 0.3))
        return len(found) >= count

    eventually(read, f"{count} records")
    return found


def test_what_was_not_committed_is_read_again_by_the_next_member(
    any_broker: Any, settings_for: SettingsFor, topic_name: str, new_name: Callable[[str], str]
) -> None:
    settings, group = settings_for(any_broker.bootstrap_servers), new_name("group")
    writer = Writer(settings)
    for n in range(10):
        writer.send(topic_name, b"%d" % n, partition=0, headers={"tacho-record": b"test"})
    writer.flush()
    first = Reader(settings, group, [topic_name])
    messages = read_some(first, 10)
    assert [m.value() for m in messages] == [b"%d" % n for n in range(10)]
    assert headers_of(messages[0]) == {"tacho-record": b"test"}
    place = (topic_name, 0)
    first.commit_noted({place: Commitment(4, "6,9")})
    first.close()
    second = Reader(settings, group, [topic_name])
    assert [m.value() for m in read_some(second, 6)] == [b"%d" % n for n in range(4, 10)]
    assert second.commitments([place, (topic_name, 1)]) == {place: (4, "6,9")}
    second.commit({place: 5})
    assert second.commitments([place]) == {place: (5, "")}
    assert second.committed([place]) == {place: 5}
    second.close()


def test_the_ends_of_many_places_are_told_at_once(
    any_broker: Any, settings_for: SettingsFor, new_name: Callable[[str], str]
) -> None:
    settings, topics = settings_for(any_broker.bootstrap_servers), [new_name("a"), new_name("b")]
    writer = Writer(settings)
    for topic in topics:
        assert writer.partitions(topic) > 1
        for _ in range(3):
            writer.send(topic, b"x", partition=1)
    writer.flush()
    reader = Reader(settings, new_name("group"), topics)
    places = [(topic, partition) for topic in topics for partition in (0, 1)]
    assert reader.ends(places) == {place: 3 * place[1] for place in places}
    assert reader.starts([*places, (topics[0], 77)]) == dict.fromkeys(places, 0)
    assert reader.ends([]) == {}
    reader.close()


def test_what_is_gathered_in_several_pieces_is_each_record_once_in_order_and_bounded(
    mock_broker: Any, settings_for: SettingsFor, topic_name: str, new_name: Callable[[str], str]
) -> None:
    settings = settings_for(mock_broker.bootstrap_servers)
    writer = Writer(settings)
    for n in range(40):
        writer.send(topic_name, b"%02d" % n, partition=0)
    writer.flush()
    reader = Reader(settings, new_name("group"), [topic_name])
    found: list[Any] = []
    for gather_s in (0.0, 0.05) * 50:
        more = reader.gather(4, 0.3, 9 * (RECORD_BYTES + 2), gather_s=gather_s)
        # Two pieces may be less than nine records, three are not; a first record is one more.
        assert len(more) <= 1 + 3 * 4
        found += more
        if len(found) >= 40:
            break
    reader.close()
    assert [m.value() for m in found] == [b"%02d" % n for n in range(40)]


def test_records_without_a_value_are_bounded_too(
    mock_broker: Any, settings_for: SettingsFor, topic_name: str, new_name: Callable[[str], str]
) -> None:
    settings = settings_for(mock_broker.bootstrap_servers)
    writer = Writer(settings)
    for _ in range(40):
        writer.send(topic_name, b"", partition=0)
    writer.flush()
    reader = Reader(settings, new_name("group"), [topic_name])
    sizes: list[int] = []
    while sum(sizes) < 40:
        sizes.append(len(reader.gather(4, 0.3, 9 * RECORD_BYTES)))
    reader.close()
    assert max(sizes) <= 1 + 3 * 4


def test_gathering_goes_on_after_the_first_record_until_its_time_is_over(
    mock_broker: Any, settings_for: SettingsFor, topic_name: str, new_name: Callable[[str], str]
) -> None:
    settings = settings_for(mock_broker.bootstrap_servers)
    writer = Writer(settings)
    reader = Reader(settings, new_name("group"), [topic_name])
    writer.send(topic_name, b"first", partition=0)
    writer.flush()
    assert [m.value() for m in read_some(reader, 1)] == [b"first"]
    writer.send(topic_name, b"second", partition=0)
    later = threading.Timer(0.3, writer.send, (topic_name, b"third"), {"partition": 0})
    later.start()
    # Far longer than it takes: it ends when there is enough.
    found = reader.gather(500, 60.0, RECORD_BYTES + len(b"second") + 1, gather_s=60.0)
    later.join()
    writer.flush()
    reader.close()
    assert [m.value() for m in found] == [b"second", b"third"]


def test_on_assign_says_where_a_place_starts_and_others_start_at_their_beginning(
    any_broker: Any, settings_for: SettingsFor, topic_name: str, new_name: Callable[[str], str]
) -> None:
    settings = settings_for(any_broker.bootstrap_servers)
    writer = Writer(settings)
    for partition in (0, 1):
        for n in range(5):
            writer.send(topic_name, b"%d/%d" % (partition, n), partition=partition)
    writer.flush()
    assigned: list[Place] = []

    def start_late(places: list[Place]) -> dict[Place, int]:
        assigned.extend(places)
        return {(topic_name, 0): 3} if (topic_name, 0) in places else {}

    reader = Reader(settings, new_name("group"), [topic_name], on_assign=start_late)
    values = {m.value() for m in read_some(reader, 7)}
    reader.close()
    assert values == {b"0/3", b"0/4", *(b"1/%d" % n for n in range(5))}
    assert (topic_name, 1) in assigned


def test_an_error_in_on_assign_reaches_the_caller_of_read(
    mock_broker: Any, settings_for: SettingsFor, topic_name: str, new_name: Callable[[str], str]
) -> None:
    settings = settings_for(mock_broker.bootstrap_servers)
    writer = Writer(settings)
    writer.send(topic_name, b"x")
    writer.flush()

    def fail(_places: list[Place]) -> None:
        raise RetryLater("checkpoints are away")

    reader = Reader(settings, new_name("group"), [topic_name], on_assign=fail)
    with pytest.raises(RetryLater, match="checkpoints are away"):
        read_some(reader, 1)
    reader.close()


def test_a_key_goes_to_the_partition_that_java_and_aiokafka_would_choose(
    mock_broker: Any, settings_for: SettingsFor, topic_name: str, new_name: Callable[[str], str]
) -> None:
    settings = settings_for(mock_broker.bootstrap_servers)
    writer = Writer(settings)
    keys = [f"default/agent-{n}".encode() for n in range(20)]
    for key in keys:
        writer.send(topic_name, key, key=key)
    writer.flush()
    everywhere = list(range(writer.partitions(topic_name)))
    reader = Reader(settings, new_name("group"), [topic_name])
    places = {m.value(): m.partition() for m in read_some(reader, len(keys))}
    reader.close()
    partitioner = DefaultPartitioner()
    assert places == {key: partitioner(key, everywhere, everywhere) for key in keys}


def test_a_record_that_is_too_large_is_refused_and_the_writer_goes_on(
    mock_broker: Any, settings_for: SettingsFor, topic_name: str
) -> None:
    writer = Writer(settings_for(mock_broker.bootstrap_servers))
    with pytest.raises(Refused):
        writer.send(topic_name, b"x" * (MAX_RECORD_BYTES * 3))
    writer.send(topic_name, b"small")
    writer.flush()


def test_flush_raises_when_the_broker_is_away(settings_for: SettingsFor, topic_name: str) -> None:
    settings = settings_for("127.0.0.1:1")
    writer = Writer(settings, overrides={"delivery.timeout.ms": 800, "linger.ms": 0})
    writer.send(topic_name, b"x")
    with pytest.raises(RetryLater):
        writer.flush(5.0)


@pytest.mark.parametrize("code", [KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN])
def test_a_broker_that_does_not_answer_is_told_with_what_to_do(code: int) -> None:
    told = mapped(KafkaError(code), "topic agent.alerts")
    assert isinstance(told, RetryLater)
    assert str(told).startswith("topic agent.alerts: ")
    assert str(told).endswith("name a broker that runs with KAFKA_BOOTSTRAP_SERVERS")


def test_lag_counts_what_was_not_read(
    mock_broker: Any, settings_for: SettingsFor, topic_name: str, new_name: Callable[[str], str]
) -> None:
    settings = settings_for(mock_broker.bootstrap_servers)
    writer = Writer(settings)
    for n in range(8):
        writer.send(topic_name, b"%d" % n, partition=0)
    writer.flush()
    reader = Reader(settings, new_name("group"), [topic_name])
    got = read_some(reader, 8)
    reader.seek((topic_name, 0), 3)
    assert len(got) == 8
    again = read_some(reader, 5)
    assert [m.offset() for m in again] == [3, 4, 5, 6, 7]
    assert reader.lag()[topic_name, 0] == 0
    reader.close()


def test_a_place_that_was_paused_is_read_when_it_comes_back(
    kafka_broker: Any, settings_for: SettingsFor, topic_name: str, new_name: Callable[[str], str]
) -> None:
    settings, group = settings_for(kafka_broker.bootstrap_servers), new_name("group")
    writer = Writer(settings)

    def write() -> None:
        for partition in (0, 1):
            writer.send(topic_name, b"x", partition=partition)
        writer.flush()

    first = Reader(settings, group, [topic_name])
    write()
    read_some(first, 2)
    all_places = set(first.assignment())
    first.pause(all_places)
    write()
    assert first.read(10, 0.5) == []
    # Another member comes and goes: every place is given away and comes back.
    second = Reader(settings, group, [topic_name])

    def shared() -> bool:
        second.read(1, 0.1)
        first.read(1, 0.1)
        return bool(second.assignment()) and set(first.assignment()) != all_places

    eventually(shared, "the second has a share")
    second.close()

    def given_back() -> bool:
        first.read(1, 0.1)
        return set(first.assignment()) == all_places

    eventually(given_back, "the first has all again")
    write()
    assert read_some(first, 2)
    first.close()
