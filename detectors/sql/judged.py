"""What a correlation asks of the window of each of its events, in SQL.

Events come as rows with `at_us`, `event_id`, the columns of the group, `value_…` and `step_…`. What
is added are window functions over them.
"""

from typing import NamedTuple

from tachograph.detectors.correlation.decimals import PLACES
from tachograph.detectors.language.rule import (
    Absent,
    Correlation,
    Count,
    Figure,
    FirstSeen,
    Ordered,
    Together,
    Values,
)
from tachograph.detectors.sql.bounds import OPS, compared, expressed, within
from tachograph.detectors.sql.chains import Chains
from tachograph.detectors.sql.figures import edge
from tachograph.detectors.sql.text import NotExpressible, all_of
from tachograph.detectors.sql.windows import (
    AFTER,
    BEFORE,
    ORDER,
    SO_FAR,
    Add,
    Flow,
    Whole,
    Windows,
    sessions,
)


class Judged(NamedTuple):
    """A part with all events, the condition that holds at those that satisfy the rule, the value
    compared, and what is said once of each group (None: every such event is).
    """

    part: str
    holds: str
    value: str
    each: str | None


def judged(rule: Correlation, events: str, by: str, add: Add) -> Judged:
    """Ask the events. Raises NotExpressible."""
    asks = rule.asks
    if rule.window == "session":
        events = sessions(rule, events, by, add)
    match asks:
        case Ordered() | Absent() if any(step.inner is not None for step in rule.steps):
            raise NotExpressible(
                "the order of correlations: in one moment it is that of ids which no query knows"
            )
        case Ordered(paths, bounds):
            chains = Chains(rule, by, add)
            found = chains.paths(events, paths) if paths else chains.longest(events, bounds)
            return Judged(*found, chains.each)
        case Absent():
            return _absent(rule, events, by, add)
        case FirstSeen():
            return _first_seen(rule, asks, events, by, add)
    windows: Windows = (Flow if rule.window == "sliding" else Whole)(rule, by, add)
    match asks:
        case Count(bounds):
            part = windows.summed(events, {"counted": "1"})
            return Judged(part, within(bounds, "counted"), "counted", windows.each)
        case Values(fields, bounds):
            part = windows.different(events, [f"value_{place}" for place in range(len(fields))])
            return Judged(part, within(bounds, "counted"), "counted", windows.each)
        case Together(bounds, expression):
            steps = {f"seen_{n}": f"step_{n}" for n in range(len(rule.steps))}
            part = windows.summed(events, steps)
            counted = " + ".join(f"({name} > 0)" for name in steps)
            holds = within(bounds, f"({counted})") if expression is None else expressed(expression)
            return Judged(part, holds, counted, windows.each)
        case Figure():
            return _figure(asks, windows, events, add)
    raise AssertionError(asks)


def _figure(asks: Figure, windows: Windows, events: str, add: Add) -> Judged:
    if asks.fold == "percentile":
        part = add("figures", _percentile(windows.numbers(events), asks.percent))
        edges = [(bound.op, 100 * edge(bound.number)) for bound in asks.bounds]
        value = f"toFloat64(figure) / {100 * PLACES}"
        return Judged(part, compared("figure", edges), value, windows.each)
    part = windows.summed(events, {"total": "value_0", "counted": "1"})
    edges = [(bound.op, edge(bound.number)) for bound in asks.bounds]
    if asks.fold == "sum":
        value = f"toFloat64(total) / {PLACES}"
        return Judged(part, compared("total", edges), value, windows.each)
    holds = all_of(f"total {OPS[op]} toInt128('{number}') * counted" for op, number in edges)
    return Judged(part, holds, f"toFloat64(total) / {PLACES} / counted", windows.each)


def _percentile(part: str, percent: int) -> str:
    """Between the two numbers around its rank by distance, in hundredths of billionths."""
    rank = f"(length(found) - 1) * {percent}"
    low = f"sorted[intDiv({rank}, 100) + 1]"
    high = f"sorted[least(intDiv({rank}, 100) + 2, length(found))]"
    share = f"({rank}) % 100"
    figure = f"toInt256({low}) * 100 + ({share}) * (toInt256({high}) - toInt256({low}))"
    return f"SELECT *, arraySort(found) AS sorted, {figure} AS figure FROM {part}"  # noqa: S608


def _absent(rule: Correlation, events: str, by: str, add: Add) -> Judged:
    """Events of the first step that, within the timespan, none of the second follows."""
    following = f"minIf(at_us, step_1) OVER (PARTITION BY {by} {ORDER} {AFTER})"
    part = add("absent", f"SELECT *, {following} AS next_us FROM {events}")  # noqa: S608
    alone = f"step_0 AND (next_us = 0 OR next_us > at_us + {rule.timespan_us})"
    return Judged(part, alone, "1", f"intDiv(at_us, {rule.timespan_us})")


def _first_seen(rule: Correlation, asks: FirstSeen, events: str, by: str, add: Add) -> Judged:
    """Values that the group did not have for a timespan, once it was watched for the learning time.
    A group that was quiet for a timespan begins anew.
    """
    span_us = rule.timespan_us
    values = ", ".join(f"value_{place}" for place in range(len(asks.fields)))
    had = f"max(at_us) OVER (PARTITION BY {by}, {values} {ORDER} {BEFORE}) AS had_us"
    seen = f"max(at_us) OVER (PARTITION BY {by} {ORDER} {BEFORE}) AS seen_us"
    part = add("known", f"SELECT *, {had}, {seen} FROM {events}")  # noqa: S608 - made here
    begins = f"if(at_us - seen_us >= {span_us}, at_us, 0)"
    began = f"max({begins}) OVER (PARTITION BY {by} {ORDER} {SO_FAR}) AS began_us"
    part = add("watched", f"SELECT *, {began} FROM {part}")  # noqa: S608 - made here
    new = f"at_us - had_us >= {span_us} AND at_us - began_us >= {asks.learning_us}"
    return Judged(part, new, "1", None)
