"""`tacho alerts`: stored alerts, then the feed, resumed after a break; hostile words are text."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.kafka.broker import free_ports
from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.serve.alerts_client import AlertsClient
from tachograph.pipeline.settings import DOOR_FILE, Settings
from tachograph.pipeline.up.embedded import told
from tachograph.pipeline.verbs import app
from tachograph.schemas import codec
from tachograph.schemas.alert import Alert
from tests.pipeline.forward import alerts
from tests.pipeline.forward.receivers import Request
from tests.pipeline.forward.stubs import Reply, Scripted, reply

from .conftest import open_door, wait_for_feed


def post(settings: Settings, *posted: Alert) -> None:
    writer = Writer(settings)
    for alert in posted:
        writer.send("agent.alerts", codec.encode(alert), key=b"acme/agent")
    writer.flush()


def test_what_comes_is_followed_over_a_restart_of_the_door(settings: Settings) -> None:
    [port] = free_ports(1)
    with open_door(settings, port=port) as door:
        wait_for_feed(door)
        client = AlertsClient(door.url, None, sleep=lambda _s: None)
        client.begin([])
        found: Iterator[dict[str, object]] = client.follow([])
        post(settings, alerts.alert(1), alerts.alert(2))
        assert [next(found)["alert_id"] for _ in range(2)] == [f"{n:032x}" for n in (1, 2)]
    post(settings, alerts.alert(3))
    with open_door(settings, port=port):
        # From the place where the connection broke: what came meanwhile is not lost.
        assert next(found)["alert_id"] == f"{3:032x}"
        closing = threading.Thread(target=client.close)
        closing.start()
        closing.join()


def test_the_door_of_up_is_found_wherever_it_listens(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TACHO_HOME", str(tmp_path))
    monkeypatch.delenv("TACHO_DOOR_URL", raising=False)
    with open_door(settings) as door, told(tmp_path / DOOR_FILE, door.url):
        told_by = CliRunner().invoke(app, ["alerts", "-n", "0"])
        assert (told_by.exit_code, told_by.exception) == (0, None)
    gone = CliRunner().invoke(app, ["alerts"], env={"TACHO_DOOR_PORT": "9"})
    assert "127.0.0.1:9" in str(gone.exception)


def stored(request: Request) -> Reply:
    """A door that holds two pages."""
    assert request.headers["authorization"] == "Bearer a-token-0123456789"
    shown = [json.loads(codec.encode(alerts.alert(n))) for n in (1, 2, 3)]
    shown[1]["title"] = "\x1b[31mred\nline"
    if "cursor=next-1" in request.path:
        return reply(200, {"alerts": shown[2:], "next": None})
    return reply(200, {"alerts": shown[:2], "next": "next-1"})


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """A scripted door, its address and token in the environment."""
    with Scripted(stored) as stub:
        monkeypatch.setenv("TACHO_DOOR_URL", stub.url)
        monkeypatch.setenv("TACHO_DOOR_TOKEN", "a-token-0123456789")
        yield stub


def test_stored_alerts_are_lines_in_which_no_word_is_a_control_character(door: Scripted) -> None:
    result = CliRunner().invoke(app, ["alerts", "-n", "5", "--min-severity", "high"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert "\x1b" not in result.stdout
    assert lines[1].startswith("2026-11-22T18:00:02  high")
    assert "·[31mred·line" in lines[1]
    assert "severity=high%2Ccritical" in door.requests[0].path


def test_json_is_one_object_a_line_up_to_the_limit(door: Scripted) -> None:
    result = CliRunner().invoke(app, ["alerts", "--json", "--rule", "a", "--rule", "b", "-n", "2"])
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [alert["alert_id"] for alert in found] == [f"{n:032x}" for n in (1, 2)]
    assert "rule=a&rule=b&limit=2" in door.requests[0].path


def test_a_door_that_is_not_there_is_named_with_what_to_do() -> None:
    told = CliRunner().invoke(app, ["alerts", "--url", "http://127.0.0.1:9"]).exception
    assert isinstance(told, RetryLater)
    assert str(told).startswith("no door at http://127.0.0.1:9 (")
    assert str(told).endswith("start `tacho up` or `tacho serve`, or name another with --url")


def test_what_the_door_says_against_it_is_told(door: Scripted) -> None:
    door.forced = [reply(403, {"error": "the token has no role `watch`"})]
    told = CliRunner().invoke(app, ["alerts"]).exception
    assert isinstance(told, Refused)
    assert str(told) == "the door said 403: the token has no role `watch`"
    door.forced = [reply(401, {"error": "a bearer token is needed"})]
    assert str(CliRunner().invoke(app, ["alerts"]).exception) == (
        "the door said 401: a bearer token is needed; TACHO_DOOR_TOKEN holds the token to ask with"
    )
    door.forced = [(404, {}, b"<html>\x1b[31m\n</html>")]
    assert str(CliRunner().invoke(app, ["alerts"]).exception) == (
        "the door said 404: in no words of a door's: is it one? --url names another"
    )
    door.forced = [reply(503, {"error": "ClickHouse does not answer"})]
    assert isinstance(CliRunner().invoke(app, ["alerts"]).exception, RetryLater)
    assert CliRunner().invoke(app, ["alerts", "--min-severity", "huge"]).exit_code == 2
