"""Regular expressions kept ready, to be asked of single texts.

Polars compiles an expression anew for every call once there are more than a few dozen, which takes
milliseconds. RE2, an engine of the same kind, keeps them as objects. What it would understand
otherwise than Rust's engine, in which rules are spelled (see language.regexes), it is not given:
Polars is asked that.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import re2

# Expressions kept ready.
MAX_READY = 16_384
# Memory that one expression may take while it runs; a larger one for those that need it.
_BUDGETS_BYTES = (1 << 20, 1 << 23)
# The places in a set of one expression, and of what matches every text.
_IT, _WHOLE = 0, 1
_SET_SIZE = 32
_SET_BUDGET_BYTES = 1 << 24
_SPACE = r"\t-\r\x{85}\pZ"
_ANY = "(?s:.)"
_FLAGS = re.compile(r"\(\?([a-zA-Z]*)(?:-([a-zA-Z]+))?[:)]")
_NAMED = re.compile(r"\(\?P?<[A-Za-z_]\w*>")
_SAFE_FLAGS = frozenset("ims")
_CODE = re.compile(
    r"\\(?:[ux]\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2}))"
)
# Halves of characters, which no text holds.
_HALVES = range(0xD800, 0xE000)
_PROPERTY = re.compile(r"\\[pP](?:\{\^?[A-Za-z_]+\}|[A-Z])")
_CLASSES = re.compile(r"\\[sSdDwW]")
_SAME = re.compile(r"\\(?:[Aznrtfva]|[^0-9A-Za-z<>])", re.ASCII)
_COUNT = re.compile(r"\{\d+(?:,\d*)?\}")
# What an expression may begin with and a text need not: it says nothing of where the rest stands,
# but an engine that looks for the rest must remember how much of it there was.
_LEAD = re.compile(
    r"((?:\(\?[ims]+\))*)"
    r"(?:(?:\[\^?(?:[^\[\]\\]|\\.)+\]|\\[sSdDwW]|[.\w ])(?:\*|\?|\{0(?:,\d*)?\})\??(?![*+?{]))+",
    re.ASCII,
)
_POSIX = re.compile(r"\[:\^?[a-z]+:\]")


class OtherMeaning(ValueError):
    """RE2 does not know this, or takes it for something else."""


class Expression:
    """One expression; raises ValueError if no engine takes it."""

    def __init__(self, pattern: str) -> None:
        self._pattern = anywhere(pattern)
        self._said = _said(self._pattern)
        if self._said is None and self._searched is None:
            _check(self._pattern)

    @functools.cached_property
    def _searched(self) -> Any:
        return _re2(self._pattern)

    def matches(self, texts: Sequence[str]) -> list[bool]:
        """Whether it matches anywhere in each text."""
        if self._said is None:
            return self._asked(texts)
        # To ask whether, and not where, takes half the time.
        found = [self._said.Match(text.encode()) for text in texts]
        return [
            _IT in one if _WHOLE in one else self._asked([text])[0]
            for text, one in zip(texts, found, strict=True)
        ]

    def _asked(self, texts: Sequence[str]) -> list[bool]:
        """As `matches`, whatever it costs."""
        if self._searched is None:
            return pl.Series(texts, dtype=pl.String).str.contains(self._pattern).to_list()
        return [self._searched.search(text.encode()) is not None for text in texts]


class Bundle:
    """Many expressions by number, looked for in one pass over a text.

    What it finds may not be all that is true of a set whose memory ran out: then each of its
    expressions counts as found.
    """

    def __init__(
        self, patterns: Mapping[int, str], *, budget_bytes: int = _SET_BUDGET_BYTES
    ) -> None:
        self._budget_bytes = budget_bytes
        self._alone: list[int] = []
        self._sets: list[tuple[Any, list[int]]] = []
        numbers = list(patterns)
        for at in range(0, len(numbers), _SET_SIZE):
            self._add({number: patterns[number] for number in numbers[at : at + _SET_SIZE]})

    def _add(self, patterns: Mapping[int, str]) -> None:
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        options.max_mem = self._budget_bytes
        made = re2.Set.SearchSet(options)
        numbers: list[int] = []
        for number, pattern in patterns.items():
            try:
                made.Add(respelled(anywhere(pattern)).encode())
            except (OtherMeaning, re2.error):
                self._alone.append(number)
            else:
                numbers.append(number)
        # It matches every text: where it is not found, the pass was given up.
        made.Add(b"")
        try:
            made.Compile()
        except re2.error:
            self._halved({number: patterns[number] for number in numbers})
        else:
            self._sets.append((made, numbers))

    def _halved(self, patterns: Mapping[int, str]) -> None:
        """A set that is too large, in two."""
        numbers = list(patterns)
        if len(numbers) < 2:
            self._alone += numbers
            return
        half = len(numbers) // 2
        for part in (numbers[:half], numbers[half:]):
            self._add({number: patterns[number] for number in part})

    def found_in(self, text: str) -> list[int]:
        """The numbers of the expressions that may match the text, and of all that do."""
        found = list(self._alone)
        encoded = text.encode()
        for made, numbers in self._sets:
            hits = made.Match(encoded)
            whole = len(numbers) in hits
            found += [numbers[at] for at in hits if at < len(numbers)] if whole else numbers
        return found


def _said(pattern: str) -> Any:
    """The expression as a set of its own; None where RE2 does not take it, or not into so little
    memory.
    """
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _BUDGETS_BYTES[0]
    made = re2.Set.SearchSet(options)
    try:
        made.Add(respelled(pattern).encode())
        # It matches every text: where it is not found, the pass was given up.
        made.Add(b"")
        made.Compile()
    except (OtherMeaning, re2.error):
        return None
    return made


@functools.lru_cache(maxsize=MAX_READY)
def ready(pattern: str) -> Expression:
    """The expression, ready. Raises ValueError with the engine's words."""
    return Expression(pattern)


