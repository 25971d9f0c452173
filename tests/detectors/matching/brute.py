"""What a Sigma rule asks of an event, worked out the slow way: pySigma's tree, plain Python, `re`.

Written from the specification, without a look at the engine it judges.
"""

import re
from functools import cache
from ipaddress import ip_address
from typing import Any

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.rule import SigmaRule
from sigma.types import (
    CompareOperators,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SpecialChars,
)

Event = dict[str, Any]
_FLAGS = {
    SigmaRegularExpressionFlag.IGNORECASE: re.IGNORECASE,
    SigmaRegularExpressionFlag.MULTILINE: re.MULTILINE,
    SigmaRegularExpressionFlag.DOTALL: re.DOTALL,
}
_COMPARE = {
    CompareOperators.LT: lambda one, other: one < other,
    CompareOperators.LTE: lambda one, other: one <= other,
    CompareOperators.GT: lambda one, other: one > other,
    CompareOperators.GTE: lambda one, other: one >= other,
    CompareOperators.NEQ: lambda one, other: one != other,
}


def trees(rule: SigmaRule) -> list[Any]:
    """What its conditions ask. pySigma parses anew whenever it is asked for one."""
    return [one.parsed for one in rule.detection.parsed_condition]


def matches(conditions: list[Any], event: Event) -> bool:
    """Whether the event matches any of a rule's conditions (`trees`)."""
    return any(_holds(tree, event) for tree in conditions)


def _holds(tree: Any, event: Event) -> bool:
    match tree:
        case ConditionAND():
            return all(_holds(part, event) for part in tree.args)
        case ConditionOR():
            return any(_holds(part, event) for part in tree.args)
        case ConditionNOT():
            return not _holds(tree.args[0], event)
        case ConditionFieldEqualsValueExpression():
            return _field(tree.field, tree.value, event)
        case ConditionValueExpression():
            return _keyword(tree.value, event)
    raise AssertionError(tree)


def values(within: Any, path: str) -> list[Any]:
    """Everything that a name leads to, through objects and lists of them; a dot may be part of a
    key. Null leads nowhere.
    """
    found: list[Any] = []
    for key, value in within.items():
        if key == path:
            found += _members(value)
        elif path.startswith(f"{key}.") and key:
            rest = path[len(key) + 1 :]
            for part in _objects(value):
                found += values(part, rest)
    return found


def _members(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [member for part in value for member in _members(part)]
    return [] if value is None or isinstance(value, dict) else [value]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _field(name: str, wanted: Any, event: Event) -> bool:
    if isinstance(wanted, SigmaExpansion):
        return any(_field(name, part, event) for part in wanted.values)
    if isinstance(wanted, SigmaNull):
        return not _there(event, name)
    if isinstance(wanted, SigmaExists):
        return _there(event, name) is wanted.exists
    return any(_value(value, wanted, event) for value in values(event, name))


def _there(within: Any, path: str) -> bool:
    """Whether a name leads to anything but null: a value, an object, a list, even an empty one."""
    for key, value in within.items():
        if key == path and value is not None:
            return True
        if path.startswith(f"{key}.") and key:
            for part in _objects(value):
                if _there(part, path[len(key) + 1 :]):
                    return True
    return False


def _objects(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [found for part in value for found in _objects(part)]
    return [value] if isinstance(value, dict) else []


def _value(value: Any, wanted: Any, event: Event) -> bool:
    match wanted:
        case SigmaString():
            return _like(_text(value), wanted)
        case SigmaBool():
            return _text(value).lower() == ("true" if wanted.boolean else "false")
        case SigmaNumber():
            return _number(value) == wanted.number
        case SigmaCompareExpression():
            number = _number(value)
            return number is not None and _COMPARE[wanted.op](number, wanted.number.number)
        case SigmaRegularExpression():
            return _regex(wanted).search(_text(value)) is not None
        case SigmaCIDRExpression():
            return _inside(_text(value), wanted)
        case SigmaFieldReference():
            return any(
                _related(_text(value).lower(), _text(other).lower(), wanted)
                for other in values(event, wanted.field)
            )
    raise AssertionError(wanted)


def _like(text: str, wanted: SigmaString, *, anywhere: bool = False) -> bool:
    cased = isinstance(wanted, SigmaCasedString)
    pattern = _spelled(tuple(wanted.s), cased)
    text = text if cased else text.lower()
    return (pattern.search(text) if anywhere else pattern.fullmatch(text)) is not None


@cache
def _spelled(parts: tuple[Any, ...], cased: bool) -> "re.Pattern[str]":
    pattern = ""
    for part in parts:
        if isinstance(part, str):
            pattern += re.escape(part if cased else part.lower())
        else:
            pattern += ".*" if part == SpecialChars.WILDCARD_MULTI else "."
    return re.compile(pattern, re.DOTALL)


def _regex(wanted: SigmaRegularExpression) -> "re.Pattern[str]":
    flags = 0
    for flag in wanted.flags:
        flags |= _FLAGS[flag]
    return _compiled(wanted.regexp.to_plain_regex(), flags)


@cache
def _compiled(expression: str, flags: int) -> "re.Pattern[str]":
    return re.compile(expression, flags)


def _inside(text: str, wanted: SigmaCIDRExpression) -> bool:
    try:
        return ip_address(text) in wanted.network
    except ValueError:
        return False


def _related(mine: str, other: str, wanted: SigmaFieldReference) -> bool:
    if wanted.starts_with and wanted.ends_with:
        return other in mine
    if wanted.starts_with:
        return mine.startswith(other)
    return mine.endswith(other) if wanted.ends_with else mine == other


def _keyword(wanted: Any, event: Event) -> bool:
    if isinstance(wanted, SigmaExpansion):
        return any(_keyword(part, event) for part in wanted.values)
    texts = [_text(value) for value in _everything(event)]
    match wanted:
        case SigmaString():
            return any(_like(text, wanted, anywhere=True) for text in texts)
        case SigmaNumber():
            return any(str(wanted.number) in text for text in texts)
        case SigmaRegularExpression():
            return any(_regex(wanted).search(text) for text in texts)
    raise AssertionError(wanted)


def _everything(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [found for part in value.values() for found in _everything(part)]
    if isinstance(value, list):
        return [found for part in value for found in _everything(part)]
    return [] if value is None else [value]
