"""A backtest finds what judging everything at once would find, whatever the pages are."""

import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleSet, build
from tachograph.pipeline.backtest.actions import StoredActions
from tachograph.pipeline.backtest.command import Question, run_backtest
from tachograph.pipeline.backtest.run import Stretch, backtest
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.rules.loading import Sources
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.schemas.alert import Signal
from tachograph.schemas.batch import COLUMNS
from tests.pipeline.stored import Store

START = datetime(2026, 11, 1, 0, 0, tzinfo=UTC)
HOURS = 100
STRETCH = Stretch(START + timedelta(hours=20, minutes=7), START + timedelta(hours=80, minutes=3))
RULES = """
title: deletes
id: single
name: deletes
logsource: {category: any}
detection:
  s: {tool.name: [%s]}
  condition: s
tacho: {standalone: true}
---
title: many deletes
id: many
correlation:
  type: event_count
  rules: [deletes]
  group-by: [session.id]
  timespan: %s
  condition: {gte: %d}
---
title: other
id: other
name: other
logsource: {category: any}
detection:
  s: {tool.name: send}
  condition: s
---
title: one then the other
id: chain
correlation:
  type: temporal_ordered
  rules: [deletes, other]
  group-by: [session.id]
  timespan: 30m
---
title: by principal, wherever
id: across
correlation:
  type: event_count
  rules: [deletes]
  group-by: [principal.id]
  timespan: 20m
  condition: {gte: 3}
"""
OLD = RULES % ("delete, drop", "1h", 3)
NEW = RULES % ("delete, wipe", "2h", 4)


def rules(text: str) -> RuleSet:
    return build(parse(text, "made.yml"))


def made(seed: int, tenant: str) -> pl.DataFrame:
    """Actions over some days, in bursts, some of them late; in no order."""
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(900):
        burst = chance.randrange(60) * HOURS * 60
        at_s = burst + chance.randrange(5_400)
        rows.append(
            {
                "tenant": tenant,
                "partition_key": chance.choice(["p", "q"]),
                "event_id": f"{chance.getrandbits(128):032x}",
                "event_time": START + timedelta(seconds=at_s),
                "observed_time": START + timedelta(seconds=at_s),
                "session_id": chance.choice(["a", "b", None]),
                "agent_id": chance.choice(["x", None]),
                "principal_id": chance.choice(["ann", "bob"]),
                "tool_name": chance.choice(["delete", "drop", "wipe", "send", "read", None]),
                "kind": "tool_call",
                "late": chance.random() < 0.05,
                "content_labels": chance.choice([None, ["pii"]]),
                "attributes": [{"key": "n", "value": str(number)}],
            }
        )
    return pl.DataFrame(rows, schema={name: COLUMNS[name] for name in rows[0]})


def judged(frame: pl.DataFrame, found: RuleSet) -> list[Signal]:
    """What stands when all is judged at once."""
    signals = WholeDetector(found).process(frame, [], 1).signals
    newest = {signal.signal_id: signal for signal in signals}
    return [signal for signal in newest.values() if signal.change != "retracted"]


def about(signal: Signal, span_s: int) -> tuple[object, ...]:
    if signal.kind == "stateless":
        return (signal.rule_id, signal.event_ids[0])
    bucket = int(signal.event_time.timestamp()) // span_s
    place = [] if signal.rule_id == "across" else [signal.partition_key]
    return (signal.rule_id, *place, *signal.group.values(), bucket)


@pytest.fixture
def connection(clickhouse: ClickHouseSettings) -> Iterator[Connection]:
    with Connection(clickhouse) as found:
        yield found


@pytest.fixture
def stored(store: Store, tenant: str, connection: Connection) -> Iterator[pl.DataFrame]:
    """Actions and the signals of the old rules in ClickHouse."""
    frame = made(7, tenant)
    store(frame)
    store(judged(frame, rules(OLD)))
    yield frame
    for table in ("actions_data", "signals_data"):
        connection.command(f"TRUNCATE TABLE tacho.{table}")


@pytest.mark.parametrize("page_rows", [37, 50_000])
def test_it_finds_what_judging_at_once_finds(
    page_rows: int, stored: pl.DataFrame, connection: Connection
) -> None:
    reached: list[datetime] = []
    outcome = backtest(
        rules(NEW), STRETCH, connection, lambda upto, _: reached.append(upto), page_rows=page_rows
    )
    expected: Counter[str] = Counter()
    spans = {"many": 7_200, "chain": 1_800, "across": 1_200}

    def subjects(text: str) -> dict[tuple[object, ...], int]:
        inside = [
            signal
            for signal in judged(stored, rules(text))
            if STRETCH.since <= signal.event_time < STRETCH.until
        ]
        return Counter(about(signal, spans.get(signal.rule_id, 0)) for signal in inside)

    now, before = subjects(NEW), subjects(OLD)
    for subject, count in now.items():
        expected["unchanged" if subject in before else "new"] += count
    expected["gone"] = sum(count for subject, count in before.items() if subject not in now)
    days = outcome.comparison.days
    found = {name: sum(getattr(one, name) for one in days) for name in expected}
    assert found == dict(expected)
    assert min(expected.values()) > 5, "a test of something"
    assert {one.rule_id for one in days} == {"single", "many", "chain", "across"}
    assert reached == sorted(reached)


def test_the_same_rules_change_nothing(stored: pl.DataFrame, connection: Connection) -> None:
    outcome = backtest(rules(OLD), STRETCH, connection, lambda *_: None)
    assert {(one.new, one.gone) for one in outcome.comparison.days} == {(0, 0)}
    assert sum(one.unchanged for one in outcome.comparison.days) > 50


def test_pages_are_in_the_order_of_time_and_hold_every_action_once(
    stored: pl.DataFrame, connection: Connection
) -> None:
    columns = [name for name in stored.columns if name != "attributes"]
    reader = StoredActions(connection, [*columns, "attributes"], page_rows=53)
    pages = list(reader.pages(START, START + timedelta(hours=2 * HOURS)))
    whole = pl.concat([frame for frame, _ in pages])
    assert max(frame.height for frame, _ in pages) <= 53
    assert whole.select(stored.columns).equals(stored.sort("event_time", "event_id"))
    uptos = [upto for _, upto in pages]
    assert uptos == sorted(uptos)
    for (frame, _), (_, before) in zip(pages[1:], pages, strict=False):
        assert frame.is_empty() or frame["event_time"][0] >= before


def test_as_it_is_typed(
    stored: pl.DataFrame,
    clickhouse: ClickHouseSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse.url)
    (tmp_path / "rules.yml").write_text(NEW)
    question = Question(
        rules=[str(tmp_path / "rules.yml")], sources=Sources(), since="100h", until="10h"
    )
    now = START + timedelta(hours=HOURS)
    told, text = io.StringIO(), io.StringIO()
    run_backtest(question, as_json=True, now=now, sink=told)
    run_backtest(question, as_json=False, now=now, sink=text)
    answer = json.loads(told.getvalue())
    assert {rule["rule_id"] for rule in answer["rules"]} == {"single", "many", "chain", "across"}
    for rule in answer["rules"]:
        for name in ("new", "gone", "unchanged"):
            assert rule[name] == sum(day[name] for day in rule["days"])
    assert answer["examples"]
    assert "one then the other" in text.getvalue()
    backwards = Question(rules=question.rules, sources=Sources(), since="1h", until="2h")
    with pytest.raises(ConfigError, match="--since lies after --until"):
        run_backtest(backwards, as_json=True, now=now, sink=told)
