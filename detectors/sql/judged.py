"""What a correlation asks of the window of each of its events, in SQL.

Events come as rows with `at_us`, `event_id`, the columns of the group, `value_…` and `step_…`. What
is added are window functions over them: as many passes as there are steps, never more.
"""

from collections.abc import Callable
from typing import NamedTuple

from tachograph.detectors.correlation.decimals import PLACES
from tachograph.detectors.language.rule import (
    MICROS,
    AllOf,
    AnyOf,
    Bound,
    Correlation,
    Count,
    Expression,
    Figure,
    Link,
    Not,
    Op,
    Ordered,
    Seen,
    Together,
    Values,
)
from tachograph.detectors.sql.figures import edge
from tachograph.detectors.sql.text import NotExpressible, all_of, any_of

# Adds a part to the query: what it is, its SELECT; gives its name.
Add = Callable[[str, str], str]
_OPS: dict[Op, str] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "=", "neq": "!="}
_ORDER = "ORDER BY at_us, event_id, origin"
_BEFORE = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
_SO_FAR = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"


class Judged(NamedTuple):
    """A part with all events, the condition that holds at those that satisfy the rule, and the
    value compared.
    """

    part: str
    holds: str
    value: str


def judged(rule: Correlation, events: str, by: str, add: Add) -> Judged:
    """Ask the events. Raises NotExpressible."""
    flow = _Flow(rule, by, add)
    match rule.asks:
        case Count(bounds):
            part = flow.summed(events, {"counted": "sign"})
            return Judged(part, _within(bounds, "counted"), "counted")
        case Values(fields, bounds):
            part = flow.different([f"value_{place}" for place in range(len(fields))], events)
            return Judged(part, _within(bounds, "counted"), "counted")
        case Figure():
            return _figure(rule.asks, flow, events)
        case Together(bounds, expression):
            steps = {f"seen_{n}": f"sign * step_{n}" for n in range(len(rule.steps))}
            part = flow.summed(events, steps)
            counted = " + ".join(f"({name} > 0)" for name in steps)
            holds = _within(bounds, f"({counted})") if expression is None else _said(expression)
            return Judged(part, holds, counted)
        case Ordered() if any(step.inner is not None for step in rule.steps):
            raise NotExpressible(
                "the order of correlations: in one moment it is that of ids which no query knows"
            )
        case Ordered(paths, bounds):
            chains = _Chains(rule, by, add)
            return chains.paths(events, paths) if paths else chains.longest(events, bounds)
    raise NotExpressible(f"a correlation that asks {type(rule.asks).__name__}")


