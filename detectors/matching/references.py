r"""Expressions that refer back to a group, as `(\w+) \1`: a rough one that any engine can run, and
an exact judge for the texts that it finds.

No engine of linear time knows these. The rough expression asks for another text of the group where
the same one is meant. What it finds is judged here by sets: from each place of the text, all places
where each part may end, with what the groups hold by then; each is found out once. The work is
bounded: a text that would take more counts as the rough expression says, which is that it matches.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from tachograph.detectors.matching.expressions import ready
from tachograph.detectors.matching.regex_tree import (
    Alt,
    Anchor,
    AnchorKind,
    Cat,
    Chars,
    Group,
    Look,
    Reference,
    Repeat,
    Tree,
    UnsupportedLook,
    parse,
)

# Questions that a text may take: some hundred milliseconds.
MAX_STEPS = 200_000
# Answers kept, of an expression for one character and a character each.
MAX_CHARS = 65_536
_MAX_RUN_CHARS = 8
_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]")
# A place of the text, and what the groups hold there: number, begin, end.
_Held = tuple[tuple[int, int, int], ...]
_Reached = frozenset[tuple[int, _Held]]


class _TooMuch(Exception):
    """The text would take more steps than there are."""


def has_reference(pattern: str) -> bool:
    """Whether an expression seems to refer to a group."""
    return _REFERENCE.search(pattern) is not None


def references_of(pattern: str) -> list[Reference]:
    """What refers to groups in the expression. Raises UnsupportedLook if that is not supported."""
    if not has_reference(pattern):
        return []
    tree = parse(pattern, references=True)
    found = [part for part in _every(tree) if isinstance(part, Reference)]
    if found:
        closed: set[int] = set()
        for part in _every(tree):
            if isinstance(part, Look):
                raise UnsupportedLook("look-around beside back-references")
            if isinstance(part, Group):
                closed.add(part.number)
            if isinstance(part, Reference) and part.number not in closed:
                raise UnsupportedLook(f"back-reference \\{part.number} to no group before it")
    return found


def rough(pattern: str) -> str:
    """The expression with each reference replaced by what its group asks for."""
    tree = parse(pattern, references=True)
    groups = {part.number: part for part in _every(tree) if isinstance(part, Group)}
    return _without(pattern, (0, len(pattern)), tree, groups)


def _without(pattern: str, span: tuple[int, int], tree: Tree, groups: Mapping[int, Group]) -> str:
    parts, at = [], span[0]
    for part in _every(tree):
        if not isinstance(part, Reference) or not span[0] <= part.span[0] < span[1]:
            continue
        parts += [pattern[at : part.span[0]], _meant(pattern, part, groups)]
        at = part.span[1]
    return "".join([*parts, pattern[at : span[1]]])


def _meant(pattern: str, reference: Reference, groups: Mapping[int, Group]) -> str:
    """What matches any text that the reference may."""
    group = groups[reference.number]
    if any(isinstance(part, Anchor) for part in _every(group.inner)):
        # What stood around the group need not stand around the reference.
        return _ANYTHING
    inner = _without(pattern, group.span_inner, group.inner, groups)
    flags = group.flags + ("i" if reference.folded and "i" not in group.flags else "")
    return f"(?{flags}:{inner})"


def _every(tree: Tree) -> Iterator[Tree]:
    """All parts in the order they are written, a group after what is in it."""
    match tree:
        case Cat(parts) | Alt(parts):
            for part in parts:
                yield from _every(part)
        case Repeat(inner) | Look(inner=inner) | Group(inner=inner):
            yield from _every(inner)
    yield tree


class Referring:
    """An expression with references, ready to be asked of texts."""

    def __init__(self, exact: str, max_steps: int = MAX_STEPS) -> None:
        self._tree = parse(exact, references=True)
        self._max_steps = max_steps
        # How often the text of each group stands in every match at least.
        groups = [part for part in _every(self._tree) if isinstance(part, Group)]
        self._times = {one.number: 1 + _references(self._tree, one.number) for one in groups}
        # What the text must repeat, so many times: a run of so many characters.
        self._repeats, chars = max((self._times[g.number], _shortest(g.inner)) for g in groups)
        self._run_chars = min(chars, _MAX_RUN_CHARS)
        self._firsts, self._empty = _firsts(self._tree)

    def matches(self, text: str) -> bool:
        """Whether it matches anywhere in a text that the rough expression matches."""
        if not self._may(text):
            return False
        run = _Run(text, self._times, self._max_steps)
        try:
            return any(run.ends(self._tree, at, ()) for at in self._begins(text))
        except _TooMuch:
            return True

    def _begins(self, text: str) -> Iterable[int]:
        """Places where a match may begin."""
        if self._empty:
            return range(len(text) + 1)
        good = {char for char in set(text) if any(_is(source, char) for source in self._firsts)}
        return [at for at, char in enumerate(text) if char in good]

    def _may(self, text: str) -> bool:
        """Whether any run of characters stands in the text as often as it must."""
        if not self._run_chars:
            return True
        # Whatever case may be disregarded, it is here.
        text = text.casefold()
        runs = zip(*(text[at:] for at in range(self._run_chars)), strict=False)
        return max(Counter(runs).values(), default=0) >= self._repeats


def _references(tree: Tree, number: int) -> int:
    """How many references to the group every match has."""
    match tree:
        case Reference():
            return int(tree.number == number)
        case Cat(parts):
            return sum(_references(part, number) for part in parts)
        case Alt(parts):
            return min(_references(part, number) for part in parts)
        case Repeat(inner, least):
            return least * _references(inner, number)
        case Group(_, inner):
            return _references(inner, number)
    return 0


def _shortest(tree: Tree) -> int:
    """Characters of the shortest text that it matches."""
    match tree:
        case Chars():
            return 1
        case Cat(parts):
            return sum(map(_shortest, parts))
        case Alt(parts):
            return min(map(_shortest, parts))
        case Repeat(inner, least):
            return least * _shortest(inner)
        case Group(_, inner):
            return _shortest(inner)
    return 0


def _firsts(tree: Tree) -> tuple[frozenset[str], bool]:
    """Characters that a match may begin with, as expressions, and whether it may be empty, or begin
    with what is not known.
    """
    match tree:
        case Chars(source):
            return frozenset({source}), False
        case Cat(parts):
            found: frozenset[str] = frozenset()
            for part in parts:
                more, empty = _firsts(part)
                found |= more
                if not empty:
                    return found, False
            return found, True
        case Alt(parts):
            each = [_firsts(part) for part in parts]
            return frozenset().union(*(more for more, _ in each)), any(empty for _, empty in each)
        case Repeat(inner, least):
            more, empty = _firsts(inner)
            return more, empty or not least
        case Group(_, inner):
            return _firsts(inner)
    return frozenset(), True


class _Run:
    """One text."""

    def __init__(self, text: str, times: Mapping[int, int], max_steps: int) -> None:
        self._text, self._folded = text, text.casefold()
        self._times = times
        self._left = max_steps
        self._counted: dict[str, int] = {}
        self._known: dict[tuple[int, int, _Held], _Reached] = {}

    def ends(self, tree: Tree, at: int, held: _Held) -> _Reached:
        """Where the part may end that begins at the place, and what is held then."""
        self._left -= 1
        if self._left < 0:
            raise _TooMuch
        match tree:
            case Chars(source):
                return frozenset({(at + 1, held)}) if self._is(source, at) else _NOWHERE
            case Anchor(kind):
                return frozenset({(at, held)}) if self._stands(kind, at) else _NOWHERE
            case Reference():
                return self._same(tree, at, held)
        key = (id(tree), at, held)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._composed(tree, at, held)
        return known

    def _composed(self, tree: Tree, at: int, held: _Held) -> _Reached:
        match tree:
            case Group(number, inner):
                others = tuple(one for one in held if one[0] != number)
                return frozenset(
                    (end, (*(one for one in then if one[0] != number), (number, at, end)))
                    for end, then in self.ends(inner, at, others)
                    if self._stands_often(at, end, self._times[number])
                )
            case Cat(parts):
                reached: _Reached = frozenset({(at, held)})
                for part in parts:
                    reached = self._after(reached, part)
                    if not reached:
                        break
                return reached
            case Alt(parts):
                return frozenset().union(*(self.ends(part, at, held) for part in parts))
            case Repeat(Chars(source), least, most):
                return self._run_of(source, least, most, at, held)
            case Repeat(inner, least, most):
                return self._repeated(inner, least, most, frozenset({(at, held)}))
        raise UnsupportedLook("look-around beside back-references")

    def _stands_often(self, at: int, end: int, times: int) -> bool:
        """Whether what a group holds stands in the text as often as a match needs it to."""
        held = self._text[at:end].casefold()
        if times == 1 or not held:
            return True
        count = self._counted.get(held)
        if count is None:
            count = self._counted[held] = self._folded.count(held)
        return count >= times

    def _after(self, reached: _Reached, part: Tree) -> _Reached:
        if len(reached) == 1:
            ((at, held),) = reached
            return self.ends(part, at, held)
        return frozenset().union(*(self.ends(part, at, held) for at, held in reached))

    def _repeated(self, inner: Tree, least: int, most: int | None, begin: _Reached) -> _Reached:
        reached = begin
        for _ in range(least):
            reached = self._after(reached, inner)
        found = new = reached
        times = least
        while new and (most is None or times < most):
            new = self._after(new, inner) - found
            found |= new
            times += 1
        return found

    def _run_of(self, source: str, least: int, most: int | None, at: int, held: _Held) -> _Reached:
        """So many characters one after the other: the usual case, without sets on the way."""
        end = at
        while (most is None or end - at < most) and self._is(source, end):
            end += 1
        self._left -= end - at
        return frozenset((place, held) for place in range(at + least, end + 1))

    def _is(self, source: str, at: int) -> bool:
        return at < len(self._text) and _is(source, self._text[at])

    def _stands(self, kind: AnchorKind, at: int) -> bool:
        text = self._text
        match kind:
            case "start":
                return at == 0
            case "end":
                return at == len(text)
            case "line start":
                return at == 0 or text[at - 1] == "\n"
            case "line end":
                return at == len(text) or text[at] == "\n"
        edge = _in_word(text[at - 1 : at] if at else "") != _in_word(text[at : at + 1])
        return edge == (kind == "word")

    def _same(self, reference: Reference, at: int, held: _Held) -> _Reached:
        for number, begin, end in held:
            if number == reference.number:
                meant = self._text[begin:end]
                there = self._text[at : at + len(meant)]
                same = there == meant or (reference.folded and there.lower() == meant.lower())
                return frozenset({(at + len(meant), held)}) if same else _NOWHERE
        return _NOWHERE


_NOWHERE: _Reached = frozenset()
_ANYTHING = "(?s:.*)"


@functools.lru_cache(maxsize=MAX_CHARS)
def _is(source: str, char: str) -> bool:
    """Whether the expression for one character matches it."""
    (found,) = ready(f"\\A(?:{source})\\z").matches([char])
    return found


def _in_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")
