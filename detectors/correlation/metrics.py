"""What a window is asked, as sums over its events: whole numbers, and a question to them."""

from collections.abc import Sequence
from functools import reduce
from typing import Protocol

import numpy as np

from tachograph.detectors.correlation.arrays import Array, Bools, Ints
from tachograph.detectors.correlation.blocks import Columns
from tachograph.detectors.correlation.decimals import PLACES, compared, decimal
from tachograph.detectors.language.bounds import satisfies
from tachograph.detectors.language.rule import (
    AllOf,
    AnyOf,
    Bound,
    Count,
    Expression,
    Figure,
    Not,
    Seen,
    Together,
    Values,
)
from tachograph.detectors.signals import MAX_EVIDENCE

# Reports of one action count once, those of one source each for itself: less what repeats the
# action, plus what repeats the action and its source.
_ACTIONS: Sequence[tuple[str, int]] = [("twin", 1), ("origin", -1)]
NUMBER_KINDS = {"whole": ("<i8", 0), "part": ("<i8", 0)}


class Metric(Protocol):
    """The question of one rule.

    `keys`: columns of which equal values count once in a window, with the sign of that.
    """

    width: int
    keys: Sequence[tuple[str, int]]
    row_kinds: dict[str, tuple[str, int]]

    def weights(self, rows: Columns, places: Ints) -> Array:
        """What each row adds: (rows, width) whole numbers."""
        ...

    def holds(self, value: Array) -> tuple[Bools, Bools]:
        """Where the condition holds, and where the sums alone do not tell."""
        ...

    def exactly(self, rows: Columns, window: slice) -> bool:
        """Whether it holds over the rows of one window."""
        ...

    def shown(self, rows: Columns, window: slice) -> float:
        """The value of one window, for a person."""
        ...

    def events(self, rows: Columns, window: slice) -> tuple[list[int], int]:
        """Places of the first events of a window that matter, and how many events there are."""
        ...


class Counted:
    """Events, or values: how many are in the window."""

    width = 1

    def __init__(self, asks: Count | Values) -> None:
        self._bounds = asks.bounds
        of_values = isinstance(asks, Values)
        self.keys: Sequence[tuple[str, int]] = [("value", 1)] if of_values else _ACTIONS
        self.row_kinds: dict[str, tuple[str, int]] = {"value": ("<u8", 0)} if of_values else {}

    def weights(self, rows: Columns, places: Ints) -> Array:  # noqa: ARG002
        """See Metric."""
        return np.ones((len(places), 1), np.int64)

    def holds(self, value: Array) -> tuple[Bools, Bools]:
        """See Metric."""
        return _within(self._bounds, value[:, 0]), np.zeros(len(value), np.bool_)

    def exactly(self, rows: Columns, window: slice) -> bool:
        """See Metric."""
        return satisfies(self._bounds, self.shown(rows, window))

    def shown(self, rows: Columns, window: slice) -> float:
        """See Metric."""
        if "value" in self.row_kinds:
            return len(np.unique(rows["value"][window][~rows["blind"][window]]))
        return int(first_reports(rows, window).sum())

    def events(self, rows: Columns, window: slice) -> tuple[list[int], int]:
        """See Metric: of each value the first event."""
        if "value" not in self.row_kinds:
            return _first_actions(rows, window)
        counted = np.flatnonzero(~rows["blind"][window])
        first = np.unique(rows["value"][window][counted], return_index=True)[1]
        shown = counted[np.sort(first)[:MAX_EVIDENCE]] + window.start
        return shown.tolist(), len(counted)


