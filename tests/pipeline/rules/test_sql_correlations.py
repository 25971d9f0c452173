"""A rule over several actions, asked of stored actions in SQL, says what the engine says."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.correlation.bank import END_US
from tachograph.detectors.language.rule import Rule, Stateless
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleSet, build, load
from tachograph.detectors.language.sample_rows import ActionShape
from tachograph.detectors.language.samples import Sample, fields_asked, samples_of
from tachograph.detectors.sql.queries import SINCE, UNTIL, sql_of
from tachograph.detectors.sql.text import NotExpressible
from tachograph.schemas.alert import Signal
from tachograph.schemas.batch import COLUMNS
from tests.pipeline.stored import Ask, Store

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SPAN_S = 10
BASE = """
title: a
name: a
logsource: {category: any}
detection: {s: {tool.name: [a, ab]}, condition: s}
---
title: b
name: b
logsource: {category: any}
detection: {s: {tool.name: [b, ab]}, condition: s}
---
title: c
name: c
logsource: {category: any}
detection: {s: {tool.name: c}, condition: s}
"""
TENANT = "correlated"
Said = tuple[datetime, tuple[str, ...]]
Asked = tuple[str, str, str, str]
# Title, type, rules, condition.
RULES: list[Asked] = [
    ("at least", "event_count", "a", "{gte: 3}"),
    ("range", "event_count", "a, b, c", "{gte: 2, lte: 3}"),
    ("at most", "event_count", "a, b", "{lte: 1}"),
    ("other than", "event_count", "a, b", "{neq: 1}"),
    ("values", "value_count", "a, b", "{field: target.resource, gte: 3}"),
    ("pairs", "value_count", "a, b", "{field: [target.resource, kind], gte: 3}"),
    ("sum", "value_sum", "a, b", "{field: usage.cost.usd, gte: 0.9}"),
    ("small sum", "value_sum", "a, b", "{field: usage.cost.usd, gt: -1, lt: 0.3}"),
    ("mean", "value_avg", "a, b, c", "{field: usage.cost.usd, gt: 0.25}"),
    ("exact mean", "value_avg", "a, b", "{field: usage.cost.usd, eq: 0.25}"),
    ("median", "value_median", "a, b", "{field: usage.cost.usd, gte: 0.25}"),
    ("high", "value_percentile", "a, b", "{field: usage.cost.usd, percentile: 90, gt: 0.4}"),
    ("low", "value_percentile", "a, b", "{field: usage.cost.usd, percentile: 30, lte: 0.25}"),
    ("text sum", "value_sum", "a, b", "{field: vendor.n, gte: 4}"),
    ("all together", "temporal", "a, b, c", ""),
    ("two together", "temporal", "a, b, c", "{eq: 2}"),
    ("either or", "temporal", "a, b, c", "a and (b or c)"),
    ("and not", "temporal", "a, b, c", "a and not (b or c)"),
    ("in order", "temporal_ordered", "a, b", ""),
    ("three in order", "temporal_ordered", "a, b, c", ""),
    ("back again", "temporal_ordered", "a, b, c", "a and (b or c) and a"),
    ("two of three", "temporal_ordered", "a, b, c", "{gte: 2}"),
    ("just two", "temporal_ordered", "a, b, c", "{gt: 1, lt: 3}"),
    ("just one", "temporal_ordered", "a, b, c", "{lt: 2}"),
    ("none between", "temporal_ordered", "a, b, c", "a and not b and c"),
    ("none before", "temporal_ordered", "a, b, c", "not c and a and b"),
]
# The same of windows that do not slide.
TUMBLING = [
    ("at least", "event_count", "a", "{gte: 3}"),
    ("few values", "value_count", "a, b", "{field: target.resource, lte: 2}"),
    ("mean", "value_avg", "a, b, c", "{field: usage.cost.usd, gt: 0.25}"),
    ("median", "value_median", "a, b", "{field: usage.cost.usd, gte: 0.25}"),
    ("and not", "temporal", "a, b, c", "a and not (b or c)"),
    ("three in order", "temporal_ordered", "a, b, c", ""),
    ("two of three", "temporal_ordered", "a, b, c", "{eq: 2}"),
    ("none before", "temporal_ordered", "a, b, c", "not c and a and b"),
]
# Pauses and lengths at which sessions end.
SESSION = "window: session, gap: 3s"
FIRST = ("value_count", "a, b", "{field: vendor.n, gte: 1}")
EXTENDED = [
    ("a and no b", "temporal_ordered", "a, b", "", "absent: b"),
    ("new at once", *FIRST, "first_seen: {learning: 0s}"),
    ("new after learning", *FIRST, "first_seen: {learning: 6s}"),
]
GROUPS = ["session.id", "agent.id", "principal.id", "session.id, target.resource"]
MORE = """
---
title: aliased
id: aliased
correlation:
  type: temporal
  rules: [a, c]
  group-by: [thing, session.id]
  aliases: {thing: {a: target.resource, c: principal.id}}
  timespan: 10s
