"""What counts, figures and seen steps are compared with, in SQL."""

from collections.abc import Iterable

from tachograph.detectors.language.rule import AllOf, AnyOf, Bound, Expression, Not, Op, Seen
from tachograph.detectors.sql.text import all_of, any_of

OPS: dict[Op, str] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "=", "neq": "!="}


def within(bounds: Iterable[Bound], value: str) -> str:
    """A number of ours is within all bounds."""
    return all_of(f"{value} {OPS[bound.op]} {bound.number!r}" for bound in bounds)


def compared(value: str, edges: Iterable[tuple[Op, int]]) -> str:
    """A figure in whole parts is on the right side of all edges."""
    return all_of(f"{value} {OPS[op]} toInt256('{number}')" for op, number in edges)


def expressed(expression: Expression) -> str:
    """Which steps are seen: `seen_…` counts the events of each."""
    match expression:
        case Seen(step):
            return f"seen_{step} > 0"
        case AllOf(parts):
            return all_of(map(expressed, parts))
        case AnyOf(parts):
            return any_of(map(expressed, parts))
        case Not(part):
            return f"NOT ({expressed(part)})"
