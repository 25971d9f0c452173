"""Regular expressions of rules, for an engine that runs in linear time.

Rules are written for backtracking engines; Polars runs Rust's. What both can say is rewritten where
the two spell it differently; what only a backtracking engine can do (look-around, back-references)
is refused, with words.
"""

import functools
import re
from collections.abc import Sequence

from tachograph.detectors.matching.expressions import ready

# A word's boundary is that of ASCII words, as in the engines rules are written for; it is faster
# too.
BOUNDARY = "(?-u:\\b)"
# Rust reads \< and \> as word boundaries, where everyone else means the character.
_PLAIN_ESCAPES = {"<": "<", ">": ">", "Z": "\\z"}
# Characters that begin a set operation inside Rust's [...] and are plain elsewhere.
_SET_SYNTAX = "[&~"
_ESCAPE = re.compile(r"\\(?:[pPxuU]\{[^{}]*\}|.)", re.DOTALL)
_COUNT = re.compile(r"\{\d+(?:,\d*)?\}")
MAX_REGEX_CHARS = 8_192


class UnsupportedRegex(ValueError):
    """The linear-time engine does not take the expression; the message says why."""


def linear(pattern: str, flags: str = "") -> str:
    """The pattern as Rust's engine spells it, checked. `flags`: any of "i", "m", "s". Raises
    UnsupportedRegex.
    """
    return checked(spelled(pattern, flags))


def spelled(pattern: str, flags: str = "") -> str:
    """The pattern as Rust's engine spells it, unchecked. Raises UnsupportedRegex if it is too
    long.
    """
    if len(pattern) > MAX_REGEX_CHARS:
        raise UnsupportedRegex(f"longer than {MAX_REGEX_CHARS} characters")
    respelled = _respell(pattern)
    return f"(?{''.join(sorted(set(flags)))}){respelled}" if flags else respelled


def checked(pattern: str) -> str:
    """The pattern, if the engine takes it as it is spelled. Raises UnsupportedRegex."""
    _check(pattern)
    return pattern


@functools.lru_cache(maxsize=4096)
def _together(patterns: tuple[str, ...]) -> tuple[str, ...]:
    joined = "|".join(f"(?:{pattern})" for pattern in patterns)
    try:
        _check(joined)
    except UnsupportedRegex:
        half = len(patterns) // 2
        return (*_together(patterns[:half]), *_together(patterns[half:]))
    return (joined,)


def together(patterns: Sequence[str]) -> list[str]:
    """Alternatives as few expressions: one pass over a text for all of them, and fewer to keep
    compiled.
    """
    distinct = tuple(dict.fromkeys(patterns))
    return list(distinct) if len(distinct) < 2 else list(_together(distinct))


def escape(text: str) -> str:
    """Text as a pattern that matches just it."""
    return "".join(f"\\{c}" if c in r".\+*?()|[]{}^$#&-~/" else c for c in text)


def _check(pattern: str) -> None:
    try:
        ready(pattern)
    except ValueError as error:
        raise UnsupportedRegex(_reason(str(error))) from error


def _reason(message: str) -> str:
    """The engine's own words, without the picture it draws of the pattern."""
    for line in message.splitlines():
        if line.startswith("error: "):
            return f"a linear-time engine refuses it: {line.removeprefix('error: ')}"
    return f"a linear-time engine refuses it: {message.splitlines()[0]}"


def _respell(pattern: str) -> str:
    out: list[str] = []
    at, in_set = 0, False
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            text = _ESCAPE.match(pattern, at)[0]  # type: ignore[index]
            out.append(
                BOUNDARY if text == "\\b" and not in_set else _PLAIN_ESCAPES.get(text[1:], text)
            )
            at += len(text)
            continue
        if not in_set:
            # A brace that counts nothing is itself.
            literal = char == "{" and _COUNT.match(pattern, at) is None
            out.append("\\{" if literal else char)
            if char == "[":
                at = _open_set(pattern, at + 1, out)
                in_set = True
                continue
        elif char == "]":
            out.append(char)
            in_set = False
        else:
            posix = char == "[" and pattern[at + 1 : at + 2] == ":" and ":]" in pattern[at + 2 :]
            if posix:
                end = pattern.index(":]", at + 2) + 2
                out.append(pattern[at:end])
                at = end
                continue
            out.append(f"\\{char}" if char in _SET_SYNTAX else char)
        at += 1
    return "".join(out)


def _open_set(pattern: str, at: int, out: list[str]) -> int:
    """Take the `^` and a leading `]` of a set, both of which are not what they are elsewhere."""
    if pattern[at : at + 1] == "^":
        out.append("^")
        at += 1
    if pattern[at : at + 1] == "]":
        out.append("\\]")
        at += 1
    return at
