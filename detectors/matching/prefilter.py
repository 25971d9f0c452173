"""Words that an event must contain for a rule to match: what is looked for before the rule is
asked.

A witness of a condition is a set of (column, word): no event matches unless one of the words
stands, without regard to ASCII case, in its column. Soundness is all that matters here: a condition
from which none can be derived has none and is asked of every event.
"""

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from tachograph.detectors.language.conditions import And, Leaf, Node, Not, Or, Pattern, Text
from tachograph.detectors.language.fields import FieldMap, Source, UnknownField

Witness = frozenset[tuple[str, str]]

# A shorter word stands in too many texts to be worth looking for.
MIN_WORD_CHARS = 3
MAX_WORDS = 256
# Characters whose lower case, or whose case-insensitive equal, is an ASCII letter: K, İ, ſ.
FOLDING = ("\u212a", "\u0130", "\u017f")
# Stands for all columns that a keyword is looked for in.
ANYWHERE = "\0anywhere"
# Stands for any character that is not ASCII.
NON_ASCII = "\0non-ascii"
# In JSON text any character may be written \u00xx.
JSON_ESCAPE = "\\u00"
_JSON_SAFE_RUN = re.compile(r"[ !#-.0-\[\]-~]+")


def witness(node: Node, fields: FieldMap) -> Witness | None:
    """The best witness of a condition, or None."""
    match node:
        case And(parts):
            found = [w for part in parts if (w := witness(part, fields)) is not None]
            return max(found, key=_worth, default=None)
        case Or(parts):
            return _union(witness(part, fields) for part in parts)
        case Leaf():
            return _of_leaf(node, fields)
        case Not():
            return None


def _worth(found: Witness) -> tuple[int, int]:
    """Longer words are rarer; of equally long ones, fewer."""
    return min(len(word) for _, word in found), -len(found)


def _union(found: Iterable[Witness | None]) -> Witness | None:
    whole: set[tuple[str, str]] = set()
    for one in found:
        if one is None:
            return None
        whole |= one
    return frozenset(whole) if 0 < len(whole) <= MAX_WORDS else None


def _of_leaf(leaf: Leaf, fields: FieldMap) -> Witness | None:
    if not isinstance(leaf.test, Text | Pattern):
        return None
    try:
        source = Source(ANYWHERE) if leaf.field is None else fields.source(leaf.field)
    except UnknownField:
        return None
    if source.attribute is not None:
        return None
    if isinstance(leaf.test, Pattern) and _beyond_ascii(leaf.test.regex):
        return frozenset({(source.column, NON_ASCII)}) if source.whole else None
    words = [leaf.test.value] if isinstance(leaf.test, Text) else required_words(leaf.test.regex)
    if not words:
        return None
    runs = caseless_runs if source.path is None else _JSON_SAFE_RUN.findall
    best = [max(runs(word), key=len, default="").lower() for word in words]
    if min(map(len, best)) < MIN_WORD_CHARS:
        return None
    escape = [JSON_ESCAPE] if source.path is not None else []
    return frozenset((source.column, word) for word in [*best, *escape])


def caseless_runs(word: str) -> list[str]:
    """Parts of a word whose case an ASCII-only comparison can disregard."""
    return "".join(c if c.isascii() or c.lower() == c.upper() else "\0" for c in word).split("\0")


def _beyond_ascii(regex: str) -> bool:
    """Every match of the regex holds a character that is not ASCII: it is made of sets of such
    alone.
    """
    if not re.fullmatch(r"(\[[^\]]+\](\{\d+,?\d*\})?\|?)+", regex):
        return False
    inner = re.findall(r"\[([^\]]+)\]", regex)
    plain = [re.sub(r"\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}", "\u00a0", part) for part in inner]
    ranges = [part.replace("-", "") for part in plain]
    return all(part and not any(c.isascii() for c in part) for part in ranges)


def required_words(regex: str) -> list[str]:
    """Words of which every match of the regex contains one; empty when there is no saying."""
    try:
        from re import _parser  # type: ignore[attr-defined]
    except ImportError:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = _parser.parse(regex.replace("(?-u:\\b)", "\\b").replace("\\z", "\\Z"))
    except (re.error, RecursionError, OverflowError):
        return []
    found = _words_of(list(tree))
    return [] if found is None else found[:MAX_WORDS] if len(found) <= MAX_WORDS else []


def _words_of(tree: Sequence[tuple[Any, Any]]) -> list[str] | None:
    """Of the runs and alternatives in a sequence, the one whose shortest word is longest."""
    candidates: list[list[str]] = []
    run: list[str] = []
    for op, argument in [*tree, ("end", None)]:
        name = str(op)
        if name == "LITERAL":
            run.append(chr(argument))
            continue
        if name == "AT":
            continue
        if run:
            candidates.append(["".join(run)])
            run = []
        inner = _inner_words(name, argument)
        if inner:
            candidates.append(inner)
    return max(candidates, key=lambda words: min(map(len, words)), default=None)


def _inner_words(name: str, argument: Any) -> list[str] | None:
    if name == "SUBPATTERN":
        return _words_of(list(argument[3]))
    if name in {"MAX_REPEAT", "MIN_REPEAT"} and argument[0] >= 1:
        return _words_of(list(argument[2]))
    if name == "BRANCH":
        found = [_words_of(list(branch)) for branch in argument[1]]
        if all(found):
            return [word for words in found if words for word in words]
    return None