---
title: chain
id: chain
correlation:
  type: temporal
  rules: [at least, c]
  group-by: [session.id]
  timespan: 15s
---
title: long
id: long
correlation:
  type: value_count
  rules: [a]
  group-by: [principal.id]
  timespan: 24h
  condition: {field: vendor.n, gte: 3}
---
title: long percentile
id: long percentile
correlation:
  type: value_percentile
  rules: [a]
  group-by: [agent.id]
  timespan: 12h
  condition: {field: usage.cost.usd, percentile: 99, gte: 0.3}
---
title: of no group
id: of no group
correlation:
  type: event_count
  rules: [a]
  timespan: 3s
  condition: {gte: 4}
"""


def text_of(number: int, asked: Asked, more: str = "") -> str:
    title, kind, names, condition = asked
    extension = f"tacho: {{{more}}}\n" if more else ""
    return (
        f"---\ntitle: {title}\nid: {title}\ncorrelation:\n  type: {kind}\n  rules: [{names}]\n"
        f"  group-by: [{GROUPS[number % len(GROUPS)]}]\n  timespan: {SPAN_S}s\n"
        + (f"  condition: {condition}\n" if condition else "")
        + extension
    )


def made(seed: int, count: int = 1_500) -> pl.DataFrame:
    """Actions in bursts, at whole seconds, so that many share a moment."""
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        at_s = chance.randrange(40) * 90 + chance.randrange(35)
        rows.append(
            {
                "tenant": TENANT,
                "partition_key": chance.choice(["p", "q"]),
                "event_id": f"{chance.getrandbits(128):032x}",
                "event_time": NOON + timedelta(seconds=at_s),
                "observed_time": NOON + timedelta(seconds=at_s),
                "kind": chance.choice(["tool_call", "http"]),
                "tool_name": chance.choice(["a", "b", "ab", "c", "d"]),
                "session_id": chance.choice(["s", "t", None]),
                "agent_id": chance.choice(["x", None]),
                "agent_name": chance.choice(["named", None]),
                "principal_id": chance.choice(["ann", "bob", None]),
                "target_resource": chance.choice(["ann", "bob", "r3", None]),
                "usage_cost_usd": chance.choice([None, 0.0, 0.1, 0.25, 0.3, 0.5, -0.2, 1e-9]),
                "attributes": chance.choice(
                    [None, *([{"key": "vendor.n", "value": n}] for n in ("1", "2.5", "x"))]
                ),
                "late": chance.choice([True, False, None, None]) if at_s % 7 == 0 else None,
                "far": at_s % 31 == 0,
            }
        )
    return pl.DataFrame(rows, schema={name: COLUMNS[name] for name in rows[0]})


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    texts = [text_of(number, asked) for number, asked in enumerate(RULES)]
    for number, (title, kind, names, condition) in enumerate(TUMBLING):
        asked = (f"tumbling {title}", kind, names, condition)
        texts.append(text_of(number, asked, "window: tumbling"))
        asked = (f"session {title}", kind, names, condition)
        texts.append(text_of(number, asked, SESSION))
    for number, (title, kind, names, condition, more) in enumerate(EXTENDED):
        texts.append(text_of(number, (title, kind, names, condition), more))
    return build(parse(BASE + "".join(texts) + MORE, "made.yml"))


def in_engine(frame: pl.DataFrame, rules: RuleSet) -> dict[str, set[Said]]:
    """What stands when all is judged and closed: time and group of each signal, by rule."""
    detector = WholeDetector(rules)
    found: dict[str, Signal] = {}
    for signal in [*detector.process(frame, [], 1).signals, *detector.tick(END_US, 2).signals]:
        found[signal.signal_id] = signal
    said: dict[str, set[Said]] = {rule.meta.rule_id: set() for rule in rules.rules}
    for signal in found.values():
        if signal.change != "retracted":
            said[signal.rule_id].add(_said(signal, rules))
    return said


def _said(signal: Signal, rules: RuleSet) -> Said:
    if signal.kind == "stateless":
        return signal.event_time, (signal.tenant, signal.event_ids[0])
    [rule] = [rule for rule in rules.rules if rule.meta.rule_id == signal.rule_id]
    place = () if getattr(rule, "across", False) else (signal.partition_key or "",)
    new = (signal.witness.window["new"],) if signal.kind == "first_seen" else ()
    return signal.event_time, (signal.tenant, *place, *signal.group.values(), *new)


def in_sql(
    rule: Rule, rules: RuleSet, ask: Ask, stretch: tuple[datetime, datetime], tenant: str | None
) -> list[Said]:
    """What a query says: time, tenant and group (or event) of each row."""
    query = sql_of(rule, rules, tenant)
    for parameter, moment in zip((SINCE, UNTIL), stretch, strict=True):
        query = query.replace(parameter, f"'{moment:%Y-%m-%d %H:%M:%S}'::DateTime64(6, 'UTC')")
    rows = ask(query)
    if isinstance(rule, Stateless):
        return [(row[0].replace(tzinfo=UTC), (row[2], row[1])) for row in rows]
    first = 4 if rule.across else 3
    return [(row[0].replace(tzinfo=UTC), (row[2], *row[first:-1])) for row in rows]


@pytest.fixture(scope="module")
def stored(store: Store) -> pl.DataFrame:
    """The actions in ClickHouse."""
    frame = made(5)
    store(frame)
    return frame


STRETCH = (NOON + timedelta(seconds=7), NOON + timedelta(minutes=52))


def test_every_kind_of_correlation_says_the_same(
    rules: RuleSet, stored: pl.DataFrame, ask: Ask
) -> None:
    expected = in_engine(stored, rules)
    for rule in rules.rules:
        found = in_sql(rule, rules, ask, STRETCH, TENANT)
        wanted = {one for one in expected[rule.meta.rule_id] if STRETCH[0] <= one[0] < STRETCH[1]}
        assert wanted, f"{rule.meta.title}: nothing to compare"
        assert len(found) == len(set(found)), rule.meta.title
        assert set(found) == wanted, rule.meta.title


TORN = {
    "range",
    "three in order",
    "tumbling mean",
    "session mean",
    "a and no b",
    "new after learning",
}


def test_the_stretch_cuts_no_window_and_moves_no_signal(
    rules: RuleSet, stored: pl.DataFrame, ask: Ask
) -> None:
    """What is said of two stretches next to each other is what is said of both at once."""
    middle = NOON + timedelta(seconds=1_234)
    for rule in [rule for rule in rules.rules if rule.meta.rule_id in TORN]:
        parts = [(STRETCH[0], middle), (middle, STRETCH[1])]
        torn = [one for part in parts for one in in_sql(rule, rules, ask, part, TENANT)]
        assert sorted(torn) == sorted(in_sql(rule, rules, ask, STRETCH, TENANT))


def test_shipped_rules_say_the_same_of_all_their_samples(store: Store, ask: Ask) -> None:
    # Without what is judged beside the rules.
    rules = load()
    rules = rules.only(rules.rules)
    shape = ActionShape(fields_asked(rules))
    samples = [sample for rule in rules.rules for sample in samples_of(rule, shape)]
    rows = [
        {**row, "tenant": f"shipped-{number}", "event_id": f"{number:016x}{place:016x}"}
        for number, sample in enumerate(samples)
        if isinstance(sample, Sample)
        for place, row in enumerate(sample.rows)
    ]
    frame = shape.frame([{k: v for k, v in row.items() if k in COLUMNS} for row in rows])
    store(frame)
    expected = in_engine(frame, rules)
    day = NOON - timedelta(days=999), NOON + timedelta(days=999)
    asked = 0
    reasons: set[str] = set()
    for rule in rules.rules:
        try:
            found = in_sql(rule, rules, ask, day, None)
        except NotExpressible as error:
            reasons.add(str(error))
            continue
        mine = {one for one in found if one[1][0].startswith("shipped-")}
        assert mine == expected[rule.meta.rule_id], rule.meta.title
        asked += 1
    assert asked > len(rules.rules) / 2
    known = ("which no stored action has", "the order of correlations")
    assert [reason for reason in reasons if not any(one in reason for one in known)] == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (text_of(0, ("x", "temporal_ordered", "at least, c", "")), "the order of correlations"),
    ],
)
def test_what_sql_cannot_say_is_an_error_that_says_so(text: str, reason: str) -> None:
    rules = build(parse(BASE + text_of(0, RULES[0]) + text, "made.yml"))
    [rule] = [rule for rule in rules.rules if rule.meta.rule_id == "x"]
    with pytest.raises(NotExpressible, match=reason):
        sql_of(rule, rules)
