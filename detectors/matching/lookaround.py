"""Look-around in linear time: what a fast engine looks for first, and the exact answer for what it
finds.

An expression with `(?=…)`, `(?!…)`, `(?<=…)`, `(?<!…)`, of any length, is split. Without its looks
it matches more, never less, and any engine can run it. What that finds is judged here: each look
becomes a truth for every place of the text, the innermost first, and the expression then runs as
sets of positions with those truths as its guards. Time is text times expression, whatever they are.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from tachograph.detectors.language.regexes import UnsupportedRegex, checked, spelled
from tachograph.detectors.matching.positions import MAX_POSITIONS, Positions, TooLarge, Truth
from tachograph.detectors.matching.references import Referring, has_reference, references_of
from tachograph.detectors.matching.references import rough as rough_of
from tachograph.detectors.matching.regex_tree import (
    Alt,
    Anchor,
    AnchorKind,
    Cat,
    Look,
    Repeat,
    Tree,
    UnsupportedLook,
    has_look,
    parse,
)

# Expressions kept ready.
MAX_READY = 512
_NOTHING = "(?:)"
_WORD = re.compile(r"[A-Za-z0-9_]+")
_LINE = re.compile(r"\n")

__all__ = ["Split", "exactly", "holding", "needs_judge", "split"]


@dataclass(frozen=True, slots=True)
class Split:
    """`rough` matches wherever `exact` does, and each of `musts` too; only `exact` looks around or
    refers to groups.
    """

    exact: str
    rough: str
    musts: tuple[str, ...]


def needs_judge(pattern: str) -> bool:
    """Whether an expression seems to ask what no fast engine can answer."""
    return has_look(pattern) or has_reference(pattern)


def split(pattern: str, flags: str = "") -> Split:
    """Take an expression apart. Raises UnsupportedRegex."""
    exact = spelled(pattern, flags)
    try:
        if references_of(exact):
            return Split(exact, checked(rough_of(exact)), ())
        tree = parse(exact)
        _ready(exact)
    except (UnsupportedLook, TooLarge) as error:
        raise UnsupportedRegex(str(error)) from error
    outer = list(_looks(tree))
    for look in _every(tree):
        _without(exact, look.span_inner, list(_looks(look.inner)), look.flags)
    rough = _without(exact, (0, len(exact)), outer)
    musts = [
        _without(exact, look.span_inner, list(_looks(look.inner)), look.flags)
        for look in _certain(tree)
        if not look.negative
    ]
    return Split(exact, rough, tuple(must for must in musts if not _says_nothing(must)))


def holding(texts: pl.Series, exact: str, rough: str) -> pl.Series:
    """Which texts the exact expression matches; null where there is no text."""
    found = texts.str.contains(rough)
    places = found.arg_true()
    if places.is_empty():
        return found
    judge = _ready(exact)
    judged = [judge.matches(text) for text in texts.gather(places).to_list()]
    return found.scatter(places, judged)


def exactly(exact: str, texts: Sequence[str], found: Sequence[bool]) -> list[bool]:
    """Which of the texts in which the rough expression was found the exact one matches."""
    judge = _ready(exact)
    return [hit and judge.matches(text) for text, hit in zip(texts, found, strict=True)]


def _without(exact: str, span: tuple[int, int], looks: Sequence[Look], flags: str = "") -> str:
    """The part of the expression without these looks in it, checked. Raises UnsupportedRegex."""
    parts, at = [f"(?{flags})" if flags else ""], span[0]
    for look in looks:
        parts += [exact[at : look.span[0]], _NOTHING]
        at = look.span[1]
    return checked("".join([*parts, exact[at : span[1]]]))


def _says_nothing(pattern: str) -> bool:
    """Whether it matches the empty text, and so every text."""
    return bool(pl.Series([""]).str.contains(pattern)[0])


def _looks(tree: Tree) -> Iterator[Look]:
    """The outermost looks, in order."""
    match tree:
        case Look():
            yield tree
        case Cat(parts) | Alt(parts):
            for part in parts:
                yield from _looks(part)
        case Repeat(inner):
            yield from _looks(inner)


def _every(tree: Tree) -> Iterator[Look]:
    """All looks, the innermost first."""
    for look in _looks(tree):
        yield from _every(look.inner)
        yield look


def _certain(tree: Tree) -> Iterator[Look]:
    """Looks that every match passes."""
    match tree:
        case Look():
            yield tree
        case Cat(parts):
            for part in parts:
                yield from _certain(part)
        case Repeat(inner, least) if least > 0:
            yield from _certain(inner)


class _Judge:
    """An expression ready to be asked of texts."""

    def __init__(self, exact: str) -> None:
        tree = parse(exact)
        self._looks = list(dict.fromkeys(_every(tree)))
        anchors = sorted({anchor.kind for anchor in _anchors(tree)})
        self._anchors = [(Anchor(kind), kind) for kind in anchors]
        self._finders = [
            Positions(_reversed(look.inner) if look.ahead else look.inner) for look in self._looks
        ]
        self._whole = Positions(tree)
        if sum(p.size for p in [self._whole, *self._finders]) > MAX_POSITIONS:
            raise TooLarge(f"more than {MAX_POSITIONS} positions with all repetitions written out")

    def matches(self, text: str) -> bool:
        """Whether it matches anywhere in the text."""
        truths: dict[Tree, Truth] = {
            anchor: Truth(kind == "no word", _places(text, kind)) for anchor, kind in self._anchors
        }
        for look, finder in zip(self._looks, self._finders, strict=True):
            found = finder.places(text, truths, backwards=look.ahead)
            truths[look] = Truth(look.negative, found)
        return self._whole.anywhere(text, truths)


@functools.lru_cache(maxsize=MAX_READY)
def _ready(exact: str) -> "_Judge | Referring":
    return Referring(exact) if references_of(exact) else _Judge(exact)


def _anchors(tree: Tree) -> Iterator[Anchor]:
    match tree:
        case Anchor():
            yield tree
        case Cat(parts) | Alt(parts):
            for part in parts:
                yield from _anchors(part)
        case Repeat(inner) | Look(inner=inner):
            yield from _anchors(inner)


def _reversed(tree: Tree) -> Tree:
    """The tree for a text read backwards; places are places either way."""
    match tree:
        case Cat(parts):
            return Cat(tuple(_reversed(part) for part in reversed(parts)))
        case Alt(parts):
            return Alt(tuple(_reversed(part) for part in parts))
        case Repeat(inner, least, most):
            return Repeat(_reversed(inner), least, most)
    return tree


def _places(text: str, kind: AnchorKind) -> list[int]:
    """The places of a text that are of the kind; of "no word", those that are not."""
    match kind:
        case "start":
            return [0]
        case "end":
            return [len(text)]
        case "line start":
            return [0, *(found.end() for found in _LINE.finditer(text))]
        case "line end":
            return [*(found.start() for found in _LINE.finditer(text)), len(text)]
    return [edge for found in _WORD.finditer(text) for edge in found.span()]
