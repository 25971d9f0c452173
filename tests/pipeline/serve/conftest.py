"""A door on a port of its own, before the stand-in broker, for every test that asks."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tachograph.pipeline.serve.backlog import Backlog
from tachograph.pipeline.serve.limits import Limits
from tachograph.pipeline.serve.options import DoorOptions
from tachograph.pipeline.serve.stage import run
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tests.waiting import WAIT_S, eventually


@dataclasses.dataclass
class OpenDoor:
    """A door that runs in a thread of this process."""

    url: str
    settings: Settings
    stop: threading.Event

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def client(self, **options: Any) -> httpx.Client:
        # Loading certificates takes longer than most tests; these doors speak plain HTTP.
        return httpx.Client(base_url=self.url, timeout=WAIT_S, verify=False, **options)  # noqa: S501


@pytest.fixture
def broker() -> Iterator[MockBroker]:
    """A broker of this test alone, so that its topics hold this test's records only."""
    with MockBroker(partitions=3, topics=("agent.alerts", "otlp_spans", "agent.raw")) as broker:
        yield broker


@pytest.fixture
def settings(broker: MockBroker, tmp_path: Path) -> Settings:
    """Settings of a stage on that broker."""
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "TACHO_HOME": str(tmp_path / "home"),
        "TACHO_DOOR_PORT": "0",
    }
    return Settings.from_env(environ)


@contextmanager
def open_door(
    settings: Settings, *, backlog: Backlog | None = None, **options: Any
) -> Iterator[OpenDoor]:
    """Open a door and close it cleanly; what it raises, the test raises."""
    stop, opened, raised = threading.Event(), threading.Event(), list[BaseException]()
    urls: list[str] = []

    def said(url: str) -> None:
        urls.append(url)
        opened.set()

    def serve() -> None:
        try:
            chosen = DoorOptions(**{"host": "127.0.0.1", "port": 0, **options})
            run(settings, stop, options=chosen, backlog=backlog, opened=said)
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            raised.append(error)
            opened.set()

    thread = threading.Thread(target=serve, name="door")
    thread.start()
    assert opened.wait(WAIT_S)
    try:
        if not raised:
            yield OpenDoor(urls[0], settings, stop)
    finally:
        stop.set()
        thread.join(WAIT_S)
        assert not thread.is_alive()
    if raised:
        raise raised[0]


@pytest.fixture
def door(settings: Settings) -> Iterator[OpenDoor]:
    """A door with the limits it ships with."""
    with open_door(settings) as found:
        yield found


@pytest.fixture(scope="module")
def standing_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    """One door for all tests of a module that look at its answers only."""
    with MockBroker() as broker:
        environ = {
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "TACHO_HOME": str(tmp_path_factory.mktemp("home")),
        }
        with open_door(Settings.from_env(environ)) as found:
            yield found


def wait_for_feed(door: OpenDoor) -> None:
    """Until the feed has found its topic: before that it has no places."""
    with door.client() as client:
        eventually(lambda: bool(client.get("/readyz").json()["feed"]), "the feed is there")


def limits(**changed: Any) -> Limits:
    """The limits it ships with, but for what the test changes."""
    return msgspec.structs.replace(Limits(), **changed)


def records(
    settings: Settings,
    topic: str,
    count: int,
    *,
    weight: Callable[[Message], int] = lambda _: 1,
) -> list[Message]:
    """The first records of a topic, over all partitions, that together weigh `count`."""
    consumer = Consumer(
        {
            **settings.kafka.client_config(),
            "group.id": "test",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        eventually(lambda: bool(_places(consumer, topic)), f"{topic} is there")
        consumer.assign(_places(consumer, topic))
        found: list[Message] = []

        def read() -> bool:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                found.append(message)
            return sum(map(weight, found)) >= count

        if count:
            eventually(read, f"{count} records of {topic}")
        assert sum(map(weight, found)) == count
        return found
    finally:
        consumer.close()


def _places(consumer: Consumer, topic: str) -> list[TopicPartition]:
    """The beginnings of a topic's partitions; none while nobody knows the topic."""
    partitions = consumer.list_topics(topic, timeout=WAIT_S).topics[topic].partitions
    return [TopicPartition(topic, partition, 0) for partition in partitions]


def written(settings: Settings, topic: str) -> int:
    """How many records a topic has taken so far."""
    consumer = Consumer({**settings.kafka.client_config(), "group.id": "test"})
    try:
        places = _places(consumer, topic)
        return sum(consumer.get_watermark_offsets(place, timeout=WAIT_S)[1] for place in places)
    finally:
        consumer.close()


def headers_of(message: Message) -> dict[str, bytes]:
    """Headers of a record by name."""
    pairs: Any = message.headers() or []
    return {name: value for name, value in pairs if isinstance(value, bytes)}


@pytest.fixture
def produce(settings: Settings) -> Iterator[Callable[..., None]]:
    """Write records and wait until they stand."""
    producer = Producer(
        {**settings.kafka.client_config(), "linger.ms": 0, "compression.type": "gzip"}
    )

    def write(topic: str, *values: bytes, partition: int = 0) -> None:
        for value in values:
            producer.produce(topic, value, partition=partition)
        assert producer.flush(WAIT_S) == 0

    yield write
    producer.flush(10)
