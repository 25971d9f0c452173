"""Events that rules were written for, and some that only look so: made of the rules' own words."""

import random
from collections.abc import Callable
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
    SigmaBool,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
)

Event = dict[str, Any]
_FILL = ["", "x", " a b ", "\n", "\u00e9\u0416", "K\u212a\u017f", "C:\\Temp\\", '"q"', "0", "//"]


def made(rule: SigmaRule, rng: random.Random, count: int) -> list[Event]:
    """So many events: the first as the rule wants it, the others changed a little."""
    trees = [one.parsed for one in rule.detection.parsed_condition]
    found = []
    for number in range(count):
        event: Event = {}
        _satisfy(rng.choice(trees), event, rng)
        for _ in range(number):
            _change(event, rng)
        found.append(_nested(event) if rng.random() < 0.3 else event)
    return found


def _satisfy(tree: Any, event: Event, rng: random.Random) -> None:
    match tree:
        case ConditionAND():
            for part in tree.args:
                _satisfy(part, event, rng)
        case ConditionOR():
            _satisfy(rng.choice(tree.args), event, rng)
        case ConditionNOT():
            if rng.random() < 0.1:
                _satisfy(tree.args[0], event, rng)
        case ConditionFieldEqualsValueExpression():
            _put(event, tree.field, _like(tree.value, rng))
        case ConditionValueExpression():
            _put(event, rng.choice(["message", "note"]), f"see {_like(tree.value, rng)} there")


def _put(event: Event, field: str, value: Any) -> None:
    """Of two texts that one field is to hold, both, one after the other."""
    known = event.get(field)
    both = isinstance(known, str) and isinstance(value, str)
    event[field] = f"{known}{value}" if both else value


def _like(wanted: Any, rng: random.Random) -> Any:
    match wanted:
        case SigmaExpansion():
            return _like(rng.choice(wanted.values), rng)
        case SigmaString():
            parts = (
                _cased(part, rng) if isinstance(part, str) else rng.choice(_FILL)
                for part in wanted.s
            )
            return "".join(parts)
        case SigmaBool():
            return rng.choice([wanted.boolean, str(wanted.boolean)])
        case SigmaNumber():
            return rng.choice([wanted.number, str(wanted.number), wanted.number + 1])
        case SigmaCompareExpression():
            return wanted.number.number + rng.choice([-1, 0, 1])
        case SigmaRegularExpression():
            return wanted.regexp.to_plain_regex().replace("\\", "").replace("(?:", "(")
        case SigmaCIDRExpression():
            return str(wanted.network[rng.choice([0, -1])])
        case SigmaExists():
            return rng.choice(["", "there"])
        case SigmaNull():
            return None
        case SigmaFieldReference():
            return "same"
    raise AssertionError(wanted)


def _cased(text: str, rng: random.Random) -> str:
    return rng.choice([text, text.upper(), text.lower(), text.swapcase()])


def _change(event: Event, rng: random.Random) -> None:
    if not event:
        return
    name = rng.choice(list(event))
    value = event[name]
    changes: list[Callable[[], object]] = [
        lambda: event.pop(name),
        lambda: event.update({name: None}),
        lambda: event.update({name: [value, "other"]}),
        lambda: event.update({name: []}),
        lambda: event.update({name: ""}),
        lambda: event.update({name: rng.choice([0, 1.5, True, 10**30])}),
        lambda: event.update({name.swapcase(): event.pop(name)}),
        lambda: event.update({f"{name}.inner": value}),
    ]
    if isinstance(value, str) and value:
        at = rng.randrange(len(value))
        changes += [
            lambda: event.update({name: value[:at] + value[at + 1 :]}),
            lambda: event.update({name: f"{value[:at]}{rng.choice(_FILL)}{value[at:]}"}),
            lambda: event.update({name: value.replace("\\", "/")}),
        ]
    rng.choice(changes)()


def _nested(event: Event) -> Event:
    """Names with dots as objects within objects; now and then in a list."""
    found: Event = {}
    for name, value in event.items():
        *heads, last = name.split(".")
        inner = found
        for head in heads:
            within = inner.setdefault(head, {})
            if not isinstance(within, dict):
                return event
            inner = within
        if isinstance(inner.get(last), dict):
            return event
        inner[last] = value
    return found
