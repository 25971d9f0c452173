"""What counts and figures of correlations are compared with: `gte: 5`, or a range as `gte` and
`lte` together.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tachograph.detectors.language.documents import RefusedDocument
from tachograph.detectors.language.rule import Bound, Op

OPS: tuple[Op, ...] = ("gt", "gte", "lt", "lte", "eq", "neq")
# Figures are sums of decimals with nine places that never overflow within a window's events.
MAX_FIGURE = 900_000_000_000_000
_KEYS = ("correlation", "condition")


def simplified(correlation: Mapping[str, Any]) -> dict[str, Any]:
    """The correlation with one comparison of a range left: pySigma knows no ranges."""
    condition = correlation.get("condition")
    if not isinstance(condition, Mapping):
        return dict(correlation)
    extra = [op for op in OPS if op in condition][1:]
    return {
        **correlation,
        "condition": {name: what for name, what in condition.items() if name not in extra},
    }


def bounds_of(condition: Mapping[str, Any]) -> list[Bound]:
    """All comparisons of a condition. Raises RefusedDocument."""
    return [Bound(op, _number(op, condition[op])) for op in OPS if op in condition]


def _number(op: str, value: Any) -> int | float:
    if isinstance(value, str):
        # YAML reads 1e6 as a text.
        try:
            value = float(value)
        except ValueError as error:
            raise RefusedDocument(f"{op}: {value} is no number", *_KEYS) from error
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedDocument(f"{op}: {value} is no number", *_KEYS)
    if not abs(value) <= MAX_FIGURE:
        raise RefusedDocument(f"{op}: {value} is beyond ±{MAX_FIGURE}", *_KEYS)
    return int(value) if value == int(value) else value


def check_count(bounds: Sequence[Bound], most: int, what: str) -> None:
    """A count from 1 to `most` must be able to satisfy them, and another one not to. Raises
    RefusedDocument.
    """
    for bound in bounds:
        if not isinstance(bound.number, int):
            raise RefusedDocument(f"{bound.op}: {bound.number} is no number of {what}", *_KEYS)
        if bound.number < 0 or (bound.number == 0 and bound.op not in {"gt", "neq"}):
            raise RefusedDocument(
                f"{bound.op}: {bound.number} makes no threshold: there is at least one", *_KEYS
            )
    if not any(satisfies(bounds, count) for count in _around(bounds, 1, most)):
        raise RefusedDocument(
            f"{described(bounds)} can never hold: there are 1 to {most} {what}", *_KEYS
        )


def check_figure(bounds: Sequence[Bound]) -> None:
    """Some number must be able to satisfy them. Raises RefusedDocument."""
    edges = sorted(bound.number for bound in bounds)
    between = [(one + two) / 2 for one, two in itertools.pairwise(edges)]
    if not any(satisfies(bounds, n) for n in [edges[0] - 1, *edges, *between, edges[-1] + 1]):
        raise RefusedDocument(f"{described(bounds)} can never hold", *_KEYS)


def _around(bounds: Sequence[Bound], least: int, most: int) -> Iterator[int]:
    yield from (least, most)
    for bound in bounds:
        for count in range(int(bound.number) - 1, int(bound.number) + 2):
            if least <= count <= most:
                yield count


def satisfies(bounds: Sequence[Bound], value: float) -> bool:
    """Whether the value is within all bounds."""
    return all(_holds(bound, value) for bound in bounds)


def _holds(bound: Bound, value: float) -> bool:
    match bound.op:
        case "gt":
            return value > bound.number
        case "gte":
            return value >= bound.number
        case "lt":
            return value < bound.number
        case "lte":
            return value <= bound.number
        case "eq":
            return value == bound.number
        case "neq":
            return value != bound.number


_WORDS: dict[Op, str] = {
    "gt": "more than",
    "gte": "at least",
    "lt": "less than",
    "lte": "at most",
    "eq": "exactly",
    "neq": "other than",
}


def described(bounds: Sequence[Bound]) -> str:
    """The bounds in words: at least 3 and less than 10."""
    return " and ".join(f"{_WORDS[bound.op]} {bound.number}" for bound in bounds)