def _check(pattern: str) -> None:
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        raise ValueError(str(error)) from error


def _re2(pattern: str) -> Any:
    try:
        spelled = respelled(pattern)
    except OtherMeaning:
        return None
    for budget in _BUDGETS_BYTES:
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        options.max_mem = budget
        try:
            return re2.compile(spelled.encode(), options)
        except re2.error:
            continue
    return None


def anywhere(pattern: str) -> str:
    """The expression without what it need not begin with: it matches in the same texts."""
    lead = _LEAD.match(pattern)
    return lead[1] + pattern[lead.end() :] if lead is not None else pattern


def respelled(pattern: str) -> str:
    """The expression as RE2 spells it. Raises OtherMeaning."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith(_BOUNDARY, at):
            out.append("\\b")
            at += len(_BOUNDARY)
        elif char == "\\":
            text, at = _escape(pattern, at, in_set=False)
            out.append(text)
        elif char == "[":
            text, at = _set(pattern, at)
            out.append(text)
        elif char == "{" and _COUNT.match(pattern, at) is None:
            # A brace that counts nothing is an error to one and a character to the other.
            raise OtherMeaning(char)
        elif char == "(" and pattern.startswith("(?", at):
            found = _NAMED.match(pattern, at) or _FLAGS.match(pattern, at)
            if found is None or not _safe(found):
                raise OtherMeaning(pattern[at : at + 4])
            out.append(found[0])
            at = found.end()
        else:
            out.append(char)
            at += 1
    return "".join(out)


_BOUNDARY = "(?-u:\\b)"


def _safe(group: re.Match[str]) -> bool:
    """Whether a group's opening says the same to both."""
    if group.re is _NAMED:
        return True
    return _SAFE_FLAGS.issuperset((group[1] or "") + (group[2] or ""))


def _escape(pattern: str, at: int, *, in_set: bool) -> tuple[str, int]:
    """What begins with a backslash, and where it ends."""
    code = _CODE.match(pattern, at)
    if code is not None:
        number = code[1] or code[2] or code[3] or code[4]
        if int(number, 16) in _HALVES:
            raise OtherMeaning(code[0])
        return f"\\x{{{number}}}", code.end()
    if _CLASSES.match(pattern, at):
        return _class(pattern[at + 1], in_set=in_set), at + 2
    for same in (_PROPERTY, _SAME):
        found = same.match(pattern, at)
        if found is not None and not (in_set and found[0] in {"\\A", "\\z"}):
            return found[0], found.end()
    raise OtherMeaning(pattern[at : at + 2])


def _class(name: str, *, in_set: bool) -> str:
    match name:
        case "s":
            return _SPACE if in_set else f"[{_SPACE}]"
        case "S" if not in_set:
            return f"[^{_SPACE}]"
        case "d" | "D":
            return f"\\{'p' if name == 'd' else 'P'}{{Nd}}"
    # What a word's letter is, RE2 has no short name for.
    raise OtherMeaning(f"\\{name}")


def _set(pattern: str, begin: int) -> tuple[str, int]:
    """A set of characters, and where it ends."""
    for both in ("s", "d", "w"):
        for text in (f"[\\{both}\\{both.upper()}]", f"[\\{both.upper()}\\{both}]"):
            if pattern.startswith(text, begin):
                return _ANY, begin + len(text)
    at = begin + 1 + pattern.startswith("^", begin + 1)
    out = [pattern[begin:at]]
    while at < len(pattern):
        char = pattern[at]
        if char == "]":
            return "".join([*out, char]), at + 1
        if char == "\\":
            text, at = _escape(pattern, at, in_set=True)
            out.append(text)
            continue
        posix = _POSIX.match(pattern, at)
        if posix is not None:
            out.append(posix[0])
            at = posix.end()
            continue
        if char == "[" or pattern[at : at + 2] in {"--", "&&", "~~"}:
            raise OtherMeaning(pattern[at : at + 2])
        out.append(char)
        at += 1
    raise OtherMeaning("[")