class Summed:
    """The sum or the mean of numbers."""

    keys = _ACTIONS
    row_kinds = NUMBER_KINDS
    width = 3

    def __init__(self, asks: Figure) -> None:
        self._mean = asks.fold == "avg"
        self._bounds = [(bound.op, decimal(bound.number)) for bound in asks.bounds]
        self._asked = asks.bounds

    def weights(self, rows: Columns, places: Ints) -> Array:
        """See Metric."""
        number = np.ones(len(places), np.int64)
        return np.stack([number, rows["whole"][places], rows["part"][places]], axis=1)

    def holds(self, value: Array) -> tuple[Bools, Bools]:
        """See Metric. A mean is compared by comparing the sum with as many times the bound."""
        number, whole, part = value.T
        whole, part = whole + part // PLACES, part % PLACES
        found = np.ones(len(value), np.bool_)
        for op, (edge, fraction) in self._bounds:
            times = number if self._mean else np.ones_like(number)
            edges, fractions = edge * times, fraction * times
            edges, fractions = edges + fractions // PLACES, fractions % PLACES
            found &= compared(op, whole, part, edges, fractions)
        return found, np.zeros(len(value), np.bool_)

    def exactly(self, rows: Columns, window: slice) -> bool:
        """See Metric."""
        return satisfies(self._asked, self.shown(rows, window))

    def shown(self, rows: Columns, window: slice) -> float:
        """See Metric."""
        counted = first_reports(rows, window)
        whole, part = rows["whole"][window][counted], rows["part"][window][counted]
        total = int(whole.sum()) * PLACES + int(part.sum())
        return total / PLACES / (int(counted.sum()) if self._mean else 1)

    def events(self, rows: Columns, window: slice) -> tuple[list[int], int]:
        """See Metric."""
        return _first_actions(rows, window)


class Percentile:
    """The value below which so many percent of the numbers lie, between two of them by their
    distance; 50 is the median.

    How many numbers lie below a bound tells nearly always on which side of it the percentile is.
    """

    keys = _ACTIONS
    row_kinds = NUMBER_KINDS

    def __init__(self, asks: Figure) -> None:
        self._percent = asks.percent
        self._bounds = [(bound.op, decimal(bound.number)) for bound in asks.bounds]
        self.width = 1 + 2 * len(self._bounds)

    def weights(self, rows: Columns, places: Ints) -> Array:
        """See Metric: how many there are, and below each bound, and at most at it."""
        whole, part = rows["whole"][places], rows["part"][places]
        columns: list[Array] = [np.ones(len(places), np.int64)]
        for _, (edge, fraction) in self._bounds:
            columns.append(compared("lt", whole, part, edge, fraction))
            columns.append(compared("lte", whole, part, edge, fraction))
        return np.stack([column.astype(np.int64) for column in columns], axis=1)

    def holds(self, value: Array) -> tuple[Bools, Bools]:
        """See Metric."""
        rank, rest = np.divmod((value[:, 0] - 1) * self._percent, 100)
        found, unsure = np.ones(len(value), np.bool_), np.zeros(len(value), np.bool_)
        for place, (op, _) in enumerate(self._bounds):
            below, upto = value[:, 1 + 2 * place], value[:, 2 + 2 * place]
            # The numbers on both sides of the percentile are of these ranks; which of them reach
            # the bound, and which are beyond it?
            reaches, exceeds = rank >= below, rank >= upto
            if op not in {"gt", "lte"}:
                unsure |= (rest > 0) & ~reaches & (rank + 1 >= below)
            if op not in {"gte", "lt"}:
                unsure |= (rest > 0) & ~exceeds & (rank + 1 >= upto)
            found &= _on_side(op, reaches, exceeds)
        return found, unsure

    def exactly(self, rows: Columns, window: slice) -> bool:
        """See Metric."""
        hundredfold = self._hundredfold(rows, window)
        for op, (edge, fraction) in self._bounds:
            bound = 100 * (edge * PLACES + fraction)
            if not satisfies([Bound(op, bound)], hundredfold):
                return False
        return True

    def shown(self, rows: Columns, window: slice) -> float:
        """See Metric."""
        return self._hundredfold(rows, window) / (100 * PLACES)

    def events(self, rows: Columns, window: slice) -> tuple[list[int], int]:
        """See Metric."""
        return _first_actions(rows, window)

    def _hundredfold(self, rows: Columns, window: slice) -> int:
        """A hundred times the percentile, in units of the last place: a whole number."""
        counted = first_reports(rows, window)
        whole, part = rows["whole"][window][counted], rows["part"][window][counted]
        order = np.lexsort((part, whole))
        rank, rest = divmod((len(order) - 1) * self._percent, 100)
        low, high = (
            int(whole[at]) * PLACES + int(part[at])
            for at in order[[rank, min(rank + 1, len(order) - 1)]]
        )
        return 100 * low + rest * (high - low)


