"""Sigma detections, parsed by pySigma, as conditions of ours.

pySigma reads the YAML, applies modifiers and resolves `1 of`/`all of`; here each kind of value it
ends up with becomes one test. Whatever cannot be honoured raises UnsupportedRule with the reason;
nothing is dropped.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.modifiers import SigmaCaseSensitiveModifier
from sigma.policy import SigmaPolicy
from sigma.policy.regex_engine import RegexEngine
from sigma.rule import SigmaDetection, SigmaDetectionItem, SigmaRule
from sigma.types import (
    CompareOperators,
    Placeholder,
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
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
    TimestampPart,
)

from tachograph.detectors.language.conditions import (
    And,
    Cidr,
    Leaf,
    Node,
    Not,
    Number,
    NumberOp,
    Or,
    Pattern,
    Present,
    SameAs,
    Test,
    Text,
    TextOp,
    TimePart,
    TimeUnit,
    Truth,
)
from tachograph.detectors.language.regexes import UnsupportedRegex, escape, linear
from tachograph.detectors.matching.lookaround import needs_judge, split

_COMPARISONS: dict[CompareOperators, NumberOp] = {
    CompareOperators.LT: "lt",
    CompareOperators.LTE: "lte",
    CompareOperators.GT: "gt",
    CompareOperators.GTE: "gte",
    CompareOperators.NEQ: "ne",
}
_UNITS: dict[TimestampPart, TimeUnit] = {
    TimestampPart.MINUTE: "minute",
    TimestampPart.HOUR: "hour",
    TimestampPart.DAY: "day",
    TimestampPart.WEEK: "week",
    TimestampPart.MONTH: "month",
    TimestampPart.YEAR: "year",
}
_MANY = SpecialChars.WILDCARD_MULTI


# Names of selections, with stars as pySigma writes them.
_SELECTOR = re.compile(r"[\w.*]+")


class _JudgedLater(RegexEngine):
    """pySigma checks expressions of rules by compiling them; ours are checked by the engine that
    runs them.

    What is returned is only ever used for the patterns of `1 of …`, which are plain.
    """

    error = re.error

    def compile(self, pattern: str, flags: int = 0) -> Any:
        return re.compile(pattern if _SELECTOR.fullmatch(pattern) else "", flags)


POLICY = SigmaPolicy(regex_engine=_JudgedLater())


@dataclass
class _CasedReference(SigmaFieldReference):
    """A reference compared minding case. pySigma's own forgets that it was asked."""


class UnsupportedRule(ValueError):
    """The rule says something this engine does not honour; the message names it."""


def condition_of(rule: SigmaRule) -> Node:
    """What the rule asks of an event. Several conditions mean any of them. Raises UnsupportedRule,
    SigmaError.
    """
    _mind_case(rule)
    parsed = [condition.parsed for condition in rule.detection.parsed_condition]
    nodes = [_node(tree) for tree in parsed if tree is not None]
    if not nodes or len(nodes) != len(parsed):
        raise UnsupportedRule("the condition asks for nothing")
    return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))


def _mind_case(rule: SigmaRule) -> None:
    """Say of references to fields that are `cased` that they are: the last thing done to a rule,
    since what renames fields makes references anew.
    """
    for detection in rule.detection.detections.values():
        for item in _items(detection):
            if SigmaCaseSensitiveModifier in item.modifiers:
                item.value = [_cased(value) for value in item.value]


def _items(detection: SigmaDetection) -> Iterator[SigmaDetectionItem]:
    for item in detection.detection_items:
        if isinstance(item, SigmaDetection):
            yield from _items(item)
        else:
            yield item


def _cased(value: Any) -> Any:
    if type(value) is not SigmaFieldReference:
        return value
    return _CasedReference(value.field, value.starts_with, value.ends_with)


def _node(tree: Any) -> Node:
    match tree:
        case None:
            raise UnsupportedRule("pipelines left nothing of a part of the condition")
        case ConditionAND() | ConditionOR() if not tree.args:
            return _node(None)
        case ConditionAND():
            return And(tuple(_node(part) for part in tree.args))
        case ConditionOR():
            return Or(tuple(_node(part) for part in tree.args))
        case ConditionNOT():
            return Not(_node(tree.args[0]))
        case ConditionFieldEqualsValueExpression():
            return _field_test(tree.field, tree.value)
        case ConditionValueExpression():
            return _keyword(tree.value)
    raise UnsupportedRule(f"condition part {type(tree).__name__}")


def _field_test(field: str, value: Any) -> Node:
    if isinstance(value, SigmaExpansion):
        return Or(tuple(_field_test(field, part) for part in value.values))
    if isinstance(value, SigmaRegularExpression):
        return _all([Leaf(field, test) for test in _expressions(value)])
    for kind, convert in _TESTS:
        if isinstance(value, kind):
            return Leaf(field, convert(value))
    raise UnsupportedRule(f"value of type {type(value).__name__} on field {field}")


def _all(leaves: list[Leaf]) -> Node:
    return leaves[0] if len(leaves) == 1 else And(tuple(leaves))


