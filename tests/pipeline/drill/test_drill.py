"""`tacho drill`: what is sent, and what is told of it; against a real door and its feed."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from infra.kafka.broker import free_ports
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.pipeline.drill.attack import AGENT, attack
from tachograph.pipeline.drill.command import DEFAULT_RULE
from tachograph.pipeline.drill.run import Door, Outcome, drilled, told
from tachograph.pipeline.errors import ConfigError, Refused
from tachograph.pipeline.forward.monitor import Monitor
from tachograph.pipeline.forward.own_signals import group_of
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.rules.loading import Sources, find
from tachograph.pipeline.serve.alerts_client import AlertsClient, Query
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.pipeline.verbs import app
from tachograph.schemas import codec
from tachograph.schemas.records import Health
from tests.pipeline.forward import alerts
from tests.pipeline.serve.conftest import OpenDoor, open_door, records, wait_for_feed
from tests.waiting import WAIT_S

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return Sources().rules()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[OpenDoor]:
    topics = ("agent.alerts", "otlp_spans", "agent.raw")
    with MockBroker(partitions=1, topics=topics) as broker:
        environ = {
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "TACHO_HOME": str(tmp_path / "home"),
        }
        with open_door(Settings.from_env(environ)) as found:
            wait_for_feed(found)
            yield found


@pytest.mark.parametrize("name", [DEFAULT_RULE, "Bulk delete by an agent"])
def test_the_attack_is_a_marked_action_of_an_agent_that_nobody_has(
    rules: RuleSet, name: str
) -> None:
    one, other = (attack(find(rules, name), rules, drill, NOW) for drill in ("a1", "b2"))
    assert (one.agent_id, other.agent_id) == (f"{AGENT}a1", f"{AGENT}b2")
    actions = [msgspec.json.decode(line) for line in one.lines]
    assert {action["agent_id"] for action in actions} == {one.agent_id}
    assert {action["session_id"] for action in actions} == {one.session_id}
    assert all(action["synthetic"] for action in actions)
    assert len({action["producer_id"] for action in actions}) == len(actions)
    assert max(action["event_time"] for action in actions) == "2026-11-27T12:00:00Z"


@pytest.mark.parametrize(
    "name",
    [
        "Tool outside the agent's approved tools",  # a register that is not known here
        "Attempt with no recorded outcome",  # time has to pass
        "Many agents wake at one trigger",  # of many agents
    ],
)
def test_a_rule_that_one_agent_cannot_set_off_at_once_is_no_drill(
    rules: RuleSet, name: str
) -> None:
    with pytest.raises(ConfigError, match="name another rule"):
        attack(find(rules, name), rules, "a1", NOW)


def test_an_alert_of_the_drill_is_seen(door: OpenDoor, rules: RuleSet) -> None:
    """The part of the pipeline behind the door is played: others' alerts come first."""
    rule = find(rules, DEFAULT_RULE)

    def judge() -> None:
        [raw] = records(door.settings, "agent.raw", 1)
        agent = msgspec.json.decode(raw.value() or b"")["agent_id"]
        writer = Writer(door.settings)
        hit = alerts.rule(DEFAULT_RULE)
        for number, (of, by) in enumerate(
            [("another", hit), (agent, alerts.rule("another")), (agent, hit)], 1
        ):
            made = msgspec.structs.replace(alerts.alert(number), agent_id=of, rules=[by])
            writer.send("agent.alerts", codec.encode(made), key=b"k")
        writer.flush()

    judging = threading.Thread(target=judge)
    judging.start()
    outcome = drilled(rule, rules, Door(door.url), WAIT_S)
    judging.join(WAIT_S)
    assert (outcome.missed, outcome.alert_id) == ("", f"{3:032x}")
    assert outcome.after_s is not None


def test_a_drill_without_an_alert_is_missed(door: OpenDoor, rules: RuleSet) -> None:
    outcome = drilled(find(rules, DEFAULT_RULE), rules, Door(door.url), 0.2)
    assert outcome.missed == "no alert within 0.2 s"
    assert len(records(door.settings, "agent.raw", 1)) == 1


def test_a_door_that_is_away_has_missed_it(rules: RuleSet) -> None:
    [port] = free_ports(1)
    outcome = drilled(find(rules, DEFAULT_RULE), rules, Door(f"http://127.0.0.1:{port}"), 1)
    assert outcome.missed.startswith("no door at")


def test_a_door_that_does_not_know_us_is_no_missed_drill(tmp_path: Path, rules: RuleSet) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-ann-0123456789 ann * analyst\n")
    tokens.chmod(0o600)
    with MockBroker(partitions=1, topics=("agent.alerts", "agent.raw")) as broker:
        environ = {
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "TACHO_HOME": str(tmp_path / "home"),
        }
        with (
            open_door(Settings.from_env(environ), tokens_file=tokens) as shut,
            pytest.raises(Refused, match="TACHO_DOOR_TOKEN"),
        ):
            drilled(find(rules, DEFAULT_RULE), rules, Door(shut.url), 1)


def test_a_feed_that_is_refused_while_it_is_watched_is_no_missed_drill(
    door: OpenDoor, rules: RuleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def follow(client: AlertsClient, query: Query) -> Iterator[dict[str, Any]]:
        raise Refused("the token was withdrawn")

    monkeypatch.setattr(AlertsClient, "follow", follow)
    with pytest.raises(Refused, match="withdrawn"):
        drilled(find(rules, DEFAULT_RULE), rules, Door(door.url), WAIT_S)


def test_a_missed_drill_ends_with_1_and_stands_in_the_log(tmp_path: Path) -> None:
    [port] = free_ports(1)
    with MockBroker(partitions=1, topics=("agent.health",)) as broker:
        environ = {
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "TACHO_HOME": str(tmp_path / "home"),
        }
        asked = ["drill", "--url", f"http://127.0.0.1:{port}", "--json"]
        done = CliRunner().invoke(app, asked, env=environ)
        [kept] = records(Settings.from_env(environ), "agent.health", 1)
    assert done.exit_code == 1, done.output
    told_ = msgspec.json.decode(done.stdout)
    decision = codec.decode(Health, kept.value() or b"")
    assert decision.component == f"drill:{told_['title']}"
    assert (decision.status, told_["drill_id"] in str(decision.detail)) == ("silent", True)


def outcome(missed: str = "", second: int = 0) -> Health:
    made = Outcome("a1", DEFAULT_RULE, "A shell", NOW.replace(second=second), missed=missed)
    sent: list[bytes] = []
    told(made, "acme", lambda _topic, value, **_rest: sent.append(value))
    return codec.decode(Health, sent[0])


def test_a_missed_drill_is_an_alert_that_the_next_one_does_not_undo() -> None:
    monitor = Monitor(0)
    missed = outcome("no alert within 60 s", 1)
    assert monitor.read(missed)
    assert not monitor.read(missed), "the same, read again"
    group = group_of(missed, 7)
    assert (group.rule_id, group.count, group.entity) == ("tacho.drill_missed", 1, "drill:A shell")
    assert "no alert within 60 s (drill a1)" in group.samples[0].reason.text
    assert monitor.judge(10**9) == [], "only a drill says how drills went"
    assert not monitor.read(outcome("", 2))
    again = outcome("no alert within 60 s", 3)
    assert monitor.read(again)
    assert group_of(again, 9).samples[0].signal_id != group.samples[0].signal_id
