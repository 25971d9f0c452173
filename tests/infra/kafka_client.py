"""A plain confluent-kafka client for the brokers' own tests: bounded waits, errors that raise."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from tests.waiting import WAIT_S

# A new topic has no leader for a moment; a group forms a moment after its members join.
_PASSING = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._PARTITION_EOF,
}
Config = Mapping[str, str | int | bool]
Headers = list[tuple[str, str | bytes | None]]


def produce(
    servers: str,
    topic: str,
    values: list[bytes],
    *,
    partition: int = 0,
    headers: Headers | None = None,
    config: Config | None = None,
) -> list[int | None]:
    """Produce with acks=all and return the acknowledged offsets; a refused record raises."""
    offsets: list[int | None] = []
    refused: list[KafkaError] = []

    def acknowledged(error: KafkaError | None, message: Message) -> None:
        if error is None:
            offsets.append(message.offset())
        else:
            refused.append(error)

    producer = Producer(
        {
            "bootstrap.servers": servers,
            "acks": "all",
            "message.timeout.ms": 120_000,
            **(config or {}),
        }
    )
    for value in values:
        producer.produce(
            topic, value, partition=partition, headers=headers, on_delivery=acknowledged
        )
    unsent = producer.flush(WAIT_S)
    if refused or unsent:
        raise KafkaException(refused[0] if refused else KafkaError(KafkaError._TIMED_OUT))
    return offsets


@contextmanager
def member(servers: str, group: str, config: Config | None = None) -> Iterator[Consumer]:
    """Give a consumer of `group` that starts at the earliest record and commits only when told."""
    settings = {
        "bootstrap.servers": servers,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "topic.metadata.refresh.interval.ms": 500,
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 300,
    }
    consumer = Consumer({**settings, **(config or {})})
    try:
        yield consumer
    finally:
        consumer.close()


def take(consumer: Consumer, count: int, wait_s: float = WAIT_S) -> list[Message]:
    """Take `count` records, or as many as come within `wait_s`; the client's errors raise."""
    taken: list[Message] = []
    deadline = time.monotonic() + wait_s
    while len(taken) < count and time.monotonic() < deadline:
        for message in consumer.consume(count - len(taken), 0.2):
            error = message.error()
            if error is None:
                taken.append(message)
            elif error.code() not in _PASSING:
                raise KafkaException(error)
    return taken


def read_all(
    servers: str, topic: str, count: int, partition: int = 0, config: Config | None = None
) -> list[Message]:
    """Read one partition from its start, without joining a group."""
    with member(servers, "reader-without-a-group", config) as consumer:
        consumer.assign([TopicPartition(topic, partition, 0)])
        return take(consumer, count)
