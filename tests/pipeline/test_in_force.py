"""What is activated is compiled first, reaches everybody whole, and holds from its time on."""

import io
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tachograph.detectors.language.bundle import Bundle, bundle_of
from tachograph.detectors.plan import Plan
from tachograph.detectors.reference.reference import Reference, of_tables, shipped
from tachograph.pipeline import config_log
from tachograph.pipeline.clock import to_us
from tachograph.pipeline.config_log import CONFIG_TOPIC, ConfigLog, content_hash, publish
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.in_force import (
    BEGINNING,
    BY_START,
    NAME,
    USUALLY,
    Content,
    InForce,
    activate,
    declared_anew,
    timeline_of,
)
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.rules.activating import Asked, run_activate, run_active
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas.records import Activation
from tests.waiting import WAIT_S, eventually

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULE = """
title: A tool called {tool}
id: rule-{tool}
level: low
logsource: {{product: ai_agent}}
detection: {{s: {{tool.name: {tool}}}, condition: s}}
"""


def clock() -> int:
    return to_us(NOW)


@pytest.fixture
def settings(settings_for: Callable[..., Settings]) -> Iterator[Settings]:
    """Settings for a broker of this test alone: the topic has a fixed name."""
    with MockBroker() as broker:
        yield settings_for(broker.bootstrap_servers)


def rule_file(folder: Path, tool: str, more: str = "") -> Path:
    path = folder / f"{tool}.yml"
    path.write_text(RULE.format(tool=tool) + more)
    return path


def said(settings: Settings, **options: Any) -> str:
    sink = io.StringIO()
    run_activate(Asked(**options), settings, sink=sink, clock=clock)
    return sink.getvalue()


def active(settings: Settings) -> list[dict[str, Any]]:
    sink = io.StringIO()
    run_active(settings, as_json=True, sink=sink, clock=clock)
    found: list[dict[str, Any]] = msgspec.json.decode(sink.getvalue())
    return found


def test_a_bundle_comes_back_whole_and_compiles_to_the_same_rules(tmp_path: Path) -> None:
    rule_file(tmp_path, "one")
    bundle = bundle_of([tmp_path], builtin=False)
    assert Bundle.decode(bundle.encode()) == bundle
    assert [rule.meta.rule_id for rule in bundle.compile().rules] == ["rule-one"]
    elsewhere = tmp_path / "elsewhere" / tmp_path.name
    elsewhere.mkdir(parents=True)
    rule_file(elsewhere, "one")
    assert bundle_of([elsewhere], builtin=False).version == bundle.version


@pytest.mark.parametrize("cut", [0, 5, -1])
def test_a_bundle_that_is_none_is_refused(tmp_path: Path, cut: int) -> None:
    packed = bundle_of([rule_file(tmp_path, "one")], builtin=False).encode()
    with pytest.raises(ValueError, match="bundle"):
        Bundle.decode(packed[:cut])


def test_a_bundle_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = bundle_of([], builtin=True).encode()
    monkeypatch.setattr("tachograph.detectors.language.bundle.MAX_BYTES", 1_000)
    with pytest.raises(ValueError, match="bundle"):
        Bundle.decode(packed)


def test_what_is_activated_reaches_a_reader_in_pieces_and_whole(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_log, "CHUNK_BYTES", 100)
    assert "in force from 2026-11-24T12:00:15Z on (1 rules)" in said(
        settings, paths=[rule_file(tmp_path, "one")], builtin=False
    )
    with ConfigLog(settings, "test") as config:
        activation = next(
            one.activation for one in config.whole() if one.activation.subject == "rules"
        )
        content = config.content(activation.content_hash)
        assert len(content or b"") > 100
        assert [r.file for r in Bundle.decode(content or b"").rules] == ["one.yml"]


def test_a_content_with_a_piece_missing_is_not_there(settings: Settings, tmp_path: Path) -> None:
    content = Content.of(bundle_of([rule_file(tmp_path, "one")], builtin=False), shipped())
    writer = Writer(settings)
    writer.partitions(CONFIG_TOPIC)
    activate(writer, content, ["rules"], from_=NOW, by="somebody")
    writer.flush()
    with ConfigLog(settings, "test") as config:
        config.whole()
        name = content.hashes()["rules"]
        assert config.content(name) == content.rules
        config._pieces[name][0] = msgspec.structs.replace(config._pieces[name][0], data=b"other")
        assert config.content(name) is None, "another content under its hash"
        del config._pieces[name][0]
        assert config.content(name) is None


def test_a_set_with_an_error_is_refused_with_all_its_problems_and_nothing_is_published(
    settings: Settings, tmp_path: Path
) -> None:
    said(settings, paths=[rule_file(tmp_path, "one")], builtin=False)
    before = active(settings)
    bad = tmp_path / "bad.yml"
    bad.write_text("title: x\nlogsource: {product: ai_agent}\ndetection: {s: {a|odd: 1}}\n")
    with pytest.raises(ConfigError, match=r"(?s)what is in force stays.*bad\.yml") as error:
        said(settings, paths=[bad], builtin=False)
    assert "problem(s) in rules" in str(error.value)
    assert active(settings) == before


