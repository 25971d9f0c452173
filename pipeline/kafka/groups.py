"""Who reads what: the consumer groups of our stages, and how far behind they are."""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import TimeoutError as FutureTimeout

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.kafka.reader import SILENT, Place, mapped
from tachograph.pipeline.settings import Settings

# Topic → groups that must have read all of it before anything of it may go.
READERS: Mapping[str, tuple[str, ...]] = {
    "otlp_spans": ("tacho.normalize",),
    "otlp_logs": ("tacho.normalize",),
    "agent.raw": ("tacho.normalize",),
    "agent.actions": ("tacho.detect", "tacho.store"),
    "agent.matches": ("tacho.detect",),
    "agent.signals": ("tacho.store",),
    "agent.signal_groups": ("tacho.triage",),
    "agent.alerts": ("tacho.store",),
    "agent.state": ("tacho.store",),
    "agent.dead_letters": ("tacho.store",),
}
# Topic → who keeps of it what is no part of the flow, and holds nobody up: what agents are told,
# what people say and look at, what belongs together, and the leaves of all that is evidence.
KEEPERS: Mapping[str, tuple[str, ...]] = {
    "agent.alerts": ("tacho.notarize",),
    "agent.state": ("tacho.notarize",),
    "agent.control": ("tacho.store", "tacho.notarize"),
    "agent.acks": ("tacho.store", "tacho.notarize"),
    "agent.dispositions": ("tacho.store", "tacho.notarize"),
    "agent.audit": ("tacho.store", "tacho.notarize"),
    "agent.incident_members": ("tacho.store",),
    "agent.incidents": ("tacho.store",),
}
# All who have to have read before a broker that keeps nothing may stop.
ALL_READERS: Mapping[str, tuple[str, ...]] = {
    topic: READERS.get(topic, ()) + KEEPERS.get(topic, ())
    for topic in dict.fromkeys((*READERS, *KEEPERS))
}
TIMEOUT_S = 5.0
# A group's coordinator has moved, or is not there yet: the client's own `retriable` says no to it.
COORDINATOR_MOVES = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
# A partition's leader has changed, or the broker does not know of it yet.
_LEADER_MOVES = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
    }
)
_AGAIN_S = 0.1
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


def unread(
    settings: Settings, readers: Mapping[str, tuple[str, ...]] = READERS
) -> dict[tuple[str, str], int]:
    """Records not read yet, by (group, topic); only what is above 0. Raises RetryLater, Refused."""
    admin = AdminClient({**settings.kafka.client_config(), "logger": SILENT})  # type: ignore[dict-item]
    try:
        ends = _ends(admin, readers)
        found: dict[tuple[str, str], int] = {}
        for group in sorted({group for groups in readers.values() for group in groups}):
            mine = [place for place in ends if group in readers[place[0]]]
            committed = _committed(settings, group, mine)
            for place in mine:
                behind = ends[place] - committed.get(place, 0)
                if behind > 0:
                    key = (group, place[0])
                    found[key] = found.get(key, 0) + behind
    except KafkaException as error:
        raise mapped(error.args[0], "backlog") from error
    except FutureTimeout as error:
        raise RetryLater("the broker does not say how far its groups are") from error
    return found


def _ends(admin: AdminClient, readers: Iterable[str]) -> dict[Place, int]:
    end_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return _ends_now(admin, readers)
        except KafkaException as error:
            moves = error.args[0].code() in _LEADER_MOVES
            if not moves or time.monotonic() >= end_s:
                raise
        time.sleep(_AGAIN_S)


def _ends_now(admin: AdminClient, readers: Iterable[str]) -> dict[Place, int]:
    present = admin.list_topics(timeout=TIMEOUT_S).topics
    asked = {
        TopicPartition(topic, partition): _LATEST
        for topic in readers
        if topic in present
        for partition in present[topic].partitions
    }
    futures = admin.list_offsets(asked, request_timeout=TIMEOUT_S) if asked else {}
    return {(p.topic, p.partition): f.result(TIMEOUT_S).offset for p, f in futures.items()}


def _committed(settings: Settings, group: str, places: list[Place]) -> dict[Place, int]:
    """Asked as a consumer that never joins: librdkafka's admin client takes the process down when
    a coordinator answers that it has moved or is still loading.
    """
    if not places:
        return {}
    config = {**settings.kafka.client_config(), "group.id": group, "logger": SILENT}
    consumer = Consumer(config)
    try:
        found = _once_there(consumer, places)
    finally:
        consumer.close()
    return {(p.topic, p.partition): p.offset for p in found if p.offset >= 0}


def _once_there(consumer: Consumer, places: list[Place]) -> list[TopicPartition]:
    end_s = time.monotonic() + TIMEOUT_S
    while True:
        asked = [TopicPartition(*place) for place in places]
        try:
            return consumer.committed(asked, timeout=TIMEOUT_S)
        except KafkaException as error:
            moves = error.args[0].code() in COORDINATOR_MOVES
            if not moves or time.monotonic() >= end_s:
                raise
        time.sleep(_AGAIN_S)
