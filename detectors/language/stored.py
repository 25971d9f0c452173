"""Compiled rules as bytes and back, so that a large set need not be parsed again, nor the words be
worked out that its expressions contain.

Only what the classes of `rule` and `conditions` hold is written, by their names; anything else in
the bytes is an error, never code.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import msgspec

from tachograph.detectors.language import conditions
from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.conditions import And, Leaf, Node, Not, Or, Pattern, leaves
from tachograph.detectors.language.documents import Problem
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.language.rule import (
    AllOf,
    AnyOf,
    Asks,
    Detection,
    Expression,
    Ordered,
    Rule,
    Seen,
    Stateless,
    Together,
)
from tachograph.detectors.language.rule import Not as Unseen
from tachograph.detectors.matching.factors import Branches, branches_of, remember
from tachograph.detectors.reference.reference import Reference

_NETWORKS: dict[str, type[IPv4Network] | type[IPv6Network]] = {
    kind.__name__: kind for kind in (IPv4Network, IPv6Network)
}
_NODES: dict[str, Any] = {
    name: kind for name, kind in vars(conditions).items() if dataclasses.is_dataclass(kind)
}


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    rules: list[Rule]
    # Each with its condition apart.
    detections: list[tuple[dict[str, Any], Any]]
    rules_hash: str
    refused: list[Problem]
    skipped: list[Problem]
    notes: list[Problem]
    follows_sessions: bool
    # Of the expressions in the conditions.
    branches: dict[str, Branches]


def encode(rules: RuleSet) -> bytes:
    """The rules, without the reference data they stand above. Raises ValueError for what has no
    bytes, as a number of more than 64 bits.
    """
    try:
        return msgspec.msgpack.encode(
            _Kept(
                rules.rules,
                [(_around(one), _plain(one.condition)) for one in rules.detections],
                rules.rules_hash,
                rules.refused,
                rules.skipped,
                rules.notes,
                rules.follows_sessions,
                {regex: branches_of(regex) for regex in _expressions(rules)},
            )
        )
    except (OverflowError, TypeError) as error:
        raise ValueError(f"rules that cannot be kept: {error}") from error


def decode(stored: bytes, fields: FieldMap, reference: Reference) -> RuleSet:
    """The rules again. Raises ValueError when the bytes are none of ours."""
    try:
        kept = msgspec.msgpack.decode(stored, type=_Kept)
        rules = RuleSet(
            rules=kept.rules,
            detections=[
                Detection(condition=_node(condition), **around)
                for around, condition in kept.detections
            ],
            fields=fields,
            rules_hash=kept.rules_hash,
            refused=kept.refused,
            skipped=kept.skipped,
            notes=kept.notes,
            reference=reference,
            follows_sessions=kept.follows_sessions,
        )
        for rule in rules.rules:
            _check(rule, len(rules.detections))
    except (msgspec.MsgspecError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"no compiled rules: {error!r}") from error
    remember(kept.branches)
    return rules


def _expressions(rules: RuleSet) -> Iterator[str]:
    for one in rules.detections:
        for leaf in leaves(one.condition):
            if isinstance(leaf.test, Pattern):
                yield leaf.test.regex


def _check(rule: Rule, detections: int) -> None:
    """What a rule refers to is there."""
    if isinstance(rule, Stateless):
        _within([rule.detection], detections)
        return
    _within(rule.detections, detections)
    _within(_steps(rule.asks), len(rule.steps))
    for step in rule.steps:
        if step.inner is not None:
            _check(step.inner, detections)


def _within(places: Iterable[int], size: int) -> None:
    if not all(0 <= at < size for at in places):
        raise IndexError("refers to what is not there")


def _steps(asks: Asks) -> Iterator[int]:
    """The steps that a correlation asks about, by number."""
    match asks:
        case Ordered(paths=paths):
            for link in itertools.chain(*paths):
                yield from (link.step, *link.without)
        case Together(expression=expression) if expression is not None:
            yield from _seen(expression)


def _seen(expression: Expression) -> Iterator[int]:
    match expression:
        case Seen(step):
            yield step
        case Unseen(part):
            yield from _seen(part)
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from _seen(part)


def _around(one: Detection) -> dict[str, Any]:
    names = [name for name in one.__struct_fields__ if name != "condition"]
    return {name: getattr(one, name) for name in names}


def _plain(value: Any) -> Any:
    match value:
        case And(parts) | Or(parts):
            return [type(value).__name__, *map(_plain, parts)]
        case Not() | Leaf():
            return [type(value).__name__, *map(_plain, _members(value))]
        case IPv4Network() | IPv6Network():
            return [type(value).__name__, str(value)]
    if dataclasses.is_dataclass(value):
        return [type(value).__name__, *map(_plain, _members(value))]
    return value


def _members(value: Any) -> list[Any]:
    return [getattr(value, one.name) for one in dataclasses.fields(value)]


def _node(value: Any) -> Node:
    found = _made(value)
    if not isinstance(found, And | Or | Not | Leaf):
        raise TypeError(f"no condition: {type(found).__name__}")
    return found


def _made(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    name, *members = value
    if name in _NETWORKS:
        return _NETWORKS[name](members[0])
    made = [_made(member) for member in members]
    return _NODES[name](tuple(made)) if name in {"And", "Or"} else _NODES[name](*made)
