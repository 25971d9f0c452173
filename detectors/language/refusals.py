"""What pySigma says of a rule that it refuses, in words that do without knowing pySigma."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Final

from sigma.exceptions import SigmaError, SigmaModifierError, SigmaTimespanError
from sigma.modifiers import modifier_mapping

_MODIFIERS: Final = {kind.__name__: name for name, kind in modifier_mapping.items()}
_KINDS: Final = {"dict": "a mapping", "list": "a list within a list"}
_WORDS: Final = frozenset({"AND", "OR", "NOT", "OF", "THEM", "ALL", "ANY"})


def in_words(error: SigmaError) -> str:
    """What is wrong, without the place that pySigma adds (we name a better one)."""
    words = str(error.args[0]) if error.args else type(error).__name__
    for shape, plainer in _PLAINER:
        if found := shape.match(words):
            return plainer(found)
    return words + _advice(error, words)


def _advice(error: SigmaError, words: str) -> str:
    """What to write instead, where that can be told."""
    match error:
        case SigmaTimespanError():
            return " A number and one of s, m, h, d, w, M, y is valid: 15m"
        case SigmaModifierError():
            asked = words.rpartition(" ")[2].strip("'")
            near = get_close_matches(asked, modifier_mapping, 1)
            return f"; did you mean {near[0]}?" if near and asked not in modifier_mapping else ""
    return ""


def _value(found: re.Match[str]) -> str:
    name = _MODIFIERS.get(found[1], found[1])
    return f"modifier {name} does not take {found[2].strip()!r}"


def _kind(found: re.Match[str]) -> str:
    kind = _KINDS.get(found[1], found[1])
    return f"a value is a text, a number, true, false or null, not {kind}"


def _condition(found: re.Match[str]) -> str:
    word = found[1]
    small = f": write {word.lower()}" if word in _WORDS else ""
    return f"the condition cannot be read from {word!r} on{small}"


def _ended(_: re.Match[str]) -> str:
    return "the condition ends too early, or a parenthesis is left open"


def _no_number(found: re.Match[str]) -> str:
    return f"{found[1]!r} is no number, which transformation convert_type makes of it"


def _aggregation(_: re.Match[str]) -> str:
    return "aggregations in conditions were taken out of Sigma: write a correlation"


_PLAINER: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(r"Modifier (\w+) incompatible to value type of '(.*)'", re.DOTALL), _value),
    (re.compile(r"Unsupported type: <class '(?:\w+\.)*(\w+)'>"), _kind),
    (re.compile(r".*, found end of text"), _ended),
    (re.compile(r"Expected .*, found '(.*?)'  \(at char", re.DOTALL), _condition),
    (re.compile(r"Value '(.*)' can't be converted to number for", re.DOTALL), _no_number),
    (re.compile(r"The pipe syntax in Sigma conditions"), _aggregation),
)
