"""Conditions on single actions as SQL: true or false, never NULL, as the engine's are."""

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network

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
from tachograph.detectors.matching.lowering import EXACT_WHOLE
from tachograph.detectors.sql.regexes import re2_of
from tachograph.detectors.sql.text import NotExpressible, all_of, any_of, literal, literals
from tachograph.detectors.sql.values import Value, Values

_TEXT: dict[TextOp, Callable[[str, str], str]] = {
    "equals": lambda text, value: f"{text} = {value}",
    "prefix": lambda text, value: f"startsWith({text}, {value})",
    "suffix": lambda text, value: f"endsWith({text}, {value})",
    "contains": lambda text, value: f"position({text}, {value}) > 0",
}
_ZEROS = r"(^|\.)0[0-9]"
_COMPARE: dict[NumberOp, str] = {
    "eq": "=",
    "ne": "!=",
    "lt": "<",
    "lte": "<=",
    "gt": ">",
    "gte": ">=",
}
_PARTS: dict[TimeUnit, str] = {
    "minute": "toMinute",
    "hour": "toHour",
    "day": "toDayOfMonth",
    "week": "toISOWeek",
    "month": "toMonth",
    "year": "toYear",
}


def condition_sql(node: Node, values: Values) -> str:
    """The condition as SQL. Raises NotExpressible that names the part."""
    match node:
        case And(parts):
            return all_of(condition_sql(part, values) for part in parts)
        case Or(parts):
            return any_of(_alternatives(parts, values))
        case Not(part):
            return f"NOT {condition_sql(part, values)}"
        case Leaf(None, test):
            return _test(values.keywords(), test, values, "any text")
        case Leaf(str(field), test):
            return _test(values.of(field), test, values, field)
    raise AssertionError(node)


def _alternatives(parts: tuple[Node, ...], values: Values) -> list[str]:
    """Words that one field may equal are asked together."""
    words: dict[tuple[str, bool], list[str]] = {}
    others: list[str] = []
    for part in parts:
        match part:
            case Leaf(str(field), Text("equals", value, cased)) if value:
                words.setdefault((field, cased), []).append(value)
            case _:
                others.append(condition_sql(part, values))
    for (field, cased), found in words.items():
        listed = literals(found) if len(found) > 1 else literal(found[0])
        how = "IN" if len(found) > 1 else "="
        asked = values.of(field)
        others.append(asked.holds(_equals(how, listed), lowered=not cased))
    return others


def _equals(how: str, listed: str) -> Callable[[str], str]:
    return lambda text: f"{text} {how} {listed}"


def _test(value: Value, test: Test, values: Values, field: str) -> str:
    match test:
        case Present(wanted):
            return f"({value.present})" if wanted else f"NOT ({value.present})"
        case Text(op, text, cased):
            compare = _TEXT[op]
            return value.holds(lambda t: compare(t, literal(text)), lowered=not cased)
        case Pattern(regex, cased, None):
            spelled = literal(re2_of(regex))
            return value.holds(lambda t: f"match({t}, {spelled})", lowered=not cased)
        case Pattern():
            raise NotExpressible(f"{field}: look-around is not linear in ClickHouse")
        case Number(op, number):
            return _number(value, op, number)
        case TimePart(unit, op, number):
            return _time_part(value, unit, f"{_COMPARE[op]} {literal(number)}", field)
        case Truth(wanted):
            return _truth(value, wanted=wanted)
        case Cidr(network):
            return value.holds(lambda t: _within(t, network))
        case SameAs(other, op, cased):
            return _same(value, values.of(other), op, lowered=not cased)


def _number(value: Value, op: NumberOp, number: float) -> str:
    compare = f"{_COMPARE[op]} {literal(number)}"
    if value.kind in {"whole", "real"}:
        return f"ifNull({value.sql} {compare}, false)"
    if op == "eq" and abs(number) >= EXACT_WHOLE:
        return value.holds(lambda text: f"{text} = {literal(str(number))}")
    return value.holds(lambda text: f"ifNull(toFloat64OrNull({text}) {compare}, false)")


def _time_part(value: Value, unit: TimeUnit, compare: str, field: str) -> str:
    if value.kind != "time":
        raise NotExpressible(f"{field} is a text: ClickHouse reads other times than the engine")
    return f"ifNull({_PARTS[unit]}({value.sql}) {compare}, false)"


def _truth(value: Value, *, wanted: bool) -> str:
    if value.kind == "flag":
        return f"ifNull({value.sql} = {literal(wanted)}, false)"
    return value.holds(lambda text: f"{text} = {literal(str(wanted).lower())}", lowered=True)


def _within(text: str, network: IPv4Network | IPv6Network) -> str:
    first, last = literal(str(network.network_address)), literal(str(network.broadcast_address))
    if isinstance(network, IPv6Network):
        # An address may name the interface it is of.
        text = f"if(position({text}, ':') > 0, splitByChar('%', {text})[1], '')"
        between = f"toIPv6OrNull({text}) BETWEEN toIPv6({first}) AND toIPv6({last})"
        return f"ifNull({between}, false)"
    # The engine takes no number that begins with a zero.
    between = f"toIPv4OrNull({text}) BETWEEN toIPv4({first}) AND toIPv4({last})"
    return f"(ifNull({between}, false) AND NOT match({text}, {literal(_ZEROS)}))"


def _same(value: Value, other: Value, op: TextOp, *, lowered: bool) -> str:
    """Of lists, any value of the one so related to any of the other."""
    mine, theirs = value.text(lowered=lowered), other.text(lowered=lowered)
    there = all_of([value.present, other.present])
    related = _TEXT[op](
        "a" if value.kind == "texts" else mine, "b" if other.kind == "texts" else theirs
    )
    if other.kind == "texts":
        related = f"arrayExists(b -> {related}, {theirs})"
    if value.kind == "texts":
        related = f"arrayExists(a -> {related}, {mine})"
    return f"ifNull({there} AND {related}, false)"
