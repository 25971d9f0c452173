"""Passwords, told by the name before them and not by how they look: `"password": "am.git.passwd"`.

Where the place says that a value is a password (a member of an object, an assignment in quotes, a
flag, an environment variable, credentials on a command line, an XML element) it is one, whatever it
is; only placeholders stay readable. Where prose looks the same (`password: …` without quotes) the
value must look like one. Linear in the text, and no value reaches beyond the quote that began it,
so that JSON text stays JSON text.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import re2

from tachograph.pipeline.normalize import patterns


class Password(NamedTuple):
    """Where a password stands in a text; `quote` goes around the token that replaces it."""

    start: int
    end: int
    quote: str = ""


_HEADS: Final = [(kind, re2.compile(regex)) for kind, regex in patterns.PASSWORD_HEADS.items()]
_BARE: Final = re.compile(r"""[^\s"'\\,;<>‹›{}()\[\]&|`]+""")
_QUOTE: Final = re.compile(r"""["\n]""")
_MAX_LOOK_BACK: Final = 64
# So often a search begins anew in one text: each costs as much as the text is long.
_RESTARTS: Final = 8

_MASK: Final = re.compile(r"[*.•…_#?-]+$|[xX]{3,}$")
_KEY_ENDS: Final = re.compile(r"""\\*["'](?:\s|\\+[nrt])*:""")
# What follows the end of a text in JSON and in code.
_AFTER_STRING: Final = re.compile(r"(?:\s|\\+[nrt])*(?:[,}\]:);]|$)")
_VARIABLE: Final = re.compile(
    r"\$(?:[A-Za-z_]\w*$|[{(]|$)|%[A-Za-z_]\w*%$|%[(]|%s$|\{.*\}$|<.*>$|\[.*\]$|‹"
)
_PATH: Final = re.compile(r"(?:~|\.{0,2}/|[A-Za-z]:(?:\\|$))")
_NAME_IN_CODE: Final = re.compile(r"[A-Za-z_]+(?:\.[A-Za-z_]+)*$")
_DATE: Final = re.compile(r"\d{4}-\d\d(?:-\d\d)?")
_SPECIAL: Final = frozenset("!@#$%^*+=~?")
_PLAIN_KEY: Final = re.compile(r"(?:^|\n|\\n|[\"'])[ \t-]*[a-z0-9_.-]*$")
_LINE_ENDS: Final = ("", "\n", "\r", "\\", '"', "'")


def find(text: str) -> list[Password]:
    """Passwords in a text, in order, none inside another."""
    found = sorted(one for kind, head in _HEADS for one in _after(text, kind, head))
    kept: list[Password] = []
    for one in found:
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return kept


def is_password(name: str, value: str) -> bool:
    """Whether a value of its own, under a name of its own, is a password."""
    return _NAMED.search(name) is not None and not readable(value, name)


_NAMED: Final = re.compile(rf"(?:{patterns.PASSW_NAMES})$")


def _after(text: str, kind: str, head: Any) -> Iterator[Password]:
    done: int | None = 0
    for _ in range(_RESTARTS):
        if done is not None:
            found, done = _from(text, done, kind, head)
            yield from found


def _from(text: str, at: int, kind: str, head: Any) -> tuple[list[Password], int | None]:
    """Passwords from `at` on, and where to look again: behind one in which the next head seemed
    to begin.
    """
    found: list[Password] = []
    for match in head.finditer(text, at):
        if match.start() < at:
            return found, at
        one = None if _inside_token(text, match.end()) else _value(text, kind, match)
        if one is not None:
            at = one.end
            found.append(one)
    return found, None


def _value(text: str, kind: str, match: Any) -> Password | None:
    """What stands behind a head, if it is a password."""
    groups = match.groupdict()
    start, name = match.end(), groups.get("name") or ""
    opened, close = groups.get("open"), groups.get("close")
    if opened:
        if opened != close and _AFTER_STRING.match(text, start):
            return None  # the quote ends the text that the name stands in
        end = _closing(text, start, opened)
        if kind == "argument" and _KEY_ENDS.match(text, end):
            return None
        known = readable(text[start:end], name, verdict=kind == "pass")
        return None if known else Password(start, end)
    bare = _BARE.match(text, start)
    if bare is None:
        return None
    if close:
        # A member of an object or list: what is not in quotes is no text, but perhaps a number.
        number = kind == "assigned" and bare[0].isdigit() and groups["sign"].strip() == ":"
        return Password(start, bare.end(), close) if number else None
    return _bare(text, kind, match, bare[0])


