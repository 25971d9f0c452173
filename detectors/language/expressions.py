"""Boolean conditions of temporal correlations (`a and not (b or c)`), as pySigma parses them.

Unordered, they say which steps are in one window. Ordered, each way of satisfying them is a path of
steps in the order in which they stand; a step that must not be says so of the time between its
neighbours.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    CorrelationConditionOR,
    SigmaRuleReference,
)

from tachograph.detectors.language.rule import AllOf, AnyOf, Expression, Link, Not, Seen
from tachograph.detectors.language.rulefile import RefusedDocument

MAX_PATHS = 32
_KEYS = ("correlation", "condition")


def expression_of(tree: Any, places: Mapping[str, int]) -> Expression:
    """pySigma's tree over steps. `places`: name of a rule → its step. Raises RefusedDocument."""
    match tree:
        case SigmaRuleReference():
            return Seen(places[tree.reference])
        case CorrelationConditionAND():
            return AllOf(tuple(expression_of(part, places) for part in tree.args))
        case CorrelationConditionOR():
            return AnyOf(tuple(expression_of(part, places) for part in tree.args))
        case CorrelationConditionNOT():
            return Not(expression_of(tree.args[0], places))
    raise RefusedDocument(f"condition part {type(tree).__name__}", *_KEYS)


def check_positive(expression: Expression) -> None:
    """Something must be seen for it to hold. Raises RefusedDocument."""
    if holds_without(expression, frozenset()):
        raise RefusedDocument("the condition holds where nothing happened", *_KEYS)


def holds_without(expression: Expression, seen: frozenset[int]) -> bool:
    """Whether it holds where just these steps were seen."""
    match expression:
        case Seen(step=step):
            return step in seen
        case Not(part=part):
            return not holds_without(part, seen)
        case AllOf(parts=parts):
            return all(holds_without(part, seen) for part in parts)
        case AnyOf(parts=parts):
            return any(holds_without(part, seen) for part in parts)


# A step, and whether it must be there.
_Literal = tuple[int, bool]


def paths_of(expression: Expression, most_steps: int) -> tuple[tuple[Link, ...], ...]:
    """The ways of satisfying it in order. Raises RefusedDocument."""
    found = list(itertools.islice(_ways(expression, wanted=True), MAX_PATHS + 1))
    if len(found) > MAX_PATHS:
        raise RefusedDocument(
            f"the condition can be satisfied in more than {MAX_PATHS} ways", *_KEYS
        )
    return tuple(dict.fromkeys(_path(way, most_steps) for way in found))


def _ways(expression: Expression, *, wanted: bool) -> Iterator[tuple[_Literal, ...]]:
    """The disjunctive normal form, each conjunction in the order in which it is written."""
    match expression:
        case Seen(step=step):
            yield ((step, wanted),)
        case Not(part=part):
            yield from _ways(part, wanted=not wanted)
        case AllOf(parts=parts) | AnyOf(parts=parts):
            if isinstance(expression, AllOf) is wanted:
                every = [list(_bounded(part, wanted=wanted)) for part in parts]
                yield from (tuple(itertools.chain(*way)) for way in itertools.product(*every))
            else:
                for part in parts:
                    yield from _ways(part, wanted=wanted)


def _bounded(expression: Expression, *, wanted: bool) -> Iterator[tuple[_Literal, ...]]:
    return itertools.islice(_ways(expression, wanted=wanted), MAX_PATHS + 1)


def _path(way: Sequence[_Literal], most_steps: int) -> tuple[Link, ...]:
    links: list[Link] = []
    without: list[int] = []
    for step, wanted in way:
        if wanted:
            links.append(Link(step, tuple(dict.fromkeys(without))))
            without = []
        else:
            without.append(step)
    if without:
        raise RefusedDocument(
            "what must not follow the last event is said with `tacho: {absent: …}`", *_KEYS
        )
    if len(links) > most_steps:
        raise RefusedDocument(f"a sequence has at most {most_steps} steps", *_KEYS)
    return tuple(links)
