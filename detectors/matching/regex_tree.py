"""Regular expressions with look-around as trees.

The dialect is Rust's (see language.regexes, which spells rules in it) with look-around beside it.
What means something else to a backtracking engine is refused: atomic groups, possessive
quantifiers; and back-references too, unless they are asked for (see matching.references).
"""

import re
from dataclasses import dataclass
from typing import Literal

AnchorKind = Literal["start", "end", "line start", "line end", "word", "no word"]


class UnsupportedLook(ValueError):
    """An expression that cannot be judged in linear time; the message says why."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character that the expression `source`, flags included, matches."""

    source: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place between characters."""

    kind: AnchorKind


@dataclass(frozen=True, slots=True)
class Look:
    """A place that `inner` does, or if `negative` does not, match after (`ahead`) or before.

    `span`: where it stands in the expression; `span_inner`: where what it looks for stands.
    """

    ahead: bool
    negative: bool
    inner: "Tree"
    span: tuple[int, int]
    span_inner: tuple[int, int]
    flags: str


@dataclass(frozen=True, slots=True)
class Cat:
    """One after the other; without parts, the empty text."""

    parts: tuple["Tree", ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """Any of them."""

    parts: tuple["Tree", ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """At least so many times, and at most (None: any number)."""

    inner: "Tree"
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Group:
    """A group by its number, where back-references are asked for; `span_inner`: what is in it."""

    number: int
    inner: "Tree"
    span_inner: tuple[int, int]
    flags: str


@dataclass(frozen=True, slots=True)
class Reference:
    """The text that the group of this number matched; `folded`: in any case."""

    number: int
    folded: bool
    span: tuple[int, int]


Tree = Chars | Anchor | Look | Cat | Alt | Repeat | Group | Reference

MAX_DEPTH = 60
_LOOKS = {"(?=": (True, False), "(?!": (True, True), "(?<=": (False, False), "(?<!": (False, True)}
_BOUNDARIES: dict[str, AnchorKind] = {"(?-u:\\b)": "word", "(?-u:\\B)": "no word"}
_FLAGS = re.compile(r"\(\?([a-zA-Z]*)(?:-([a-zA-Z]+))?([:)])")
_NAMED = re.compile(r"\(\?P?<[A-Za-z_][A-Za-z0-9_]*>")
_TIMES = re.compile(r"\{(\d+)(,(\d*))?\}")
_ESCAPE = re.compile(
    r"\\(?:[pP](?:\{[^}]*\}|.)|x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|u\{[0-9a-fA-F]+\}|u[0-9a-fA-F]{4}"
    r"|U[0-9a-fA-F]{8}|.)",
    re.DOTALL,
)
_KNOWN_FLAGS = frozenset("ims")


def has_look(pattern: str) -> bool:
    """Whether an expression seems to look around."""
    return any(look in pattern for look in _LOOKS)


def parse(pattern: str, *, references: bool = False) -> Tree:
    """The tree of an expression; with `references`, its groups and what refers to them are parts.
    Raises UnsupportedLook.
    """
    parser = _Parser(pattern, references=references)
    tree = parser.alternatives(frozenset(), 0)
    if parser.at < len(pattern):
        raise UnsupportedLook("a parenthesis is closed that was not opened")
    return tree


class _Parser:
    """Recursive descent over the expression; `at` is the next character."""

    def __init__(self, pattern: str, *, references: bool) -> None:
        self._pattern = pattern
        self._references = references
        self._groups = 0
        self.at = 0

    def alternatives(self, flags: frozenset[str], depth: int) -> Tree:
        """Up to the parenthesis that closes the group, or the end."""
        if depth > MAX_DEPTH:
            raise UnsupportedLook("groups nested too deeply")
        options: list[Tree] = []
        parts: list[Tree] = []
        while self.at < len(self._pattern) and not self._sees(")"):
            if self._takes("|"):
                options.append(_cat(parts))
                parts = []
            elif (changed := self._inline_flags(flags)) is not None:
                flags = changed
            else:
                parts.append(self._repeated(self._atom(flags, depth)))
        options.append(_cat(parts))
        return options[0] if len(options) == 1 else Alt(tuple(options))

    def _inline_flags(self, flags: frozenset[str]) -> frozenset[str] | None:
        """Flags for the rest of the group, as `(?i)`."""
        found = _FLAGS.match(self._pattern, self.at)
        if found is None or found[3] != ")":
            return None
        self.at = found.end()
        return _with(flags, found)

    def _atom(self, flags: frozenset[str], depth: int) -> Tree:
        for text, kind in _BOUNDARIES.items():
            if self._takes(text):
                return Anchor(kind)
        char = self._pattern[self.at]
        match char:
            case "(":
                return self._group(flags, depth)
            case "[":
                return Chars(_flagged(self._set(), flags))
            case "\\":
                return self._escaped(flags)
            case "^" | "$":
                self.at += 1
                edge: AnchorKind = "start" if char == "^" else "end"
                line: AnchorKind = "line start" if char == "^" else "line end"
                return Anchor(line if "m" in flags else edge)
            case "*" | "+" | "?":
                raise UnsupportedLook(f"{char} repeats nothing")
        self.at += 1
        return Chars(_flagged(char if char == "." else _plain(char), flags))

    def _group(self, flags: frozenset[str], depth: int) -> Tree:
        begin = self.at
        for opening, (ahead, negative) in _LOOKS.items():
            if self._takes(opening):
                inside = self.at
                inner = self._closed(flags, depth)
                span_inner = (inside, self.at - 1)
                kept = "".join(sorted(flags))
                return Look(ahead, negative, inner, (begin, self.at), span_inner, kept)
        if (named := _NAMED.match(self._pattern, self.at)) is not None:
            self.at = named.end()
            return self._numbered(flags, depth)
        if (found := _FLAGS.match(self._pattern, self.at)) is not None:
            self.at = found.end()
            flags = _with(flags, found)
        elif self._takes("(?"):
            raise UnsupportedLook(f"group (?{self._pattern[self.at : self.at + 1]}…) ")
        else:
            self.at += 1
            return self._numbered(flags, depth)
        return self._closed(flags, depth)

    def _numbered(self, flags: frozenset[str], depth: int) -> Tree:
        self._groups += 1
        number, inside = self._groups, self.at
        inner = self._closed(flags, depth)
        if not self._references:
            return inner
        return Group(number, inner, (inside, self.at - 1), "".join(sorted(flags)))

    def _closed(self, flags: frozenset[str], depth: int) -> Tree:
        inner = self.alternatives(flags, depth + 1)
        if not self._takes(")"):
            raise UnsupportedLook("a parenthesis is not closed")
        return inner

    def _set(self) -> str:
        """A character set, from its bracket to the one that closes it."""
        begin = self.at
        self.at += 1
        while self.at < len(self._pattern):
            if self._sees("\\"):
                self.at += 2
            elif self._sees("[:") and ":]" in self._pattern[self.at :]:
                self.at = self._pattern.index(":]", self.at) + 2
            elif self._takes("]"):
                return self._pattern[begin : self.at]
            else:
                self.at += 1
        raise UnsupportedLook("a character set is not closed")

    def _escaped(self, flags: frozenset[str]) -> Tree:
        found = _ESCAPE.match(self._pattern, self.at)
        if found is None:
            raise UnsupportedLook("a backslash at the end")
        self.at = found.end()
        text = found[0]
        match text[1]:
            case "A":
                return Anchor("start")
            case "z":
                return Anchor("end")
            case "b" | "B":
                return Anchor("word" if text[1] == "b" else "no word")
            case "k" | "G" | "K" | "R" | "X":
                raise UnsupportedLook(f"{text} needs a backtracking engine")
        if text[1].isdigit() and text[1] != "0":
            if not self._references:
                raise UnsupportedLook(f"back-reference {text} needs a backtracking engine")
            return Reference(int(text[1]), "i" in flags, found.span())
        return Chars(_flagged(text, flags))

    def _repeated(self, atom: Tree) -> Tree:
        while True:
            times = self._times()
            if times is None:
                return atom
            # Lazy or greedy, the same texts match.
            if not self._takes("?") and self._takes("+"):
                raise UnsupportedLook("possessive quantifiers need a backtracking engine")
            atom = Repeat(atom, *times)

    def _times(self) -> tuple[int, int | None] | None:
        for sign, times in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._takes(sign):
                return times
        found = _TIMES.match(self._pattern, self.at)
        if found is None:
            return None
        self.at = found.end()
        least = int(found[1])
        if found[2] is None:
            return least, least
        return least, int(found[3]) if found[3] else None

    def _sees(self, text: str) -> bool:
        return self._pattern.startswith(text, self.at)

    def _takes(self, text: str) -> bool:
        if not self._sees(text):
            return False
        self.at += len(text)
        return True


def _cat(parts: list[Tree]) -> Tree:
    return parts[0] if len(parts) == 1 else Cat(tuple(parts))


def _with(flags: frozenset[str], found: re.Match[str]) -> frozenset[str]:
    on, off = set(found[1] or ""), set(found[2] or "")
    if not on | off <= _KNOWN_FLAGS:
        raise UnsupportedLook(f"flags {found[0]} beside look-around")
    return (flags | on) - off


def _flagged(source: str, flags: frozenset[str]) -> str:
    """The source of one character under the flags that matter to it."""
    kept = "".join(sorted(flags & {"i", "s"}))
    return f"(?{kept}:{source})" if kept else source


def _plain(char: str) -> str:
    return f"\\{char}" if char in r"\.+*?()|[]{}^$#&-~" else char