class _Flow:
    """Events as they come into the windows of a group, and as they leave."""

    def __init__(self, rule: Correlation, by: str, add: Add) -> None:
        self._span_us, self._by, self._add = rule.timespan_us, by, add

    def summed(self, events: str, added: dict[str, str]) -> str:
        """The events with sums over the window of each; `sign` is 1 for what comes, -1 for what
        leaves.
        """
        return self._windows(self._both(events, "1", "1"), added)

    def different(self, values: list[str], events: str) -> str:
        """The events with `counted`: how many different values are in the window of each. A value
        comes with its first event in a while, and leaves with its last.
        """
        alike = f"PARTITION BY {', '.join([self._by, *values])} {_ORDER}"
        after = "ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING"
        around = self._add(
            "around",
            f"SELECT *, max(at_us) OVER ({alike} {_BEFORE}) AS before_us,"  # noqa: S608 - made here
            f" min(at_us) OVER ({alike} {after}) AS after_us FROM {events}",
        )
        valued = self._add(
            "valued",
            f"SELECT *, at_us - before_us >= {self._span_us} AS first,"  # noqa: S608 - made here
            f" after_us = 0 OR after_us - at_us >= {self._span_us} AS last FROM {around}",
        )
        return self._windows(self._both(valued, "first", "last"), {"counted": "sign"})

    def _both(self, part: str, comes: str, leaves: str) -> str:
        gone = f"* REPLACE (at_us + {self._span_us} AS at_us)"
        return self._add(
            "flow",
            f"SELECT *, true AS came, toInt64({comes}) AS sign FROM {part}"  # noqa: S608 - made here
            f" UNION ALL SELECT {gone}, false, -toInt64({leaves}) FROM {part}",
        )

    def _windows(self, flow: str, added: dict[str, str]) -> str:
        columns = ", ".join(f"sum({what}) OVER w AS {name}" for name, what in added.items())
        frame = "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
        over = (
            f"SELECT *, {columns} FROM {flow}"  # noqa: S608 - made here
            f" WINDOW w AS (PARTITION BY {self._by} ORDER BY at_us {frame})"
        )
        return self._add("windows", f"SELECT * FROM ({over}) WHERE came")  # noqa: S608

    def numbers(self, events: str) -> str:
        """The events with `found`: the numbers in the window of each. Frames go by whole seconds,
        as a timespan does; what is a part of one too old or too new is left out.
        """
        inside = f"one.1 > at_us - {self._span_us} AND one.1 <= at_us"
        held = "groupArray((at_us, value_0)) OVER w"
        frame = f"RANGE BETWEEN {self._span_us // MICROS} PRECEDING AND CURRENT ROW"
        return self._add(
            "windows",
            f"SELECT *, arrayMap(one -> one.2, arrayFilter(one -> {inside}, {held})) AS found"  # noqa: S608
            f" FROM {events} WINDOW w AS (PARTITION BY {self._by}"
            f" ORDER BY intDiv(at_us, {MICROS}) {frame})",
        )

    def percentile(self, events: str, percent: int) -> str:
        """The events with `figure`: between the two numbers around its rank by distance, in
        hundredths of billionths.
        """
        rank = f"(length(found) - 1) * {percent}"
        low = f"sorted[intDiv({rank}, 100) + 1]"
        high = f"sorted[least(intDiv({rank}, 100) + 2, length(found))]"
        share = f"({rank}) % 100"
        figure = f"toInt256({low}) * 100 + ({share}) * (toInt256({high}) - toInt256({low}))"
        part = self.numbers(events)
        select = f"SELECT *, arraySort(found) AS sorted, {figure} AS figure FROM {part}"  # noqa: S608
        return self._add("figures", select)


def _within(bounds: list[Bound], value: str) -> str:
    return all_of(f"{value} {_OPS[bound.op]} {bound.number!r}" for bound in bounds)


def _said(expression: Expression) -> str:
    match expression:
        case Seen(step):
            return f"seen_{step} > 0"
        case AllOf(parts):
            return all_of(map(_said, parts))
        case AnyOf(parts):
            return any_of(map(_said, parts))
        case Not(part):
            return f"NOT ({_said(part)})"


def _figure(asks: Figure, flow: _Flow, events: str) -> Judged:
    if asks.fold == "percentile":
        part = flow.percentile(events, asks.percent)
        edges = [(bound.op, 100 * edge(bound.number)) for bound in asks.bounds]
        return Judged(part, _compared("figure", edges), f"toFloat64(figure) / {100 * PLACES}")
    part = flow.summed(events, {"total": "sign * value_0", "counted": "sign"})
    edges = [(bound.op, edge(bound.number)) for bound in asks.bounds]
    if asks.fold == "sum":
        return Judged(part, _compared("total", edges), f"toFloat64(total) / {PLACES}")
    holds = all_of(f"total {_OPS[op]} toInt128('{number}') * counted" for op, number in edges)
    return Judged(part, holds, f"toFloat64(total) / {PLACES} / counted")


def _compared(value: str, edges: list[tuple[Op, int]]) -> str:
    return all_of(f"{value} {_OPS[op]} toInt256('{number}')" for op, number in edges)