def test_an_activation_is_said_ten_seconds_ahead(settings: Settings, tmp_path: Path) -> None:
    rules = [rule_file(tmp_path, "one")]
    with pytest.raises(ConfigError, match="2026-11-24T12:00:10"):
        said(settings, paths=rules, builtin=False, at="2026-11-24T12:00:09Z")
    with pytest.raises(ConfigError, match="write it as"):
        said(settings, paths=rules, builtin=False, at="tomorrow")
    assert "2026-11-24T12:00:10Z" in said(
        settings, paths=rules, builtin=False, at="2026-11-24T13:00:10+01:00"
    )


def test_the_timeline_says_what_holds_when(settings: Settings, tmp_path: Path) -> None:
    first = Content.of(bundle_of([rule_file(tmp_path, "one")], builtin=False), shipped())
    writer = Writer(settings)
    writer.partitions(CONFIG_TOPIC)
    activate(writer, first, ["rules", "reference"], from_=BEGINNING, by=BY_START)
    writer.flush()
    said(settings, paths=[rule_file(tmp_path, "two")], builtin=False, at="2026-11-24T13:00:00Z")
    assert "Nothing to do" in said(settings, paths=[tmp_path / "one.yml"], builtin=False)
    with ConfigLog(settings, "test") as config:
        log = config.whole()
    timeline = timeline_of(log)
    assert timeline is not None
    assert len(timeline.periods) == 2
    assert timeline.at(to_us(NOW)).rules == first.hashes()["rules"]
    assert timeline.at(to_us(NOW + timedelta(hours=1))).rules != first.hashes()["rules"]
    shown = active(settings)
    assert [(row["from"], row["ahead"], row["in_force"]) for row in shown] == [
        ("the beginning", False, True),
        ("the beginning", False, True),
        ("2026-11-24T13:00:00Z", True, False),
    ]


def test_a_start_says_only_what_the_start_before_did_not(tmp_path: Path) -> None:
    one = Content.of(bundle_of([rule_file(tmp_path, "one")], builtin=False), shipped())
    known = of_tables({"agents": [{"id": "a", "owner": "ops"}]})
    other = Content.of(bundle_of([tmp_path / "one.yml"], builtin=False), known)
    assert declared_anew([], one) == ["rules", "reference"]
    assert Reference.decode(other.reference).version == known.version
    assert one.hashes()["rules"] == other.hashes()["rules"]


def content_of(path: Path) -> Content:
    return Content.of(bundle_of([path], builtin=False), shipped())


def in_force(settings: Settings, content: Content) -> InForce:
    return InForce(settings, Writer(settings), content, clock)


def rule_ids(found: InForce) -> list[list[str]]:
    """Rules by period."""
    return [[rule.meta.rule_id for rule in rules.rules] for rules in found.plan.sets]


def until_news(found: InForce) -> Plan:
    end = time.monotonic() + WAIT_S
    while (plan := found.news()) is None:
        assert time.monotonic() < end, "no news"
        time.sleep(0.05)
    return plan


def test_what_a_process_is_started_with_holds_for_all_until_one_is_started_otherwise(
    settings: Settings, tmp_path: Path
) -> None:
    one, two = (content_of(rule_file(tmp_path, tool)) for tool in ("one", "two"))
    first = in_force(settings, one)
    assert rule_ids(first) == [["rule-one"]]
    assert rule_ids(in_force(settings, one)) == [["rule-one"]]
    assert len(active(settings)) == 2, "the same start says nothing again"
    other = in_force(settings, two)
    assert rule_ids(other) == [["rule-one"], ["rule-two"]]
    assert other.plan.timeline.periods[1].from_us == to_us(NOW + USUALLY)
    assert until_news(first).timeline == other.plan.timeline


def test_what_a_person_activated_is_not_undone_by_a_restart(
    settings: Settings, tmp_path: Path
) -> None:
    one = content_of(rule_file(tmp_path, "one"))
    in_force(settings, one)
    said(settings, paths=[rule_file(tmp_path, "two")], builtin=False)
    assert rule_ids(in_force(settings, one)) == [["rule-one"], ["rule-two"]]


def test_an_activation_that_cannot_be_used_leaves_what_was_in_force(
    settings: Settings, tmp_path: Path
) -> None:
    one = content_of(rule_file(tmp_path, "one"))
    running = in_force(settings, one)
    bad = tmp_path / "bad.yml"
    bad.write_text("title: x\nlogsource: {product: ai_agent}\ndetection: {s: {a|odd: 1}}\n")
    writer = Writer(settings)
    for packed in (bundle_of([bad], builtin=False).encode(), b"no bundle", None):
        content = Content(packed or b"of which nothing is sent", one.reference)
        name = content_hash(content.rules)
        activation = Activation(
            subject="rules", name=NAME, tenant="*", content_hash=name, effective_from=NOW
        )
        publish(writer, activation, packed)
    writer.flush()

    def all_refused() -> bool:
        assert running.news() is None
        return len(running.refused) >= 3

    eventually(all_refused, "each of the three is refused")
    assert len(running.refused) == 3
    assert rule_ids(running) == [["rule-one"]]
    assert rule_ids(in_force(settings, one)) == [["rule-one"]]


def test_sets_that_were_over_long_ago_are_let_go(settings: Settings, tmp_path: Path) -> None:
    running = in_force(settings, content_of(rule_file(tmp_path, "one")))
    said(settings, paths=[rule_file(tmp_path, "two")], builtin=False)
    until_news(running)
    change_us = to_us(NOW + USUALLY)
    assert running.without_past(change_us - 1) is None
    plan = running.without_past(change_us)
    assert plan is not None
    assert rule_ids(running) == [["rule-two"]]
