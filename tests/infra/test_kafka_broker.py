"""The real broker does what tests and `make kafka` promise of it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException

from infra.kafka import jars
from infra.kafka.broker import KafkaBroker, free_ports, has_ended
from infra.kafka.formatted import lay_formatted
from infra.kafka.shared import shared_broker
from tests.conftest import started
from tests.infra.kafka_client import Config, produce, read_all
from tests.waiting import WAIT_S

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., KafkaBroker]


def test_what_was_acknowledged_survives_kill_9_and_a_clean_stop_on_the_same_port(
    private_kafka: Start, topic_name: str
) -> None:
    broker = private_kafka()
    address = broker.bootstrap_servers
    said = []
    for end, value in ((broker.kill, b"killed"), (broker.stop, b"stopped")):
        produce(address, topic_name, [value])
        said.append(value)
        end()
        assert not broker.is_running()
        broker.start()
        assert broker.bootstrap_servers == address
        assert [m.value() for m in read_all(address, topic_name, len(said))] == said


def test_a_folder_is_formatted_once_and_every_node_is_a_cluster_of_its_own(tmp_path: Path) -> None:
    formatted = []

    def format_folder(jars: Path, folder: Path) -> Path:
        formatted.append(jars)
        (folder / "data").mkdir()
        (folder / "data" / "bootstrap.checkpoint").write_bytes(b"features")
        lines = "node.id=1\ndirectory.id=JEXY6aqzQY-32P5TStzaFg\nversion=1\ncluster.id=one\n"
        (folder / "data" / "meta.properties").write_text(lines)
        return folder / "data"

    said = []
    for name in ("first", "second"):
        lay_formatted(tmp_path / "jars", tmp_path / name, format_folder)
        assert (tmp_path / name / "bootstrap.checkpoint").read_bytes() == b"features"
        text = (tmp_path / name / "meta.properties").read_text()
        said.append(dict(line.split("=", 1) for line in text.splitlines()))
    assert formatted == [tmp_path / "jars"]
    for one in said:
        assert (one["node.id"], one["version"]) == ("1", "1")
        assert len(one["cluster.id"]) == len(one["directory.id"]) == 22
    assert len({one[key] for one in said for key in ("cluster.id", "directory.id")}) == 4


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """One that asks who comes, and goes by its own clock."""
    folder = tmp_path_factory.mktemp("guarded")
    broker = started(KafkaBroker(folder, secure=True, timestamp_type="LogAppendTime"))
    yield broker
    broker.kill()


@pytest.mark.kafka
def test_a_secure_listener_lets_in_the_right_password_only(
    guarded: KafkaBroker, topic_name: str
) -> None:
    servers = guarded.secure_bootstrap_servers

    for mechanism in ("SCRAM-SHA-512", "PLAIN"):
        right = guarded.credentials.client_config(mechanism)
        produce(servers, topic_name, [mechanism.encode()], config=right)

        wrong: Config = {**right, "sasl.password": "wrong", "message.timeout.ms": 3_000}
        with pytest.raises(KafkaException):
            produce(servers, topic_name, [b"intruder"], config=wrong)

    login = guarded.credentials.client_config()
    del login["ssl.ca.location"]
    unverified: Config = {**login, "message.timeout.ms": 3_000}
    with pytest.raises(KafkaException):
        produce(servers, topic_name, [b"to a stranger"], config=unverified)

    kept = read_all(servers, topic_name, 2, config=guarded.credentials.client_config())
    assert [m.value() for m in kept] == [b"SCRAM-SHA-512", b"PLAIN"]


@pytest.mark.kafka
def test_the_broker_can_stamp_its_own_time(guarded: KafkaBroker, topic_name: str) -> None:
    produce(guarded.bootstrap_servers, topic_name, [b"x"])
    (message,) = read_all(guarded.bootstrap_servers, topic_name, 1)
    kind, _ = message.timestamp()
    assert kind == 2  # TIMESTAMP_LOG_APPEND_TIME


@pytest.mark.kafka
def test_the_script_says_where_it_listens_and_ends_on_a_signal(tmp_path: Path) -> None:
    skip_without_java()
    script = [sys.executable, "-m", "infra.kafka.broker", "--quick-start"]
    node = subprocess.Popen(
        [*script, "--port", "0", "--data", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with node:
        assert node.stdout is not None
        lines = iter(node.stdout.readline, "")
        address = next(line for line in lines if line.startswith("KAFKA_BOOTSTRAP_SERVERS="))
        produce(address.partition("=")[2].strip(), "by-hand", [b"x"])
        node.send_signal(signal.SIGINT)
        assert node.wait(WAIT_S) == 0


def test_without_java_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(jars.BrokerUnavailableError, match=r"^a real Kafka .* no `java` on PATH$"):
        KafkaBroker(tmp_path).start()


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_402"])
def test_an_old_java_is_refused_by_its_version(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(jars.BrokerUnavailableError, match="Java 17 or newer: `java` is version"):
        jars.require_java()


def test_a_changed_jar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kafka_2.13-4.1.0.jar").write_bytes(b"not Kafka")
    with pytest.raises(jars.BrokerFailedError, match=r"kafka_2\.13-4\.1\.0\.jar"):
        jars.verify(tmp_path)


def test_a_port_in_use_is_named_in_the_error(kafka_broker: Any, tmp_path: Path) -> None:
    port = kafka_broker.bootstrap_servers.rpartition(":")[2]
    second = KafkaBroker(tmp_path / "second", port=int(port))
    with pytest.raises(jars.BrokerFailedError, match=port):
        second.start()


def test_every_process_of_a_run_gets_the_same_broker(kafka_broker: Any) -> None:
    folder = Path(os.environ["TACHO_TEST_SHARED"])
    assert shared_broker(folder, os.getpid()) == kafka_broker.bootstrap_servers


@pytest.mark.kafka
def test_a_shared_broker_ends_with_its_owner_even_a_killed_one(tmp_path: Path) -> None:
    skip_without_java()
    with subprocess.Popen(["sleep", "600"]) as owner:
        shared_broker(tmp_path, owner.pid)
        pid = int((tmp_path / "pid").read_text())
        assert not has_ended(pid)
        owner.kill()
    while not has_ended(pid):  # a broker that stays meets the test's time limit
        time.sleep(0.1)


@pytest.mark.parametrize(("ci", "outcome"), [("false", "1 skipped"), ("true", "1 failed")])
def test_without_java_a_test_is_skipped_with_the_reason_but_fails_in_ci(
    ci: str, outcome: str, tmp_path: Path
) -> None:
    named = test_what_was_acknowledged_survives_kill_9_and_a_clean_stop_on_the_same_port.__name__
    test = f"tests/infra/test_kafka_broker.py::{named}"
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in answer.stdout
    assert "a real Kafka broker needs Java 17 or newer: no `java` on PATH" in answer.stdout


def test_free_ports_are_all_different() -> None:
    assert len(set(free_ports(20))) == 20


def skip_without_java() -> None:
    if shutil.which("java") is None and os.environ.get("CI") != "true":
        pytest.skip("a real Kafka broker needs Java 17 or newer: no `java` on PATH")
