"""Whether a rule can fire at all, by which of its conditions on single events can match."""

from collections.abc import Callable

from tachograph.detectors.language.bounds import satisfies
from tachograph.detectors.language.rule import (
    Absent,
    AllOf,
    AnyOf,
    Expression,
    Not,
    Ordered,
    Rule,
    Seen,
    Stateless,
    Step,
    Together,
)

CanMatch = Callable[[int], bool]


def may_fire(rule: Rule, can_match: CanMatch) -> bool:
    """Whether the rule can fire. `can_match`: whether a detection can match, by its place."""
    if isinstance(rule, Stateless):
        return can_match(rule.detection)
    steps = [_may_come(step, can_match) for step in rule.steps]
    match rule.asks:
        case Ordered(paths=paths) if paths:
            return any(all(steps[link.step] for link in path) for path in paths)
        case Together(expression=expression) if expression is not None:
            return _may_hold(expression, steps)
        case Ordered() | Together():
            return any(satisfies(rule.bounds, count) for count in range(1, sum(steps) + 1))
        case Absent():
            return steps[0]
    return any(steps)


def _may_come(step: Step, can_match: CanMatch) -> bool:
    if step.inner is not None:
        return may_fire(step.inner, can_match)
    return any(can_match(leaf.detection) for leaf in step.leaves)


def _may_hold(expression: Expression, steps: list[bool]) -> bool:
    match expression:
        case Seen(step=step):
            return steps[step]
        case Not():
            return True
        case AllOf(parts=parts):
            return all(_may_hold(part, steps) for part in parts)
        case AnyOf(parts=parts):
            return any(_may_hold(part, steps) for part in parts)
