"""What every match of an expression contains: for one of its branches, one word of each of several
groups.

Words are in lower case and so rare that looking for them pays. Leaving out a group, or the branches
for one group of all of them, is sound; more of them leave fewer texts to be asked. NON_ASCII stands
for any character that is not ASCII.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tachograph.detectors.matching.regex_tree import (
    Alt,
    Cat,
    Chars,
    Repeat,
    Tree,
    UnsupportedLook,
    parse,
)

MIN_WORTH = 3
NON_ASCII = "\0beyond ascii"
# Words of a group, groups of a branch and branches of an expression: more cost more than they
# spare.
MAX_WORDS = 256
MAX_GROUPS = 5
MAX_BRANCHES = 24
# Texts that a part of an expression may be, written out.
_MAX_EXACT = 48
_MAX_EXACT_CHARS = 48
_SMALL_SET = 4
_FLAG_GROUP = re.compile(r"\(\?[ims]*:(.+)\)\Z", re.DOTALL)
_CODE = re.compile(
    r"\\(?:[ux]\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2}))\Z"
)
_SIMPLE = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\f": "\f", "\\v": "\v"}
_MEMBER = re.compile(
    r"\\(?:[ux]\{[0-9a-fA-F]+\}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|.)|.", re.DOTALL
)

# Marks so rare in prose that one alone is worth looking for.
_RARE = frozenset("|`$<>{}[]=\\/*&%#@^~+_") | frozenset(map(chr, range(9))) | {"\x1b", "\x7f"}
# Characters of which ASCII letters are another case: k and s.
_FOLDED = (0x17F, 0x212A)

Group = frozenset[str]
Branch = frozenset[Group]
# The branches of an expression, each its groups, the rarest first.
Branches = tuple[tuple[tuple[str, ...], ...], ...]

# Branches already worked out, by the expression.
MAX_KNOWN = 16_384
_known: dict[str, Branches] = {}


@dataclass(frozen=True)
class _Part:
    """A part of an expression: the texts it may be, if they are few, and what it contains, branch
    by branch.
    """

    exact: frozenset[str] | None = None
    branches: tuple[Branch, ...] = (frozenset(),)


_NOTHING = _Part(frozenset({""}))
_ANYTHING = _Part()


def branches_of(pattern: str) -> Branches:
    """The branches; none when nothing follows from the expression."""
    found = _known.get(pattern)
    if found is None:
        found = _worked_out(pattern)
        remember({pattern: found})
    return found


def remember(branches: Mapping[str, Branches]) -> None:
    """Take what `branches_of` gave in another process: working it out takes long."""
    if len(_known) + len(branches) > MAX_KNOWN:
        _known.clear()
    if len(branches) <= MAX_KNOWN:
        _known.update(branches)


def _worked_out(pattern: str) -> Branches:
    try:
        part = _part(parse(pattern))
    except UnsupportedLook:
        return ()
    branches = dict.fromkeys(_closed(part))
    if frozenset() in branches:
        return ()
    return tuple(_ordered(branch) for branch in branches)


def _ordered(branch: Branch) -> tuple[tuple[str, ...], ...]:
    best = sorted(branch, key=_worth, reverse=True)[:MAX_GROUPS]
    return tuple(tuple(sorted(group)) for group in best)


def _worth(group: Group) -> tuple[int, int]:
    """Longer words are rarer; of equally long ones, fewer."""
    return min(map(worth, group - {NON_ASCII}), default=MIN_WORTH), -len(group)


def _part(tree: Tree) -> _Part:
    match tree:
        case Chars(source):
            chars = _chars(source)
            if chars is not None:
                return _Part(frozenset(chars))
            return _Part(None, (_with(NON_ASCII),)) if _beyond_ascii(source) else _ANYTHING
        case Cat(parts):
            return _one_after_the_other([_part(part) for part in parts])
        case Alt(parts):
            return _any_of([_part(part) for part in parts])
        case Repeat(inner, least, most):
            return _repeated(_part(inner), least, most)
    # A place between characters.
    return _NOTHING


def _with(word: str) -> Branch:
    return frozenset({frozenset({word})})


def _one_after_the_other(parts: Sequence[_Part]) -> _Part:
    branches: tuple[Branch, ...] = (frozenset(),)
    run: frozenset[str] = frozenset({""})
    whole = True
    for part in parts:
        longer = None if part.exact is None else _product(run, part.exact)
        if longer is not None:
            run = longer
            continue
        whole = False
        branches = _both(branches, (_grouped(run),))
        if part.exact is None:
            branches = _both(branches, part.branches)
        run = part.exact or frozenset({""})
    if whole:
        return _Part(run)
    return _Part(None, _both(branches, (_grouped(run),)))


def _both(one: tuple[Branch, ...], other: tuple[Branch, ...]) -> tuple[Branch, ...]:
    """Branches of which each says what one of each side says."""
    if len(one) * len(other) > MAX_BRANCHES:
        one, other = (one, _joined(other)) if len(other) <= len(one) else (_joined(one), other)
    return tuple(dict.fromkeys(first | second for first in one for second in other))


def _joined(branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
    """One branch for all: a word of the best group of any."""
    if any(not branch for branch in branches):
        return (frozenset(),)
    best = [max(branch, key=_worth) for branch in branches]
    return (_shortened(frozenset().union(*best)),)


def _product(one: frozenset[str], other: frozenset[str]) -> frozenset[str] | None:
    if len(one) * len(other) > _MAX_EXACT:
        return None
    if max(map(len, one)) + max(map(len, other)) > _MAX_EXACT_CHARS:
        return None
    return frozenset(first + second for first in one for second in other)


def _any_of(parts: Sequence[_Part]) -> _Part:
    exacts = [part.exact for part in parts if part.exact is not None]
    if len(exacts) == len(parts):
        union = frozenset().union(*exacts)
        if len(union) <= MAX_WORDS:
            return _Part(union)
    branches = tuple(dict.fromkeys(branch for part in parts for branch in _closed(part)))
    if frozenset() in branches:
        return _ANYTHING
    return _Part(None, branches if len(branches) <= MAX_BRANCHES else _joined(branches))


def _closed(part: _Part) -> tuple[Branch, ...]:
    """What a part contains, its own texts among it."""
    return part.branches if part.exact is None else (_grouped(part.exact),)


def _repeated(inner: _Part, least: int, most: int | None) -> _Part:
    if least == 0:
        if most == 1 and inner.exact is not None and len(inner.exact) < _MAX_EXACT:
            return _Part(inner.exact | {""})
        return _ANYTHING
    if least == most == 1:
        return inner
    if least == most and inner.exact is not None:
        run: frozenset[str] | None = inner.exact
        for _ in range(least - 1):
            run = None if run is None else _product(run, inner.exact)
        if run is not None:
            return _Part(run)
    return _Part(None, _closed(inner))


def _grouped(texts: Iterable[str]) -> Branch:
    """A group of one word of each text, if all have one that is worth looking for."""
    found: set[str] = set()
    for text in texts:
        word = max(_words(text), key=worth, default="")
        if worth(word) < MIN_WORTH:
            if not any(ord(char) >= 0x80 and ord(char) not in _FOLDED for char in text):
                return frozenset()
            word = NON_ASCII
        found.add(word)
    return _shortened(frozenset(found)) if found else frozenset()


def _words(text: str) -> list[str]:
    """Parts of a text whose characters have one lower case, whatever stands around them."""
    kept = "".join(c if c.isascii() or c.lower() == c.upper() else "\0" for c in text)
    return [word for word in kept.split("\0") if word]


def worth(word: str) -> int:
    """How much looking for a word spares: bytes, marks counting double, and rare ones more."""
    return sum(
        3 if not char.isascii() or char in _RARE else 1 if char.isalnum() or char.isspace() else 2
        for char in word
    )


def _shortened(words: frozenset[str]) -> Branch:
    """The group without words that contain another one; none if it is too large."""
    kept: list[str] = []
    for word in sorted(words, key=len):
        if not any(short in word for short in kept):
            kept.append(word)
    return frozenset({frozenset(kept)}) if 0 < len(kept) <= MAX_WORDS else frozenset()


def _chars(source: str) -> set[str] | None:
    """The characters, in lower case, that a source means, if they are few."""
    inner = _FLAG_GROUP.match(source)
    text = inner[1] if inner is not None else source
    if text.startswith("["):
        return _of_set(text)
    char = _char(text)
    return None if char is None else {char.lower()}


def _char(text: str) -> str | None:
    """The one character that it means."""
    if len(text) == 1:
        return None if text == "." else text
    code = _CODE.match(text)
    if code is not None:
        number = int(next(filter(None, code.groups())), 16)
        return chr(number) if number <= sys.maxunicode else None
    if text in _SIMPLE:
        return _SIMPLE[text]
    if len(text) == 2 and text[0] == "\\" and not text[1].isalnum():
        return text[1]
    return None


def _of_set(text: str) -> set[str] | None:
    members = _MEMBER.findall(text[1:-1])
    if not members or members[0] == "^" or len(members) > 2 * _SMALL_SET:
        return None
    if "-" in members[1:-1] or "[" in members:
        return None
    chars = [_char(member) for member in members]
    found = {char.lower() for char in chars if char is not None}
    return found if None not in chars and len(found) <= _SMALL_SET else None


def _beyond_ascii(source: str) -> bool:
    """Whether a set holds no ASCII character, in any case."""
    inner = _FLAG_GROUP.match(source)
    text = inner[1] if inner is not None else source
    if not text.startswith("[") or text.startswith("[^"):
        return False
    members = _MEMBER.findall(text[1:-1])
    if "[" in members:
        return False
    codes = [ord(char) if (char := _char(member)) is not None else -1 for member in members]
    at = 0
    while at < len(codes):
        first = last = codes[at]
        if at + 2 < len(codes) and members[at + 1] == "-":
            last = codes[at + 2]
            at += 2
        at += 1
        if first < 0x80 or any(first <= folded <= last for folded in _FOLDED):
            return False
    return bool(codes)
