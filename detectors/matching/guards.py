"""Words that a text must hold for a test to pass: who holds none of them is not asked in full.

Soundness is all that matters here: a test from which no words follow has no guard.
"""

import re
from collections.abc import Iterator

from tachograph.detectors.language.conditions import Pattern, Test, Text
from tachograph.detectors.matching.factors import MIN_WORTH, NON_ASCII, branches_of, worth

# A shorter word stands in too many texts to be worth looking for.
MIN_WORD_CHARS = 3
# Equal to s where case is ignored, and yet its own lower case.
LONG_S = "\u017f"
# Small sigma is written another way at the end of a word: its case depends on what stands around.
_SIGMA = re.compile("[Σσς]")
# In JSON text any character may be written \u00xx.
JSON_ESCAPE = "\\u00"
_JSON_SAFE_RUN = re.compile(r"[ !#-.0-\[\]-~]+")

# Of one branch at least, of each of its groups at least one word stands in the lower-cased text.
Branches = list[list[list[str]]]


def guard(test: Test, *, in_json: bool = False) -> Branches:
    """What must stand in a text for the test to pass; empty when there is no saying.

    `in_json`: the text is JSON, and the test is asked of something within.
    """
    branches = [list(_groups(branch, in_json=in_json)) for branch in _branches(test)]
    return branches if all(branches) else []


def _branches(test: Test) -> tuple[tuple[tuple[str, ...], ...], ...]:
    match test:
        case Text(_, value):
            word = max(_SIGMA.split(value), key=len).lower()
            if len(word) >= MIN_WORD_CHARS:
                return (((word,),),)
            return () if value.isascii() else (((NON_ASCII,),),)
        case Pattern(regex, cased):
            return tuple(
                tuple(_folded(group) if cased else group for group in branch)
                for branch in branches_of(regex)
            )
    return ()


def _folded(group: tuple[str, ...]) -> tuple[str, ...]:
    """With the letter that an s may be, should the expression disregard case."""
    return (*group, LONG_S) if any("s" in word for word in group) else group


def _groups(branch: tuple[tuple[str, ...], ...], *, in_json: bool) -> Iterator[list[str]]:
    for group in branch:
        if not in_json:
            yield list(group)
            continue
        words = [max(_JSON_SAFE_RUN.findall(word), key=len, default="") for word in group]
        if NON_ASCII not in group and all(worth(word) >= MIN_WORTH for word in words):
            yield [*words, JSON_ESCAPE]
