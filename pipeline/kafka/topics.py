"""Creating our topics as their contracts say: partitions, retention, compaction, the clock of raw
topics.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.kafka.reader import SILENT, mapped
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings
from tachograph.schemas import contracts

log = get("kafka.topics")
ADMIN_TIMEOUT_S = 30.0


# Nothing is lost by another value of these: it is told, and no fault.
_MATTERS_LITTLE = frozenset({"message.timestamp.type"})
_FOR_EVER_MS = -1
# Read together, partition by partition, so that they need as many: triage and what it keeps, what
# agents are asked and what they answer.
_ALIKE = (
    ("agent.signal_groups", "tacho.triage-entries-changelog"),
    ("agent.state", "agent.control"),
)


class Difference(NamedTuple):
    """What a topic is not as its contract says. `grave`: records may be lost by it."""

    topic: str
    what: str  # "missing", "partitions" or Kafka's name of a setting
    wanted: str
    found: str
    grave: bool


def provision(
    settings: Settings, *, partitions: int | None = None, replicas: int = -1
) -> list[str]:
    """Create the topics that are missing; names of those created. `partitions` overrides the
    contracts', save where one is all there may be; `replicas` -1 is the broker's default.

    Raises RetryLater or Refused when the broker will not. Not for the stand-in: it has no
    CreateTopics and its topics appear at first use.
    """
    admin = AdminClient({**settings.kafka.client_config(), "logger": SILENT})  # type: ignore[dict-item]
    try:
        present = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
    except KafkaException as error:
        raise mapped(error.args[0], "list topics") from error
    missing = [topic for name, topic in contracts.topics().items() if name not in present]
    if not missing:
        return []
    wanted = [_new_topic(topic, partitions, replicas) for topic in missing]
    created = []
    for name, future in admin.create_topics(wanted, request_timeout=ADMIN_TIMEOUT_S).items():
        if _created(name, future.exception()):
            created.append(name)
    log.info("topics created", topics=created)
    return created


def _new_topic(topic: contracts.Topic, partitions: int | None, replicas: int) -> NewTopic:
    return NewTopic(
        topic.topic,
        # All of agent.config and its like lies in one, so that it has one order.
        num_partitions=partitions if partitions and topic.partitions > 1 else topic.partitions,
        replication_factor=replicas,
        config=topic.config(),
    )


def differences(settings: Settings) -> list[Difference]:
    """How the topics that are there differ from their contracts, in order of name. Raises
    RetryLater, Refused.
    """
    admin = AdminClient({**settings.kafka.client_config(), "logger": SILENT})  # type: ignore[dict-item]
    try:
        present = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
    except KafkaException as error:
        raise mapped(error.args[0], "list topics") from error
    counts = {name: len(topic.partitions) for name, topic in present.items()}
    there = [name for name in contracts.topics() if name in counts]
    asked = [ConfigResource(ResourceType.TOPIC, name) for name in there]
    futures = admin.describe_configs(asked, request_timeout=ADMIN_TIMEOUT_S) if asked else {}
    configs = {resource.name: _values(resource.name, one) for resource, one in futures.items()}
    found: list[Difference] = []
    for name, topic in contracts.topics().items():
        if name not in counts:
            found.append(Difference(name, "missing", str(topic.partitions), "", grave=True))
            continue
        if topic.partitions == 1 and counts[name] != 1:
            found.append(Difference(name, "partitions", "1", str(counts[name]), grave=True))
        found += _settings_that_differ(topic, configs[name])
    return [*found, *_unequal(counts)]


def _values(topic: str, asked: "Future[Any]") -> dict[str, str]:
    try:
        return {name: entry.value for name, entry in asked.result(ADMIN_TIMEOUT_S).items()}
    except KafkaException as error:
        raise mapped(error.args[0], f"settings of {topic}") from error


def _settings_that_differ(topic: contracts.Topic, found: Mapping[str, str]) -> Iterable[Difference]:
    for name, wanted in topic.config().items():
        there = found.get(name, "")
        if there != wanted:
            grave = name not in _MATTERS_LITTLE and not _no_less(name, wanted, there)
            yield Difference(topic.topic, name, wanted, there, grave)


def _no_less(name: str, wanted: str, found: str) -> bool:
    """Whether a limit is at least as far as it has to be."""
    try:
        needed, given = int(wanted), int(found)
    except ValueError:
        return False
    if name == "retention.ms" and _FOR_EVER_MS in (needed, given):
        return given == _FOR_EVER_MS
    return given >= needed


def _unequal(counts: Mapping[str, int]) -> Iterable[Difference]:
    for one, other in _ALIKE:
        if one in counts and other in counts and counts[one] != counts[other]:
            yield Difference(other, "partitions", str(counts[one]), str(counts[other]), grave=True)


def _created(name: str, problem: BaseException | None) -> bool:
    if problem is None:
        return True
    if not isinstance(problem, KafkaException):
        raise RetryLater(f"topic {name}: {problem}") from problem
    error = problem.args[0]
    if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
        return False
    raise mapped(error, f"create topic {name}") from problem


def cluster_id(settings: Settings, timeout_s: float = ADMIN_TIMEOUT_S) -> str:
    """Id of the cluster: another one means another log, offsets and all. Raises RetryLater."""
    admin = AdminClient({**settings.kafka.client_config(), "logger": SILENT})  # type: ignore[dict-item]
    try:
        return str(admin.list_topics(timeout=timeout_s).cluster_id)
    except KafkaException as error:
        raise mapped(error.args[0], "cluster id") from error