class _Chains:
    """Events one after the other: for each event the latest start of a chain that ends with it."""

    def __init__(self, rule: Correlation, by: str, add: Add) -> None:
        self._rule, self._by, self._add = rule, by, add

    def paths(self, events: str, paths: tuple[tuple[Link, ...], ...]) -> Judged:
        """Any of the paths, whole, within the timespan."""
        part = events
        starts = []
        for number, path in enumerate(paths):
            part, start = self._path(part, path, number)
            starts.append(start)
        holds = any_of(self._timely(start) for start in starts)
        return Judged(part, holds, str(len(paths[0])))

    def _path(self, part: str, path: tuple[Link, ...], number: int) -> tuple[str, str]:
        start = f"start_{number}_0"
        part = self._first(part, path[0], start)
        for place, link in enumerate(path[1:], 1):
            before, start = start, f"start_{number}_{place}"
            part = self._next(part, link, before, start)
        return part, start

    def _first(self, part: str, link: Link, start: str) -> str:
        """A chain begins with an event of its first step; others may not stand before it."""
        free = "true"
        if link.without:
            last = f"maxIf(at_us, {self._any(link.without)}) OVER {self._window(_BEFORE)}"
            free = f"ifNull({last}, 0) + {self._rule.timespan_us} <= at_us"
        begins = f"if(step_{link.step} AND {free}, at_us, 0)"
        return self._add("chains", f"SELECT *, {begins} AS {start} FROM {part}")  # noqa: S608

    def _next(self, part: str, link: Link, before: str, start: str) -> str:
        """A chain goes on with an event of the next step; others may not stand between."""
        if not link.without:
            latest = f"max({before}) OVER {self._window(_BEFORE)}"
            goes_on = f"if(step_{link.step}, {latest}, 0) AS {start}"
            return self._add("chains", f"SELECT *, {goes_on} FROM {part}")  # noqa: S608
        # The events between two that must not stand there: a chain lives on as long as their number
        # does, and what lives is known of the event before.
        run, alive = f"run_{start}", f"alive_{start}"
        number = f"countIf({self._any(link.without)}) OVER {self._window(_SO_FAR)}"
        part = self._add("runs", f"SELECT *, {number} AS {run} FROM {part}")  # noqa: S608
        latest = f"max({before}) OVER {self._window(_SO_FAR, run)}"
        part = self._add("alive", f"SELECT *, {latest} AS {alive} FROM {part}")  # noqa: S608
        previous = f"lagInFrame({alive}, 1, 0) OVER {self._window('')}"
        goes_on = f"if(step_{link.step}, {previous}, 0) AS {start}"
        return self._add("chains", f"SELECT *, {goes_on} FROM {part}")  # noqa: S608

    def longest(self, events: str, bounds: list[Bound]) -> Judged:
        """So many of the steps, in their order; the longest chain that ends with the event."""
        steps = range(len(self._rule.steps))
        part = self._add(
            "chains",
            "SELECT *, "  # noqa: S608 - names of ours
            + ", ".join(f"if(step_{n}, at_us, 0) AS start_1_{n}" for n in steps)
            + f" FROM {events}",
        )
        for length in range(2, len(steps) + 1):
            part = self._longer(part, length, steps)
        holds_of = {
            length: any_of(self._timely(f"start_{length}_{n}") for n in steps[length - 1 :])
            for length in range(1, len(steps) + 1)
        }
        choices = ", ".join(f"{holds}, {length}" for length, holds in reversed(holds_of.items()))
        longest = f"multiIf({choices}, 0)"
        part = self._add("longest", f"SELECT *, {longest} AS length FROM {part}")  # noqa: S608
        return Judged(part, f"length > 0 AND {_within(bounds, 'length')}", "length")

    def _longer(self, part: str, length: int, steps: range) -> str:
        """Chains of one step more, ending with each step that can be so far on."""
        columns = []
        for last in steps[length - 1 :]:
            before = [f"start_{length - 1}_{n}" for n in range(length - 2, last)]
            latest = (
                f"max(greatest({', '.join(before)}))" if len(before) > 1 else f"max({before[0]})"
            )
            over = f"{latest} OVER {self._window(_BEFORE)}"
            columns.append(f"if(step_{last}, {over}, 0) AS start_{length}_{last}")
        return self._add("chains", f"SELECT *, {', '.join(columns)} FROM {part}")  # noqa: S608

    def _timely(self, start: str) -> str:
        """The chain began within the timespan."""
        return f"({start} > 0 AND {start} + {self._rule.timespan_us} > at_us)"

    def _window(self, frame: str, *more: str) -> str:
        return f"(PARTITION BY {', '.join([self._by, *more])} {_ORDER} {frame})"

    def _any(self, steps: tuple[int, ...]) -> str:
        return any_of(f"step_{step}" for step in steps)
