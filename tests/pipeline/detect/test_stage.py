"""The running stage says what it did not read and what it forgot."""

import io
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import REGISTRY

from tachograph.detectors.behaviour.models import Models
from tachograph.detectors.groups import Groups
from tachograph.detectors.language.bundle import bundle_of
from tachograph.detectors.language.ruleset import load
from tachograph.detectors.partition import PartitionDetector
from tachograph.detectors.plan import Plan
from tachograph.detectors.reference.reference import shipped
from tachograph.detectors.silences import Silence
from tachograph.pipeline.config_log import publish
from tachograph.pipeline.detect import stage
from tachograph.pipeline.detect.stage import Detect
from tachograph.pipeline.errors import Refused
from tachograph.pipeline.in_force import Content, InForce, activate
from tachograph.pipeline.kafka.reader import Reader
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.models.activating import Asked, run_activate
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas import batch
from tachograph.schemas.codec import canonical
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.records import Activation
from tests.detectors.behaviour.test_models import learned
from tests.detectors.made import at, frame, rules, stateless
from tests.waiting import WAIT_S

BATCH = {RECORD_HEADER: b"action_batch"}
SettingsFor = Callable[[str], Settings]


@pytest.fixture
def own_topic(
    monkeypatch: pytest.MonkeyPatch, topic_name: str, new_name: Callable[[str], str]
) -> str:
    """The stage reads a topic of this test alone, in a group of its own."""
    monkeypatch.setattr(stage, "SOURCE", topic_name)
    monkeypatch.setattr(stage, "GROUP", new_name("group"))
    return topic_name


@pytest.fixture
def own_broker() -> Iterator[MockBroker]:
    """A broker of one test alone: what is in force is said on a topic with a fixed name."""
    with MockBroker() as broker:
        yield broker


def until(rounds: Callable[[], object], done: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < end, "it never came"
        rounds()


@pytest.mark.kafka
def test_records_that_expired_unread_stop_the_stage_with_a_reason(
    kafka_broker: Any, settings_for: SettingsFor, own_topic: str
) -> None:
    settings = settings_for(kafka_broker.bootstrap_servers)
    writer = Writer(settings)
    writer.partitions(own_topic)
    for _ in range(5):
        writer.send(own_topic, b"", partition=0)
    writer.flush()
    reader = Reader(settings, stage.GROUP, [own_topic])
    until(lambda: reader.read(10, 0.1), lambda: bool(reader.assignment()))
    reader.commit({(own_topic, 0): 1})
    reader.close()
    admin = AdminClient({"bootstrap.servers": kafka_broker.bootstrap_servers})
    [deleted] = admin.delete_records([TopicPartition(own_topic, 0, 3)]).values()
    deleted.result(30)
    detect = Detect(settings, Plan.of(load([], builtin=True)))
    try:
        with pytest.raises(Refused, match="committed offset 1 is no longer kept"):
            until(detect.round, lambda: False)
    finally:
        detect.close()


def _counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"stage": stage.STAGE, **labels}) or 0.0


def test_repeated_actions_and_evicted_groups_are_counted(
    mock_broker: Any,
    settings_for: SettingsFor,
    own_topic: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        Groups.__init__, "__kwdefaults__", {"max_groups": 3, "lateness_s": 60, "captures": True}
    )
    settings = settings_for(mock_broker.bootstrap_servers)
    found = frame(
        [
            {"event_id": f"{n:032x}", "event_time": 3600 * n, "tool_name": "a", "agent_id": "x"}
            for n in range(1, 6)
        ]
    )
    writer = Writer(settings)
    for _ in range(2):
        writer.send(own_topic, batch.encode(found), partition=0, headers=BATCH)
    writer.flush()
    repeated = _counted("tacho_duplicates_total")
    evicted = _counted("tacho_evicted_total", kind="signal_groups")
    detect = Detect(settings, Plan.of(rules(stateless("  s: {tool.name: a}\n  condition: s"))))
    try:
        until(detect.round, lambda: _counted("tacho_duplicates_total") == repeated + 5)
        assert _counted("tacho_evicted_total", kind="signal_groups") == evicted + 2
    finally:
        detect.close()


def _action(number: int, tool: str, observed: float) -> dict[str, Any]:
    return {
        "event_id": f"{number:032x}", "event_time": observed, "observed_time": at(observed),
        "tool_name": tool, "agent_id": "x", "session_id": "s",
    }  # fmt: skip


