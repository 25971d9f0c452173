"""The kinds of correlations that are held against the oracle: the rule, and what it must say."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from tachograph.detectors.language.ruleset import RuleSet
from tachograph.schemas.identity import Prefix
from tests.detectors.correlation.oracle import (
    SPAN_S,
    Asked,
    Event,
    Saying,
    Step,
    absent,
    counted,
    different,
    figure,
    first_seen,
    grouped,
    mean,
    ordered,
    percentile,
    sessions,
    sliding,
    together,
    tumbling,
)
from tests.detectors.made import rules

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
Expected = Callable[[Sequence[Event], Mapping[str, str]], Iterator[Saying]]


@dataclass(frozen=True)
class Kind:
    """A rule as YAML, and the oracle of what it says of a set of events and links."""

    name: str
    text: str
    expected: Expected


def rules_of(kinds: Sequence[Kind]) -> RuleSet:
    """All of them as one set."""
    return rules(BASE + "".join(kind.text for kind in kinds))


def correlation(kind: str, of: str, condition: str, by: str = "session", more: str = "") -> str:
    asked = f"  condition: {condition}\n" if condition else ""
    return (
        f"---\ntitle: NAME\ncorrelation:\n  type: {kind}\n  rules: [{', '.join(of)}]\n"
        f"  group-by: [{by}.id]\n  timespan: {SPAN_S}s\n{asked}{more}"
    )


def _valued(stream: Sequence[Event]) -> list[Event]:
    return [event for event in stream if event.value is not None]


def _paired(stream: Sequence[Event]) -> list[Event]:
    """Each with its value and its tool as one value."""
    return [replace(event, value=f"{event.value}/{event.tool}") for event in _valued(stream)]


def _numbered(stream: Sequence[Event]) -> list[Event]:
    return [event for event in stream if event.number is not None]


def _of_paths(*paths: str) -> list[list[Step]]:
    return [[Step(rule) for rule in path] for path in paths]


def _kind(
    name: str,
    text: str,
    of: str,
    asked: Asked,
    *,
    by: str = "session",
    useful: Callable[[Sequence[Event]], list[Event]] = list,
) -> Kind:
    def expected(stream: Sequence[Event], links: Mapping[str, str]) -> Iterator[Saying]:
        yield from sliding(grouped(useful(stream), links, by, of), asked)

    return Kind(name, text.replace("NAME", name), expected)


COUNT = "event_count"
SLIDING = [
    _kind("at least", correlation(COUNT, "a", "{gte: 3}"), "a", counted(lambda n: n >= 3)),
    _kind(
        "more than, by agent",
        correlation(COUNT, "ab", "{gt: 3}", "agent"),
        "ab",
        counted(lambda n: n > 3),
        by="agent",
    ),
    _kind("at most", correlation(COUNT, "ab", "{lte: 1}"), "ab", counted(lambda n: n <= 1)),
    _kind("less than", correlation(COUNT, "a", "{lt: 2}"), "a", counted(lambda n: n < 2)),
    _kind("exactly", correlation(COUNT, "ab", "{eq: 3}"), "ab", counted(lambda n: n == 3)),
    _kind("other than", correlation(COUNT, "ab", "{neq: 1}"), "ab", counted(lambda n: n != 1)),
    _kind(
        "range",
        correlation(COUNT, "abc", "{gte: 2, lte: 3}"),
        "abc",
        counted(lambda n: 2 <= n <= 3),
    ),
    _kind(
        "values",
        correlation("value_count", "ab", "{field: target.resource, gte: 3}"),
        "ab",
        different(lambda n: n >= 3),
        useful=_valued,
    ),
    _kind(
        "pairs of values",
        correlation("value_count", "ab", "{field: [target.resource, tool.name], eq: 2}"),
        "ab",
        different(lambda n: n == 2),
        useful=_paired,
    ),
    _kind(
        "few values",
        correlation("value_count", "ab", "{field: target.resource, lt: 2}", "agent"),
        "ab",
        different(lambda n: n < 2),
        by="agent",
        useful=_valued,
    ),
    _kind(
        "sum",
        correlation("value_sum", "ab", "{field: usage.cost.usd, gte: 0.9}"),
        "ab",
        figure(sum, lambda n: n >= 0.9),  # type: ignore[arg-type]
        useful=_numbered,
    ),
    _kind(
        "small sum",
        correlation("value_sum", "ab", "{field: usage.cost.usd, gt: -1, lt: 0.3}"),
        "ab",
        figure(sum, lambda n: -1 < n < 0.3),  # type: ignore[arg-type]
        useful=_numbered,
    ),
    _kind(
        "mean",
        correlation("value_avg", "abc", "{field: usage.cost.usd, gt: 0.25}"),
        "abc",
        figure(mean, lambda n: n > 0.25),
        useful=_numbered,
    ),
    _kind(
        "exact mean",
        correlation("value_avg", "ab", "{field: usage.cost.usd, eq: 0.25}"),
        "ab",
        figure(mean, lambda n: n == 0.25),
        useful=_numbered,
    ),
    _kind(
        "median",
        correlation("value_median", "ab", "{field: usage.cost.usd, gte: 0.25}"),
        "ab",
        figure(percentile(50), lambda n: n >= 0.25),
        useful=_numbered,
    ),
    _kind(
        "percentile",
        correlation("value_percentile", "ab", "{field: usage.cost.usd, percentile: 90, gt: 0.4}"),
        "ab",
        figure(percentile(90), lambda n: n > 0.4),
        useful=_numbered,
    ),
    _kind(
        "low percentile",
        correlation(
            "value_percentile", "ab", "{field: usage.cost.usd, percentile: 30, lte: 0.25, neq: 0}"
        ),
        "ab",
        figure(percentile(30), lambda n: n <= 0.25 and n != 0),
        useful=_numbered,
    ),
    _kind(
        "all together",
        correlation("temporal", "abc", ""),
        "abc",
        together("abc", lambda seen: len(seen) == 3),
    ),
    _kind(
        "two of three together",
        correlation("temporal", "abc", "{gte: 2}", "agent"),
        "abc",
        together("abc", lambda seen: len(seen) >= 2),
        by="agent",
    ),
    _kind(
        "exactly two together",
        correlation("temporal", "abc", "{eq: 2}"),
        "abc",
        together("abc", lambda seen: len(seen) == 2),
    ),
    _kind(
        "either or",
        correlation("temporal", "abc", "a and (b or c)"),
        "abc",
        together("abc", lambda seen: "a" in seen and bool(seen & {"b", "c"})),
    ),
    _kind(
        "and not",
        correlation("temporal", "abc", "a and not (b or c)"),
        "abc",
        together("abc", lambda seen: seen == {"a"}),
    ),
    _kind("a, b", correlation("temporal_ordered", "ab", ""), "ab", ordered(_of_paths("ab"))),
    _kind(
        "a, b, c",
        correlation("temporal_ordered", "abc", "{gte: 1}"),
        "abc",
        ordered(_of_paths("abc")),
    ),
    _kind(
        "two of three in order",
        correlation("temporal_ordered", "abc", "{gte: 2}", "agent"),
        "abc",
        ordered(
            _of_paths(*("".join(p) for n in (1, 2, 3) for p in combinations("abc", n))),
            longest=lambda n: n >= 2,
        ),
        by="agent",
    ),
    _kind(
        "just two of three in order",
        correlation("temporal_ordered", "abc", "{gt: 1, lt: 3}"),
        "abc",
        ordered(
            _of_paths(*("".join(p) for n in (1, 2, 3) for p in combinations("abc", n))),
            longest=lambda n: n == 2,
        ),
    ),
    _kind(
        "either in order",
        correlation("temporal_ordered", "abc", "a and (b or c) and a"),
        "abc",
        ordered(_of_paths("aba", "aca")),
    ),
    _kind(
        "none between",
        correlation("temporal_ordered", "abc", "a and not b and c"),
        "abc",
        ordered([[Step("a"), Step("c", without="b")]]),
    ),
    _kind(
        "none before",
        correlation("temporal_ordered", "abc", "not c and a and b"),
        "abc",
        ordered([[Step("a", without="c"), Step("b")]]),
    ),
]


# --- chains ---------------------------------------------------------------------------------------

INNER = """---
title: NAME, inner
name: inner
correlation:
  type: event_count
  rules: [a]
  group-by: [session.id]
  timespan: 10s
  condition: {gte: 2}