class Present:
    """Which steps are in the window: how many, or an expression over them."""

    def __init__(self, asks: Together, steps: int) -> None:
        self.keys: Sequence[tuple[str, int]] = ()
        self.row_kinds: dict[str, tuple[str, int]] = {}
        self._asks = asks
        self.width = steps

    def weights(self, rows: Columns, places: Ints) -> Array:
        """See Metric."""
        bits: Array = (rows["steps"][places][:, None] >> np.arange(self.width)) & 1
        return bits

    def holds(self, value: Array) -> tuple[Bools, Bools]:
        """See Metric."""
        seen = value > 0
        if self._asks.expression is not None:
            found = _evaluated(self._asks.expression, seen)
        else:
            found = _within(self._asks.bounds, seen.sum(axis=1))
        return found, np.zeros(len(value), np.bool_)

    def exactly(self, rows: Columns, window: slice) -> bool:
        """See Metric."""
        return bool(self.holds(self._seen(rows, window))[0][0])

    def shown(self, rows: Columns, window: slice) -> float:
        """See Metric: how many steps are seen."""
        return int((self._seen(rows, window) > 0).sum())

    def events(self, rows: Columns, window: slice) -> tuple[list[int], int]:
        """See Metric: of each step the first event."""
        counted = ~rows["blind"][window]
        steps = np.where(counted, rows["steps"][window], 0)
        known = np.zeros(len(steps), np.int64)
        known[1:] = np.bitwise_or.accumulate(steps)[:-1]
        first = np.flatnonzero(steps & ~known) + window.start
        return first.tolist(), int(counted.sum())

    def _seen(self, rows: Columns, window: slice) -> Array:
        steps = rows["steps"][window][~rows["blind"][window]]
        seen: Array = ((steps[:, None] >> np.arange(self.width)) & 1).sum(axis=0)[None, :]
        return seen


def first_reports(rows: Columns, window: slice) -> Bools:
    """Rows of a window that count: no report of an action that another source reported before."""
    counted: Bools = ~rows["blind"][window]
    twin, origin = rows["twin"][window], rows["origin"][window]
    reports = np.flatnonzero((twin != 0) & counted)
    if len(reports) > 1:
        first_of_action = np.unique(twin[reports], return_index=True)[1]
        first_of_source = np.unique(origin[reports], return_index=True)[1]
        counted[reports[first_of_source]] = False
        counted[reports[first_of_action]] = True
    return counted


def _first_actions(rows: Columns, window: slice) -> tuple[list[int], int]:
    counted = np.flatnonzero(first_reports(rows, window)) + window.start
    return counted[:MAX_EVIDENCE].tolist(), len(counted)


def _within(bounds: Sequence[Bound], value: Array) -> Bools:
    found = np.ones(len(value), np.bool_)
    for bound in bounds:
        found &= _compare(bound, value)
    return found


def _compare(bound: Bound, value: Array) -> Bools:
    found: Bools
    match bound.op:
        case "gt":
            found = value > bound.number
        case "gte":
            found = value >= bound.number
        case "lt":
            found = value < bound.number
        case "lte":
            found = value <= bound.number
        case "eq":
            found = value == bound.number
        case "neq":
            found = value != bound.number
    return found


def _on_side(op: str, reaches: Bools, exceeds: Bools) -> Bools:
    """Whether a value is where the bound wants it, by whether it reaches and exceeds it."""
    match op:
        case "gt":
            return exceeds
        case "gte":
            return reaches
        case "lt":
            return ~reaches
        case "lte":
            return ~exceeds
        case "eq":
            return reaches & ~exceeds
    return ~(reaches & ~exceeds)


def _evaluated(expression: Expression, seen: Bools) -> Bools:
    match expression:
        case Seen(step=step):
            found: Bools = seen[:, step]
            return found
        case Not(part=part):
            return ~_evaluated(part, seen)
        case AllOf(parts=parts):
            return reduce(np.logical_and, (_evaluated(part, seen) for part in parts))
        case AnyOf(parts=parts):
            return reduce(np.logical_or, (_evaluated(part, seen) for part in parts))


def metric_of(asks: Count | Values | Figure | Together, steps: int) -> Metric:
    """The metric of a rule with so many steps."""
    match asks:
        case Count() | Values():
            return Counted(asks)
        case Together():
            return Present(asks, steps)
        case Figure(fold="percentile"):
            return Percentile(asks)
    return Summed(asks)