def test_a_change_that_is_said_while_the_stage_runs_holds_from_its_time_on(
    own_broker: MockBroker,
    settings_for: SettingsFor,
    own_topic: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The change comes after two of three actions, and holds for the time of the second on."""
    monkeypatch.setattr(stage, "FOLLOW_EVERY_S", 0.0)
    settings = settings_for(own_broker.bootstrap_servers)
    contents = [_content(tmp_path, *rule) for rule in (("low", "a", 9), ("high", "a", 3))]
    writer = Writer(settings)
    in_force = InForce(settings, writer, contents[0])
    detect = Detect(settings, in_force.plan, in_force)
    said: list[Any] = []
    monkeypatch.setattr(detect, "_emit", said.append)

    def send(*numbers: int) -> None:
        rows = [_action(n, "a", 100.0 + n) for n in numbers]
        writer.send(own_topic, batch.encode(frame(rows)), partition=0, headers=BATCH)
        writer.flush()

    def signals() -> dict[str, Any]:
        return {s.signal_id: s for found in said for s in found.signals}

    try:
        send(1, 2)
        until(detect.round, lambda: len(signals()) == 2)
        activate(writer, contents[1], ["rules"], from_=at(102), by="a test")
        writer.flush()
        until(detect.round, lambda: any(s.severity == "high" for s in signals().values()))
        publish(writer, _silence("one", at(103)))
        writer.flush()
        until(detect.round, lambda: len(in_force.silences.silences) == 1)
        send(3)
        until(detect.round, lambda: len(signals()) == 4)
    finally:
        detect.close()
    told = sorted((s.kind, s.severity, int(s.event_time.timestamp())) for s in signals().values())
    assert told == [
        ("stateless", "high", 102),
        ("stateless", "high", 103),
        ("stateless", "low", 101),
        ("window", "high", 103),
    ]
    groups = {group.group_id: group for found in said for group in found.groups}.values()
    hushed = [(g.rule_id, g.first_seen) for g in groups if g.suppressed is not None]
    assert hushed == [("one", at(103))]


def test_a_model_that_is_activated_while_the_stage_runs_reaches_every_partition(
    own_broker: MockBroker,
    settings_for: SettingsFor,
    own_topic: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(stage, "FOLLOW_EVERY_S", 0.0)
    settings = settings_for(own_broker.bootstrap_servers)
    writer = Writer(settings)
    in_force = InForce(settings, writer, _content(tmp_path, "low", "a", 9))
    detect = Detect(settings, in_force.plan, in_force)
    told: list[Models] = []
    monkeypatch.setattr(PartitionDetector, "judge_by", lambda _self, models: told.append(models))
    path = tmp_path / "behaviour.skops"
    path.write_bytes(learned().model.encode())
    try:
        writer.send(own_topic, batch.encode(frame([_action(1, "a", 101.0)])), headers=BATCH)
        writer.flush()
        until(detect.round, lambda: bool(told))
        assert not told[-1]
        begun = len(told)
        run_activate(Asked(path=path, shadow=True), settings, sink=io.StringIO())
        until(detect.round, lambda: bool(told[-1]))
    finally:
        detect.close()
    # Once each: nobody is told of what did not change.
    assert len(told) == 2 * begun


def _silence(rule: str, starts: datetime) -> Activation:
    silence = Silence(
        name="s", owner="o", reason="r", rule=rule, starts=starts, ends=starts + timedelta(hours=1)
    )
    return Activation(
        subject="silence",
        name=silence.name,
        tenant="*",
        content_hash="",
        effective_from=starts,
        content=canonical(silence).decode(),
    )


def _content(folder: Path, level: str, tool: str, least: int) -> Content:
    path = folder / f"{level}.yml"
    path.write_text(f"""
title: one
id: one
name: one
level: {level}
logsource: {{product: ai_agent}}
detection: {{s: {{tool.name: {tool}}}, condition: s}}
---
title: many
id: many
level: {level}
correlation:
  type: event_count
  rules: [one]
  group-by: [session.id]
  timespan: 10s
  condition: {{gte: {least}}}
  generate: true
""")
    return Content.of(bundle_of([path], builtin=False), shipped())
