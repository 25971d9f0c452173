"""Creating our topics as their contracts say: partitions, retention, compaction, the clock of raw
topics.
"""

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.kafka.reader import SILENT, mapped
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings
from tachograph.schemas import contracts

log = get("kafka.topics")
ADMIN_TIMEOUT_S = 30.0


def provision(settings: Settings, *, partitions: int | None = None) -> list[str]:
    """Create the topics that are missing; names of those created. `partitions` overrides the
    contracts'.

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
    wanted = [_new_topic(topic, partitions) for topic in missing]
    created = []
    for name, future in admin.create_topics(wanted, request_timeout=ADMIN_TIMEOUT_S).items():
        if _created(name, future.exception()):
            created.append(name)
    log.info("topics created", topics=created)
    return created


def _new_topic(topic: contracts.Topic, partitions: int | None) -> NewTopic:
    return NewTopic(
        topic.topic,
        num_partitions=partitions or topic.partitions,
        replication_factor=-1,
        config=topic.config(),
    )


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
