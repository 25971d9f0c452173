"""How far behind the groups are, whatever state their coordinator is in."""

import contextlib
from collections.abc import Callable

from infra.kafka.broker import KafkaBroker
from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.kafka.groups import ALL_READERS, unread
from tachograph.pipeline.kafka.reader import Reader
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.notarize.leaves import LOGS
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.records import TOPICS

GROUP, TOPIC = "tacho.normalize", "agent.raw"


def _unread(settings: Settings) -> dict[tuple[str, str], int]:
    """The first answer: a coordinator that is loading, or not known yet, is asked again."""
    while True:
        with contextlib.suppress(RetryLater):
            return unread(settings)


def test_what_a_group_has_not_committed_is_unread(
    private_kafka: Callable[..., KafkaBroker], settings_for: Callable[..., Settings]
) -> None:
    broker = private_kafka()
    settings = settings_for(broker.bootstrap_servers)
    writer = Writer(settings)
    writer.partitions(TOPIC)
    for number in range(5):
        writer.send(TOPIC, b"%d" % number, partition=1)
    writer.flush()
    assert _unread(settings) == {(GROUP, TOPIC): 5}

    reader = Reader(settings, GROUP, [TOPIC])
    read = 0
    while read < 5:
        read += len(reader.read(5, 1.0))
    reader.commit({(TOPIC, 1): 3})
    reader.close()
    assert _unread(settings) == {(GROUP, TOPIC): 2}

    broker.kill()
    broker.start()
    assert _unread(settings) == {(GROUP, TOPIC): 2}


def test_all_that_is_stored_or_notarized_is_waited_for() -> None:
    def of(group: str) -> set[str]:
        return {topic for topic, groups in ALL_READERS.items() if group in groups}

    assert of("tacho.store") == set(TOPICS) - {"agent.health"}  # there is always one more beat
    assert of("tacho.notarize") == set(LOGS)
