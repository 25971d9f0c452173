"""Topics on Apache Kafka: made as their contracts say, and whatever is otherwise is told."""

from collections.abc import Callable

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from typer.testing import CliRunner

from infra.kafka.broker import KafkaBroker
from tachograph.pipeline.kafka.topics import Difference, differences
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.verbs import app
from tachograph.schemas import contracts
from tests.waiting import eventually


@pytest.mark.kafka
def test_topics_are_made_as_their_contracts_say_and_what_differs_is_told(
    private_kafka: Callable[..., KafkaBroker],
    settings_for: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers = private_kafka().bootstrap_servers
    settings = settings_for(servers)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", servers)
    admin = AdminClient({"bootstrap.servers": servers})
    # As a broker makes them by itself.
    before = {"agent.config", "agent.control", "tacho.triage-entries-changelog"}
    made = [NewTopic(name, 3) for name in before]
    for future in admin.create_topics(made).values():
        future.result(30)

    looked = CliRunner().invoke(app, ["topics"])
    assert looked.exit_code == 1
    assert "wrong     agent.alerts: missing\n" in looked.stdout
    done = CliRunner().invoke(app, ["topics", "--create", "--partitions", "6"])
    assert done.exit_code == 1, "what was there before is still wrong"
    assert "created   agent.actions\n" in done.stdout
    counts = {name: len(t.partitions) for name, t in admin.list_topics(timeout=30).topics.items()}
    assert (counts["agent.actions"], counts["agent.health"]) == (6, 1)

    found = differences(settings)
    expected = {
        ("agent.config", "partitions", "1", "3", True),
        ("agent.config", "cleanup.policy", "compact", "delete", True),
        ("agent.config", "retention.ms", "-1", "604800000", True),
        ("agent.control", "partitions", "6", "3", True),
        ("tacho.triage-entries-changelog", "partitions", "6", "3", True),
    }
    assert {tuple(one) for one in found} >= expected
    assert {one.topic for one in found} == before

    longer = str(contracts.topics()["agent.alerts"].retention_hours or 0) + "00000000"
    changed = {
        ("agent.alerts", "retention.ms"): longer,
        ("agent.raw", "message.timestamp.type"): "CreateTime",
        ("agent.actions", "retention.ms"): "1000",
    }
    for (name, setting), value in changed.items():
        entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(30)
    told: dict[tuple[str, str], Difference] = {}

    def all_told() -> bool:
        told.update({(one.topic, one.what): one for one in differences(settings)})
        return told.keys() >= changed.keys()

    eventually(all_told, "the broker says what was changed")
    assert not told["agent.alerts", "retention.ms"].grave, "what stays longer is not lost"
    assert not told["agent.raw", "message.timestamp.type"].grave
    assert told["agent.actions", "retention.ms"] == Difference(
        "agent.actions", "retention.ms", "604800000", "1000", grave=True
    )


def test_how_many_and_how_often_is_asked_of_what_is_created_alone() -> None:
    refused = CliRunner().invoke(app, ["topics", "--partitions", "3"])
    assert "said to --create" in str(refused.exception)