def _keyword(value: Any) -> Node:
    if isinstance(value, SigmaExpansion):
        return Or(tuple(_keyword(part) for part in value.values))
    if isinstance(value, SigmaString):
        return Leaf(None, _text(value, keyword=True))
    if isinstance(value, SigmaNumber) and not isinstance(value, SigmaTimestampPart):
        return Leaf(None, Text("contains", str(value.number)))
    if isinstance(value, SigmaRegularExpression):
        return _all([Leaf(None, test) for test in _expressions(value)])
    raise UnsupportedRule(f"keyword of type {type(value).__name__}")


def _text(value: SigmaString, *, keyword: bool = False) -> Test:
    """A Sigma string: plain, or with wildcards at its ends, or anywhere; a keyword may stand
    anywhere.
    """
    for part in value.s:
        if isinstance(part, Placeholder):
            raise UnsupportedRule(f"placeholder %{part.name}% has no value here")
    parts: list[Any] = [*([_MANY] if keyword else []), *value.s, *([_MANY] if keyword else [])]
    cased = isinstance(value, SigmaCasedString)
    parts = _squeezed(parts)
    words = [part for part in parts if isinstance(part, str)]
    if len(words) == 1 and all(part is _MANY for part in parts if not isinstance(part, str)):
        word = words[0] if cased else words[0].lower()
        return Text(_shape(parts), word, cased)
    if not words and all(part is _MANY for part in parts):
        return Text("contains" if parts else "equals", "", cased)
    return Pattern(_wildcards(parts, cased=cased), cased)


def _squeezed(parts: list[Any]) -> list[Any]:
    """Neighbouring stars are one star; neighbouring texts are one text."""
    out: list[Any] = []
    for part in parts:
        if out and part is _MANY and out[-1] is _MANY:
            continue
        if out and isinstance(part, str) and isinstance(out[-1], str):
            out[-1] += part
        else:
            out.append(part)
    return out


def _shape(parts: list[Any]) -> TextOp:
    before, after = parts[0] is _MANY, parts[-1] is _MANY
    if before and after:
        return "contains"
    if before:
        return "suffix"
    return "prefix" if after else "equals"


def _wildcards(parts: list[Any], *, cased: bool) -> str:
    """A regex over the whole text; open ends are left open, which is faster than matching them."""
    first = 1 if parts[0] is _MANY else 0
    last = len(parts) - 1 if parts[-1] is _MANY else len(parts)
    inner = []
    for part in parts[first:last]:
        if isinstance(part, str):
            inner.append(escape(part if cased else part.lower()))
        else:
            inner.append(".*?" if part is _MANY else ".")
    start = "" if first else "\\A"
    end = "" if last < len(parts) else "\\z"
    return linear(f"{start}{''.join(inner)}{end}", "s")


def _expressions(value: SigmaRegularExpression) -> list[Pattern]:
    """What must all match; the last alone is the answer, the others only spare asking it."""
    if value.contains_placeholder():
        raise UnsupportedRule("placeholder in a regular expression has no value here")
    flags = "".join(value.sigma_to_re_flag[flag] for flag in value.flags)
    pattern = value.regexp.to_plain_regex()
    try:
        if not needs_judge(pattern):
            return [Pattern(linear(pattern, flags))]
        parts = split(pattern, flags)
    except UnsupportedRegex as error:
        raise UnsupportedRule(f"regular expression {_short(pattern)}: {error}") from error
    return [*map(Pattern, parts.musts), Pattern(parts.rough, exact=parts.exact)]


def _number(value: SigmaNumber) -> Number:
    return Number("eq", value.number)


def _compare(value: SigmaCompareExpression) -> Number | TimePart:
    op = _COMPARISONS[value.op]
    if isinstance(value.number, SigmaTimestampPart):
        return TimePart(_unit(value.number), op, value.number.number)
    return Number(op, value.number.number)


def _time_part(value: SigmaTimestampPart) -> TimePart:
    return TimePart(_unit(value), "eq", value.number)


def _unit(value: SigmaTimestampPart) -> TimeUnit:
    return _UNITS[value.timestamp_part]


def _field_reference(value: SigmaFieldReference) -> SameAs:
    cased = isinstance(value, _CasedReference)
    if value.starts_with and value.ends_with:
        return SameAs(value.field, "contains", cased)
    op: TextOp = "prefix" if value.starts_with else "suffix" if value.ends_with else "equals"
    return SameAs(value.field, op, cased)


def _short(pattern: str) -> str:
    return pattern if len(pattern) <= 80 else pattern[:77] + "…"


# The order matters: the narrower type stands before the one it derives from.
_TESTS: tuple[tuple[type, Callable[[Any], Test]], ...] = (
    (SigmaString, _text),
    (SigmaTimestampPart, _time_part),
    (SigmaNumber, _number),
    (SigmaBool, lambda value: Truth(value.boolean)),
    (SigmaNull, lambda _: Present(value=False)),
    (SigmaExists, lambda value: Present(value=value.exists)),
    (SigmaCIDRExpression, lambda value: Cidr(value.network)),
    (SigmaCompareExpression, _compare),
    (SigmaFieldReference, _field_reference),
)