def _bare(text: str, kind: str, match: Any, value: str) -> Password | None:
    start = match.end()
    end = start + len(value)
    if readable(value, match.groupdict().get("name") or ""):
        return None
    if kind == "flag" and (value[0] == "-" or value.lower() in patterns.AFTER_FLAGS):
        return None
    if kind == "element" and not text.startswith("</", end):
        return None
    if kind != "assigned":
        return Password(start, end)
    if text[end : end + 1] in ("(", "["):
        return None  # a call, or what it gives
    return _assigned(text, match, value)


def _assigned(text: str, match: Any, value: str) -> Password | None:
    """A value without quotes after a name: in a shell, in code, in YAML, or in prose."""
    start, sign = match.end(), match.group("sign")
    end = start + len(value)
    in_code = _NAME_IN_CODE.match(value) is not None
    if sign == "=":
        speaks = in_code and ("." in value or _NAMED.search(value))
        argument = in_code and text[end : end + 1] in (")", ",")
        return None if speaks or argument else Password(start, end)
    bare = value.strip("*_").rstrip(".!?:")
    if _looks_made_up(bare):
        return Password(start, start + len(value.rstrip(".")))
    # A line of YAML: the key, one word, nothing else.
    before = text[max(0, match.start() - _MAX_LOOK_BACK) : match.start()]
    alone = text[end : end + 1] in _LINE_ENDS and _PLAIN_KEY.search(before)
    key = match.group("name")
    if sign.strip() == ":" and alone and key == key.lower() and bare == value and in_code:
        return None if value.lower() in patterns.PROSE_VALUES else Password(start, end)
    return None


def _looks_made_up(value: str) -> bool:
    """Whether a word is none of a language: letters with digits or signs, or a long number."""
    if _PATH.match(value) or _DATE.match(value) or "://" in value:
        return False
    if value.isdigit():
        return len(value) >= 6
    odd = any(c.isdigit() or c in _SPECIAL for c in value)
    return odd and any(map(str.isalpha, value)) and len(value) >= 5


def readable(value: str, name: str = "", *, verdict: bool = False) -> bool:
    """Whether a value only stands for a password, or is none: it stays as it is.

    `verdict`: it may be how a test ended.
    """
    if not value.strip() or _MASK.match(value) or _VARIABLE.match(value) or "‹secret:" in value:
        return True
    low = value.strip().lower()
    if low in patterns.PLACEHOLDERS:
        return True
    if name.lower().endswith("pwd") and _PATH.match(value):
        return True  # the working directory
    return verdict and (low in patterns.VERDICTS or low.isdigit())


def _inside_token(text: str, at: int) -> bool:
    opened = text.rfind("‹secret:", max(0, at - _MAX_LOOK_BACK), at)
    return opened >= 0 and "›" not in text[opened:at]


def _closing(text: str, start: int, opened: str) -> int:
    """Where the quoted value ends that begins at `start`.

    `opened` is the quote with the backslashes before it: text inside JSON text inside JSON text
    has 0, 1, 3 … of them. A quote with a longer run of backslashes may belong to the value; one
    with a shorter run ends what is around it.
    """
    if opened[-1] == "'":
        end = _SINGLE.search(text, start)
        return end.start() if end else len(text)
    slashes = _trailing_ones(len(opened) - 1)
    escaped = 2 * slashes + 1
    for mark in _QUOTE.finditer(text, start):
        at, run = mark.start(), 0
        if mark[0] == "\n":
            return at
        while at - run > start and text[at - run - 1] == "\\":
            run += 1
        if run & escaped != escaped:
            return at - min(_trailing_ones(run), slashes)
    return len(text)


def _trailing_ones(number: int) -> int:
    """The ones at the end of the binary number: of 0b1011, 0b11."""
    return (number ^ (number + 1)) >> 1


_SINGLE: Final = re.compile(r"""["'\\\n]""")
