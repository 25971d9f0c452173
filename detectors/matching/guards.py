"""Words that a text must hold for a test to pass: who holds none of them is not asked in full.

Soundness is all that matters here: a test from which no words follow has no guard.
"""

import re
import warnings
from collections.abc import Sequence
from typing import Any

from tachograph.detectors.language.conditions import Pattern, Test, Text

# A shorter word stands in too many texts to be worth looking for.
MIN_WORD_CHARS = 3
MAX_WORDS = 256
# Equal to s where case is ignored, and yet its own lower case.
LONG_S = "\u017f"
# Small sigma is written another way at the end of a word: its case depends on what stands around.
_SIGMA = re.compile("[Σσς]")
# In JSON text any character may be written \u00xx.
JSON_ESCAPE = "\\u00"
_JSON_SAFE_RUN = re.compile(r"[ !#-.0-\[\]-~]+")
_ASCII_RUN = re.compile(r"[\x00-\x7f]+")


def guard(test: Test, *, in_json: bool = False) -> list[str]:
    """Words in lower case, one of which stands in the lower-cased text wherever the test passes;
    empty when there is no saying.

    `in_json`: the text is JSON, and the test is asked of something within.
    """
    match test:
        case Text(_, value):
            words, whole = [value], True
        case Pattern(regex, cased):
            # A pattern for lower-case text says exactly what stands there.
            words, whole = required_words(regex), not cased
        case _:
            return []
    found: set[str] = set()
    for word in words:
        best = max(_runs(word, whole=whole, in_json=in_json), key=len, default="").lower()
        if len(best) < MIN_WORD_CHARS:
            return []
        found.add(best)
        if not whole and "s" in best:
            found.add(LONG_S)
    return sorted(found | {JSON_ESCAPE}) if found and in_json else sorted(found)


def _runs(word: str, *, whole: bool, in_json: bool) -> list[str]:
    if in_json:
        return _JSON_SAFE_RUN.findall(word)
    return _SIGMA.split(word) if whole else _ASCII_RUN.findall(word)


def beyond_ascii(test: Test) -> bool:
    """Every text that passes holds a character that is not ASCII: the test is a regex made of sets
    of such alone.
    """
    if not isinstance(test, Pattern):
        return False
    if not re.fullmatch(r"(\[[^\]]+\](\{\d+,?\d*\})?\|?)+", test.regex):
        return False
    inner = re.findall(r"\[([^\]]+)\]", test.regex)
    plain = [re.sub(r"\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}", "\u00a0", part) for part in inner]
    ranges = [part.replace("-", "") for part in plain]
    return all(part and not any(c.isascii() for c in part) for part in ranges)


def required_words(regex: str) -> list[str]:
    """Words of which every match of the regex contains one; empty when there is no saying."""
    if "[:" in regex or "&&" in regex:
        return []  # sets that Python's parser reads otherwise
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
