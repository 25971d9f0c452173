"""The ACLs name the topics there are, keep the raw class apart, and a stage runs under them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    NewTopic,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from infra.kafka import acls
from infra.kafka.broker import KafkaBroker
from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.notarize.heads import heads_in_topic
from tachograph.pipeline.notarize.stage import Notary
from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.schemas import contracts
from tests.pipeline.notarize.evidence import PLACE, covered, record, until
from tests.pipeline.verify.conftest import clickhouse
from tests.waiting import WAIT_S

__all__ = ["clickhouse"]

TOPICS = contracts.topics()
RAW = {name for name, topic in TOPICS.items() if topic.raw}
MAY_READ_RAW = {"normalize", "store", "replay"}


def test_the_file_names_topics_that_there_are() -> None:
    named = {
        topic for rights in acls.roles().values() for topic in rights["read"] + rights["write"]
    }
    assert named == set(TOPICS)


def test_the_raw_class_is_read_by_those_alone_who_must() -> None:
    readers = {role for role, rights in acls.roles().items() if RAW & set(rights["read"])}
    assert readers == MAY_READ_RAW
    assert RAW & set(acls.roles()["store"]["read"]) == {"agent.dead_letters"}


@pytest.mark.parametrize(
    ("topic", "writers"),
    [
        ("agent.actions", {"normalize"}),
        ("agent.state", {"normalize"}),
        ("agent.alerts", {"triage"}),
        ("agent.tree_heads", {"notarize"}),
    ],
)
def test_a_topic_is_written_by_its_owner_alone(topic: str, writers: set[str]) -> None:
    assert {r for r, rights in acls.roles().items() if topic in rights["write"]} == writers


def test_they_are_printed_for_the_command_that_operators_know() -> None:
    lines = [acls.command(acl) for acl in acls.bindings({"auditor": "User:CN=audit"})]
    assert (
        "kafka-acls.sh --bootstrap-server $BOOTSTRAP --command-config $CONFIG --add"
        " --allow-principal 'User:tacho-notarize' --operation Write --topic 'agent.tree_heads'"
    ) in lines
    assert any("'User:CN=audit'" in line for line in lines)
    assert any(line.endswith("--group 'tacho.detect' --resource-pattern-type prefixed")
               for line in lines)  # fmt: skip


PASSWORD = "only-for-this-test"


@pytest.fixture
def guarded(private_kafka: Callable[..., KafkaBroker]) -> KafkaBroker:
    """A broker on which everybody may do what the file says."""
    broker = private_kafka(secure=True, authorized=True)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    made = [
        *admin.create_topics([NewTopic(name, 1, 1) for name in TOPICS]).values(),
        *admin.alter_user_scram_credentials(
            [
                UserScramCredentialUpsertion(
                    f"tacho-{role}",
                    ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096),
                    PASSWORD.encode(),
                )
                for role in acls.roles()
            ]
        ).values(),
    ]
    for future in made:
        future.result(WAIT_S)
    assert acls.apply(admin) == len(list(acls.bindings()))
    return broker


def as_role(role: str, broker: KafkaBroker, clickhouse: ClickHouseSettings, home: Path) -> Settings:
    """How a role logs in."""
    login = {
        **broker.credentials.client_config(),
        "sasl.username": f"tacho-{role}",
        "sasl.password": PASSWORD,
    }
    kafka = KafkaSettings(bootstrap=broker.secure_bootstrap_servers, security=login)
    return Settings(kafka=kafka, clickhouse=clickhouse, home=home)


def refused(settings: Settings, group: str, topic: str) -> bool:
    """Whether reading a topic is refused."""
    config: dict[str, Any] = {**settings.kafka.client_config(), "group.id": group}
    consumer = Consumer(config)
    asked = consumer.list_topics(topic, WAIT_S).topics[topic].error
    if asked is not None:
        consumer.close()
        return bool(asked.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED)
    consumer.assign([TopicPartition(topic, 0, 0)])
    end = time.monotonic() + WAIT_S
    try:
        while time.monotonic() < end:
            message = consumer.poll(0.5)
            if message is not None:
                error = message.error()
                return bool(error and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED)
    finally:
        consumer.close()
    raise AssertionError("the broker says nothing")


def test_under_them_the_notary_works_the_auditor_reads_and_nobody_does_more(
    guarded: KafkaBroker, clickhouse: ClickHouseSettings, tmp_path: Path
) -> None:
    owner = Settings(
        kafka=KafkaSettings(bootstrap=guarded.bootstrap_servers), clickhouse=clickhouse
    )
    writer = Writer(owner)
    for number in range(3):
        writer.send(PLACE[0], record(PLACE[0], number), partition=0)
    writer.send("agent.raw", b"{}", partition=0)
    writer.flush()

    notary_role = as_role("notarize", guarded, clickhouse, tmp_path)
    notary = Notary(notary_role, environ={"TACHO_HEAD_EVERY_S": "1"})
    until(notary, lambda: covered(notary_role) == 3, "the notary signs under its ACLs")
    notary.close()
    auditor = as_role("auditor", guarded, clickhouse, tmp_path)
    assert heads_in_topic(auditor)[-1].size == 3
    assert not refused(auditor, "tacho.verify", PLACE[0])

    assert refused(notary_role, "tacho.notarize", "agent.raw")
    assert refused(auditor, "tacho.verify", "agent.raw")
    producer = as_role("producer", guarded, clickhouse, tmp_path)
    assert refused(producer, "agent.one", "agent.raw")
    for settings, topic in (
        (auditor, "agent.tree_heads"),
        (notary_role, "agent.alerts"),
        (producer, "agent.actions"),
    ):
        with pytest.raises(TachoError, match=r"[Aa]uthorization"):
            _write(settings, topic)
    _write(producer, "agent.raw")


def _write(settings: Settings, topic: str) -> None:
    # Without idempotence: who may write nowhere gets no id of a producer, whatever the topic.
    quick = {"delivery.timeout.ms": 60_000, "enable.idempotence": False}
    writer = Writer(settings, overrides=quick)
    writer.send(topic, b"{}", partition=0)
    writer.flush(WAIT_S)
