"""`tacho directive`: what a person tells an agent reaches it signed, and can be taken back."""

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner

from tachograph.pipeline.control.command import app
from tachograph.pipeline.control.keys import signer
from tachograph.pipeline.sdk.signing import holds, key_of
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tests.waiting import WAIT_S


def test_a_person_stops_an_agent_and_releases_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with MockBroker(partitions=1, topics=("agent.control",)) as broker:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
        monkeypatch.setenv("TACHO_HOME", str(tmp_path_factory.mktemp("home")))
        run = CliRunner()
        stopped = run.invoke(
            app, ["issue", "quarantine", "a-1", "--reason", "incident 42", "--tool", "pay*"]
        )
        assert stopped.exit_code == 0, stopped.output
        name = stopped.output.split()[0]
        released = run.invoke(app, ["release", "a-1", "--reason", "over", "--directive", name])
        assert released.exit_code == 0, released.output
        assert run.invoke(app, ["issue", "dance", "a-1", "--reason", "x"]).exit_code != 0

        settings = Settings.from_env()
        public = signer(settings.home).public
        keys = {public.key_id: key_of(public.public_key)}
        consumer = Consumer({**settings.kafka.client_config(), "group.id": "test"})
        consumer.assign([TopicPartition("agent.control", 0, 0)])
        found = [msgspec.json.decode(m.value() or b"") for m in consumer.consume(2, WAIT_S)]
        consumer.close()
    assert [one["kind"] for one in found] == ["quarantine", "release"]
    assert all(holds(one, keys) for one in found)
    assert found[0]["scope"] == {"tool": "pay*"}
    assert found[1]["scope"] == {"directive_id": name}
    assert found[0]["tenant"] == "default"
