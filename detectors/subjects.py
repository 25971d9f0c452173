"""Which rules ask for what is measured of behaviour, and of whom."""

from collections.abc import Sequence
from typing import Final

from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.conditions import And, Node, Not, Or, Text, leaves
from tachograph.detectors.language.fields import FieldMap
from tachograph.schemas import behaviour

SUBJECT: Final = behaviour.PREFIX + "subject"


def asks_behaviour(names: Sequence[str], fields: FieldMap) -> bool:
    """Whether one of these fields is a measure."""
    if fields.columns is None:
        return False
    return any(fields.source(name).column in behaviour.COLUMNS for name in names)


def subjects_of(condition: Node, fields: FieldMap) -> frozenset[str]:
    """The subjects that a condition names; all of them where it does not name them in full."""
    if fields.columns is None:
        return frozenset()
    asked = [
        leaf.test
        for leaf in leaves(condition)
        if leaf.field is not None and fields.source(leaf.field).column == SUBJECT
    ]
    named = {test.value.lower() for test in asked if isinstance(test, Text) and test.op == "equals"}
    plain = all(isinstance(test, Text) and test.op == "equals" for test in asked)
    if not asked or (plain and not _denies(condition)):
        return frozenset(named)
    return behaviour.PARTS | behaviour.SHARED


def subjects_asked(rules: RuleSet) -> frozenset[str]:
    """As subjects_of, by any rule."""
    named = [subjects_of(one.condition, rules.fields) for one in rules.detections]
    return frozenset().union(*named)


def _denies(node: Node) -> bool:
    if isinstance(node, And | Or):
        return any(_denies(part) for part in node.parts)
    return isinstance(node, Not)
