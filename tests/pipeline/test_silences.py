"""Silences are said in the log, read back by all, ended before their time, and never forgotten."""

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tachograph.detectors.language.bundle import bundle_of
from tachograph.detectors.partition import PartitionDetector
from tachograph.detectors.reference.reference import shipped
from tachograph.pipeline.clock import to_us
from tachograph.pipeline.config_log import CONFIG_TOPIC, publish
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.in_force import Content, InForce
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.silences import Asked, run_add, run_end, run_list
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.pipeline.triage.desk import judge
from tachograph.pipeline.triage.policy import Policy
from tachograph.schemas.alert import SignalGroup
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import Activation
from tests.detectors.made import frame
from tests.pipeline.triage.test_desk import arrivals, nothing

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULE = """
title: A read
id: read
level: high
logsource: {product: ai_agent}
detection: {s: {tool.name: read}, condition: s}
"""


def later(**span: float) -> Callable[[], int]:
    return lambda: to_us(NOW + timedelta(**span))


@pytest.fixture
def settings(settings_for: Callable[..., Settings]) -> Iterator[Settings]:
    """Settings for a broker of this test alone: the topic has a fixed name."""
    with MockBroker() as broker:
        yield settings_for(broker.bootstrap_servers)


def add(settings: Settings, name: str = "load-test", **options: Any) -> str:
    sink = io.StringIO()
    usual: dict[str, Any] = {"owner": "ops", "reason": "load test", "rule": "read"}
    if "until" not in options:
        usual["for_"] = "1h"
    asked = Asked(name=name, **(usual | options))
    run_add(asked, settings, sink=sink, clock=later())
    return sink.getvalue()


def listed(settings: Settings, *, past: bool = False, **span: float) -> list[dict[str, Any]]:
    sink = io.StringIO()
    run_list(settings, past=past, as_json=True, sink=sink, clock=later(**span))
    found: list[dict[str, Any]] = msgspec.json.decode(sink.getvalue())
    return found


def in_force(settings: Settings, folder: Path) -> InForce:
    path = folder / "rule.yml"
    path.write_text(RULE)
    content = Content.of(bundle_of([path], builtin=False), shipped())
    return InForce(settings, Writer(settings), content, later())


def test_what_is_said_is_listed_until_it_is_over(settings: Settings) -> None:
    said = add(settings, fields=["agent.id=load-*"])
    assert said == "load-test: from 2026-11-24T12:00:15Z until 2026-11-24T13:00:15Z.\n"
    [row] = listed(settings)
    assert (row["state"], row["owner"], row["fields"]) == ("ahead", "ops", {"agent.id": "load-*"})
    assert [row["state"] for row in listed(settings, minutes=30)] == ["holds"]
    assert listed(settings, minutes=61) == []
    assert [row["state"] for row in listed(settings, past=True, minutes=61)] == ["over"]
    sink = io.StringIO()
    run_list(settings, past=False, as_json=False, sink=sink, clock=later())
    assert "load-test: rule=read, agent.id=load-*; 2026-11-24T12:00:15Z to" in sink.getvalue()
    assert "ops: load test" in sink.getvalue()


def test_one_that_is_ended_stays_in_force_for_what_came_before(settings: Settings) -> None:
    add(settings)
    sink = io.StringIO()
    run_end("load-test", settings, sink=sink, clock=later(minutes=10))
    assert sink.getvalue() == "load-test: ends 2026-11-24T12:10:15Z.\n"
    [row] = listed(settings, past=True, minutes=30)
    assert (row["state"], row["starts"]) == ("over", "2026-11-24T12:00:15Z")
    assert row["ended_by"]
    with pytest.raises(ConfigError, match="is over at"):
        run_end("load-test", settings, sink=sink, clock=later(minutes=30))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"for_": "4"}, "write it as 30m"),
        ({"for_": "0h"}, "write it as 30m"),
        ({"for_": None}, "say how long"),
        ({"for_": "1h", "until": "2026-11-24T13:00:00Z"}, "say how long"),
        ({"until": "2027-12-24T13:00:00Z"}, "366 days"),
        ({"starts": "2026-11-24T12:00:05Z"}, "at the earliest"),
        ({"rule": "*"}, "names a rule"),
        ({"fields": ["agent.id"]}, "write field=value"),
        ({"name": "Load Test"}, "name"),
        ({"owner": ""}, "owner"),
    ],
)
def test_what_is_no_silence_is_refused_and_not_said(
    settings: Settings, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        add(settings, **options)
    assert listed(settings, past=True) == []


def test_a_name_is_given_once(settings: Settings) -> None:
    add(settings)
    with pytest.raises(ConfigError, match="was said already"):
        add(settings, reason="another")
    with pytest.raises(ConfigError, match="no silence other"):
        run_end("other", settings, sink=io.StringIO(), clock=later())


def test_one_that_cannot_be_read_silences_nothing_and_stops_nobody(
    settings: Settings, tmp_path: Path
) -> None:
    known = in_force(settings, tmp_path)
    writer = Writer(settings)
    writer.partitions(CONFIG_TOPIC)
    for content in ("", "{}", '{"name": "x", "rule": "*"}'):
        publish(writer, Activation(subject="silence", name="x", tenant="*", content_hash="",
                                   effective_from=NOW, content=content))  # fmt: skip
    writer.flush()
    add(settings)
    while not len(known.silences.silences):
        assert known.news() is None
    assert [one.name for one in known.silences.all] == ["load-test"]
    known.close()


def test_silenced_signals_make_alerts_that_are_closed_and_say_by_whom(
    settings: Settings, tmp_path: Path
) -> None:
    """From the command line to the alert: before, during and after."""
    known = in_force(settings, tmp_path)
    detector = PartitionDetector(known.plan)
    add(settings, fields=["agent.id=load-*"])
    while not len(known.silences.silences):
        assert known.news() is None
    detector.groups.silences = known.silences.silences
    known.close()
    groups: list[SignalGroup] = []
    for minute, agent in ((0, "load-1"), (30, "load-2"), (30, "other"), (90, "load-2")):
        moment = NOW + timedelta(minutes=minute)
        row = {
            "event_id": plain_id(agent, str(minute)), "event_time": moment.timestamp(),
            "observed_time": moment, "kind": "tool_call", "tool_name": "read", "agent_id": agent,
            "session_id": "s",
        }  # fmt: skip
        groups += detector.process(frame([row]), [], minute << 20).groups
    alerts = judge(arrivals(list(groups)), nothing, Policy()).alerts
    found = [
        (
            alert.entity,
            alert.first_seen - NOW,
            alert.status,
            alert.severity,
            alert.rules[0].suppressed,
        )
        for alert in sorted(alerts, key=lambda alert: (alert.entity, alert.first_seen))
    ]
    minutes, why = timedelta(minutes=1), "silenced by ops (load-test): load test"
    assert found == [
        ("load-1", 0 * minutes, "open", "high", None),
        ("load-2", 30 * minutes, "closed", "informational", why),
        ("load-2", 90 * minutes, "open", "high", None),
        ("other", 30 * minutes, "open", "high", None),
    ]
    assert alerts[1].reasons, "what it was stays readable"