"""
CLOSED = INNER.replace("gte: 2", "lte: 1")


def _signals_of(
    kind: Kind, stream: Sequence[Event], links: Mapping[str, str], asked: Asked
) -> list[Event]:
    """The signals of the inner rule as events: of their time and id, where their last event is."""
    (outer,) = rules_of([kind]).correlations
    (inner,) = [step.inner for step in outer.steps if step.inner is not None]
    prefix = Prefix("default", inner.meta.rule_id, inner.meta.version)
    by_id = {event.id: event for event in stream}
    found = []
    for said in sliding(grouped(stream, links, "session", "a"), asked):
        last = by_id[said.last]
        found.append(
            replace(last, id=prefix.id("place", said.group, said.bucket), tool="inner", twin=None,
                    said=last.id, partial=said.missed > 0)
        )  # fmt: skip
    return found


def _chained(
    name: str, text: str, of: str, asked: Asked, *, inner: Asked, span: int = SPAN_S
) -> Kind:
    def expected(stream: Sequence[Event], links: Mapping[str, str]) -> Iterator[Saying]:
        events = [*stream, *_signals_of(kind, stream, links, inner)]
        yield from sliding(grouped(events, links, "agent", of), asked, span)

    own = "inner_" + "".join(filter(str.isalpha, name))
    kind = Kind(name, re.sub(r"\binner\b", own, text).replace("NAME", name), expected)
    return kind


def _outer(kind: str, of: str, condition: str, span: int = SPAN_S) -> str:
    return (
        correlation(kind, "", condition, "agent")
        .replace("[]", f"[{of}]")
        .replace(f"timespan: {SPAN_S}s", f"timespan: {span}s")
    )


CHAINED = [
    _chained(
        "two bursts",
        _outer("event_count", "inner", "{gte: 2}", 20) + INNER,
        "i",
        counted(lambda n: n >= 2),
        inner=counted(lambda n: n >= 2),
        span=20,
    ),
    _chained(
        "burst, then c",
        _outer("temporal_ordered", "inner, c", "") + INNER,
        "ic",
        ordered(_of_paths("ic")),
        inner=counted(lambda n: n >= 2),
    ),
    _chained(
        "c or a burst, and no b",
        INNER + _outer("temporal", "inner, b, c", "(c or inner) and not b"),
        "ibc",
        together("ibc", lambda seen: bool(seen & {"i", "c"}) and "b" not in seen),
        inner=counted(lambda n: n >= 2),
    ),
    _chained(
        "quiet ones together",
        CLOSED + _outer("event_count", "inner", "{gte: 2}"),
        "i",
        counted(lambda n: n >= 2),
        inner=counted(lambda n: n <= 1),
    ),
]


# --- what Sigma has no words for ------------------------------------------------------------------


def _extended(name: str, text: str, more: str, expected: Expected) -> Kind:
    return Kind(name, f"{text}tacho: {{{more}}}\n".replace("NAME", name), expected)


def _in_session(name: str, text: str, of: str, asked: Asked, *, any_event: bool = False,
                useful: Callable[[Sequence[Event]], list[Event]] = list) -> Kind:  # fmt: skip
    def expected(stream: Sequence[Event], links: Mapping[str, str]) -> Iterator[Saying]:
        groups = grouped(useful(stream), links, "session", of)
        yield from sessions(groups, asked, 3, any_event=any_event)

    return _extended(name, text, "window: session, gap: 3s", expected)


def _in_bucket(name: str, text: str, of: str, asked: Asked, *, any_event: bool = False,
               useful: Callable[[Sequence[Event]], list[Event]] = list) -> Kind:  # fmt: skip
    def expected(stream: Sequence[Event], links: Mapping[str, str]) -> Iterator[Saying]:
        groups = grouped(useful(stream), links, "session", of)
        yield from tumbling(groups, asked, any_event=any_event)

    return _extended(name, text, "window: tumbling", expected)


def _new_values(
    name: str, learning: int, field: str = "target.resource",
    useful: Callable[[Sequence[Event]], list[Event]] = _valued,
) -> Kind:  # fmt: skip
    def expected(stream: Sequence[Event], links: Mapping[str, str]) -> Iterator[Saying]:
        yield from first_seen(grouped(useful(stream), links, "agent", "ab"), learning)

    text = correlation("value_count", "ab", f"{{field: {field}, gte: 1}}", "agent")
    return _extended(name, text, f"first_seen: {{learning: {learning}s}}", expected)


def _absent(stream: Sequence[Event], links: Mapping[str, str]) -> Iterator[Saying]:
    yield from absent(grouped(stream, links, "session", "ab"), "a", "b")


_TWO_OF_THREE = [p for n in (1, 2, 3) for p in map("".join, combinations("abc", n))]
EXTENDED = [
    _in_bucket("at least, tumbling", correlation(COUNT, "ab", "{gte: 3}"), "ab",
               counted(lambda n: n >= 3)),
    _in_bucket("few values, tumbling",
               correlation("value_count", "ab", "{field: target.resource, lte: 2}"), "ab",
               different(lambda n: n <= 2), useful=_valued),
    _in_bucket("median, tumbling",
               correlation("value_median", "ab", "{field: usage.cost.usd, gte: 0.25}"), "ab",
               figure(percentile(50), lambda n: n >= 0.25), useful=_numbered),
    _in_bucket("in order, tumbling", correlation("temporal_ordered", "ab", ""), "ab",
               ordered(_of_paths("ab")), any_event=True),
    _in_session("at least, session", correlation(COUNT, "ab", "{gte: 3}"), "ab",
                counted(lambda n: n >= 3)),
    _in_session("just two, session", correlation(COUNT, "abc", "{eq: 2}"), "abc",
                counted(lambda n: n == 2)),
    _in_session("sum, session",
                correlation("value_sum", "ab", "{field: usage.cost.usd, gt: 0.5}"), "ab",
                figure(sum, lambda n: n > 0.5), useful=_numbered),  # type: ignore[arg-type]
    _in_session("and not, session",
                correlation("temporal", "abc", "(a or c) and not b"), "abc",
                together("abc", lambda seen: bool(seen & {"a", "c"}) and "b" not in seen)),
    _in_session("none before, session",
                correlation("temporal_ordered", "abc", "not c and a and b"), "abc",
                ordered([[Step("a", without="c"), Step("b")]]), any_event=True),
    _extended("a and then no b", correlation("temporal_ordered", "ab", ""), "absent: b", _absent),
    _new_values("new values at once", 0),
    _new_values("new values after learning", 6),
    _new_values("new pairs of values", 6, "[target.resource, tool.name]", _paired),
]  # fmt: skip
OTHERS = [*CHAINED, *EXTENDED]
