"""`tacho forward list` and `tacho forward test`, as a person types them."""

import json
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner, Result

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.forward.command import app
from tachograph.pipeline.standins.broker import MockBroker
from tests.pipeline.forward.receivers import Rsyslog, WebhookReceiver
from tests.pipeline.forward.stubs import BulkStub, HttpStub, Scripted, SentinelStub, SplunkStub
from tests.pipeline.forward.test_destinations import LEAST
from tests.waiting import WAIT_S, eventually

SECRET = "a secret of at least 16 bytes"


@pytest.fixture
def tacho(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Write forward.toml and run `tacho forward` with arguments."""
    monkeypatch.setenv("TACHO_HOME", str(tmp_path))
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.delenv("TACHO_FORWARD_CONFIG", raising=False)

    def run(config: str, *arguments: str) -> Result:
        (tmp_path / "forward.toml").write_text(config)
        return CliRunner().invoke(app, list(arguments))

    return run


def hook(url: str) -> str:
    return (
        '[[destination]]\nname = "hook"\ntype = "webhook"\n'
        f'url = "{url}"\nsecret_env = "HOOK_SECRET"\n'
    )


def test_a_sample_reaches_the_webhook_and_its_answer_is_shown(
    tacho: Callable[..., Result], webhook: WebhookReceiver
) -> None:
    webhook.answers = [(202, {})]
    result = tacho(hook(webhook.url), "test", "hook")
    assert result.exit_code == 0
    assert "the other end said: 202 Accepted: said 202" in result.stdout
    [request] = webhook.requests
    event = json.loads(request.body)
    assert event["finding_info"]["analytic"]["uid"] == "tacho.sample"
    assert event["unmapped"]["synthetic"] is True
    assert request.headers["tacho-delivery"] in result.stdout


def test_a_sample_that_is_not_taken_says_why_and_exits_1(
    tacho: Callable[..., Result], webhook: WebhookReceiver
) -> None:
    webhook.answers = [(403, {})]
    result = tacho(hook(webhook.url), "test", "hook")
    assert result.exit_code == 1
    assert "not delivered: 403 Forbidden: said 403" in result.stderr


def test_a_sample_reaches_rsyslog(
    tacho: Callable[..., Result], start_rsyslog: Callable[..., Rsyslog]
) -> None:
    daemon = start_rsyslog()
    config = '[[destination]]\nname = "siem"\ntype = "syslog"\naddress = "127.0.0.1:%d"\n'
    result = tacho(config % daemon.port, "test", "siem")
    assert result.exit_code == 0
    assert "read to the end by the receiver" in result.stdout
    eventually(lambda: len(daemon.lines()) == 1, "the sample")
    assert "|tacho.sample|Test alert of Tachograph" in daemon.lines()[0]


# A receiver listens from its making on, so each is made by the test that asks it.
RECEIVERS: dict[str, tuple[Callable[[], HttpStub], dict[str, str]]] = {
    "splunk_hec": (lambda: SplunkStub(SECRET), {"url": "{url}"}),
    "elasticsearch": (lambda: BulkStub(f"ApiKey {SECRET}"), {"url": "{url}"}),
    "sentinel": (
        lambda: SentinelStub(client_id="app-1", secret=SECRET, columns={"AlertId"}),
        {"url": "{url}", "login_url": "{url}", "dcr_immutable_id": "dcr-0123",
         "tenant_id": "tenant-1", "client_id": "app-1"},
    ),
    "otlp": (
        lambda: Scripted(lambda _request: (200, {"content-type": "application/x-protobuf"}, b"")),
        {"url": "{url}/v1/logs"},
    ),
    "slack": (lambda: Scripted(lambda _request: (200, {}, b"ok")), {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", RECEIVERS)
def test_a_sample_reaches_every_kind_of_receiver_and_its_answer_is_shown(
    tacho: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    listen, options = RECEIVERS[kind]
    with listen() as stub:
        if kind == "slack":
            monkeypatch.setenv("HOOK_SECRET", f"{stub.url}/services/T0/B0/x")
        lines = [f'{name} = "{value.format(url=stub.url)}"' for name, value in options.items()]
        head = ["[[destination]]", 'name = "it"', f'type = "{kind}"', 'secret_env = "HOOK_SECRET"']
        result = tacho("\n".join([*head, *lines, ""]), "test", "it")
    assert result.exit_code == 0, result.output
    assert "the other end said: " in result.stdout
    assert any(b"Test alert of Tachograph" in request.body for request in stub.requests)


def test_a_sample_reaches_a_bucket(tacho: Callable[..., Result], moto: tuple[str, Any]) -> None:
    url, client = moto
    result = tacho(written("s3", url=url), "test", "it")
    assert result.exit_code == 0, result.output
    assert "the other end said: 1 records in s3://soc-alerts/" in result.stdout
    [found] = client.list_objects_v2(Bucket="soc-alerts")["Contents"]
    body = client.get_object(Bucket="soc-alerts", Key=found["Key"])["Body"].read()
    assert json.loads(body)["title"].startswith("Test alert of Tachograph")


def test_a_sample_reaches_a_topic(tacho: Callable[..., Result]) -> None:
    with MockBroker(topics=("alerts",)) as broker:
        place = broker.bootstrap_servers
        config = written("kafka", place=place).replace('secret_env = "HOOK_SECRET"\n', "")
        config = config.replace("deadline_s = 0.5", "deadline_s = 20.0")
        result = tacho(config, "test", "it")
        assert result.exit_code == 0, result.output
        assert "the other end said: 1 records acknowledged in alerts" in result.stdout
        with closing(Consumer({"bootstrap.servers": place, "group.id": "test"})) as consumer:
            partitions = consumer.list_topics("alerts", timeout=WAIT_S).topics["alerts"].partitions
            consumer.assign([TopicPartition("alerts", number, 0) for number in partitions])
            message = consumer.poll(WAIT_S)
    assert message is not None
    assert message.error() is None
    assert b"Test alert of Tachograph" in (message.value() or b"")


def written(kind: str, **places: str) -> str:
    """A destination of that kind with no more than it must be told, and a secret."""
    places = {"url": "https://siem.example", "place": "siem.example:1", **places}
    lines = ["[[destination]]", 'name = "it"', f'type = "{kind}"', 'secret_env = "HOOK_SECRET"']
    for name, value in LEAST[kind].items():
        told = value.format(**places) if isinstance(value, str) else value
        lines.append(f"{name} = {json.dumps(told)}")
    return "\n".join([*lines, ""])


@pytest.mark.parametrize("kind", sorted(set(LEAST) - {"syslog"}))
def test_no_kind_of_destination_shows_its_secret(
    tacho: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    config = written(kind)
    if kind == "slack":
        monkeypatch.setenv("HOOK_SECRET", f"https://hooks.example/services/{SECRET}")
    if kind == "kafka":
        config += 'username = "tacho"\nsecurity_protocol = "sasl_ssl"\n'
    result = tacho(config, "list")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["name"] == "it"
    assert SECRET not in result.output


def test_a_receiver_that_is_away_is_told_apart_from_a_wrong_name(
    tacho: Callable[..., Result],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
    assert tacho(hook(url), "test", "hook").exit_code == 1
    unknown = tacho(hook(url), "test", "siem")
    assert isinstance(unknown.exception, ConfigError)
    assert "no destination 'siem'; there is hook" in str(unknown.exception)


def test_the_list_shows_what_each_destination_gets_and_no_secret(
    tacho: Callable[..., Result],
) -> None:
    result = tacho(hook("https://hooks.example/T0/token"), "list")
    shown = json.loads(result.stdout)
    assert (shown["name"], shown["format"], shown["url"]) == (
        "hook",
        "ocsf",
        "https://hooks.example/…",
    )
    assert SECRET not in result.stdout
    assert "token" not in result.stdout


def test_another_file_can_be_named(tacho: Callable[..., Result], tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[[destination]]\nname = "other"\ntype = "syslog"\naddress = "a:1"\n')
    result = tacho(hook("https://a.example/"), "--config", str(other), "list")
    assert json.loads(result.stdout)["name"] == "other"
