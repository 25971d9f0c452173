"""Regular expressions of JavaScript in the spelling that rules have here (see regexes).

The difference matters where one spelling has two meanings: what a word, a digit or a dot is, a
brace that counts nothing, escapes of characters.
"""

import re

from tachograph.detectors.language.regexes import UnsupportedRegex

_WORD = "0-9A-Za-z_"
# All but those; without the two characters whose other case is an ASCII letter.
_NO_WORD = r"\x00-/:-@\x5b-\x5e`\x7b-\u{17e}\u{180}-\u{2129}\u{212b}-\u{10ffff}"
_NO_DIGIT = r"\x00-/:-\u{10ffff}"
_CLASSES = {"w": _WORD, "d": "0-9", "W": _NO_WORD, "D": _NO_DIGIT}
_DOT = r"[^\n\r\u{2028}\u{2029}]"
_ANYTHING = r"[\s\S]"
_LEADING_FLAGS = re.compile(r"\(\?([a-z]+)\)")
_KNOWN_FLAGS = frozenset("ims")
_COUNT = re.compile(r"\{\d+(?:,\d*)?\}")
_CODE = re.compile(r"u\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})")
# A character beyond 16 bits is written as two halves.
_HALVES = re.compile(
    r"\\u([dD][89abAB][0-9a-fA-F]{2})"
    r"(?:\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\[\\u([dD][c-fC-F][0-9a-fA-F]{2})-\\u([dD][c-fC-F][0-9a-fA-F]{2})\])"
)
_PROPERTY = re.compile(r"[pP]\{[^{}]*\}")
_REFERENCE = re.compile(r"[1-9]\d*|k<")
_CONTROL = {"0": "\\x00", "v": "\\x0b"}


def respelled(pattern: str) -> tuple[str, str]:
    """The expression, without the flags it begins with, and those flags. Raises
    UnsupportedRegex.
    """
    flags = ""
    leading = _LEADING_FLAGS.match(pattern)
    if leading is not None:
        flags, pattern = leading[1], pattern[leading.end() :]
        if not _KNOWN_FLAGS.issuperset(flags):
            raise UnsupportedRegex(f"flags {flags}")
    pattern = _HALVES.sub(_joined, pattern)
    return _Speller(pattern, dot=_ANYTHING if "s" in flags else _DOT).spelled(), flags


def _joined(halves: re.Match[str]) -> str:
    first = (int(halves[1], 16) - 0xD800) * 0x400 + 0x10000 - 0xDC00
    if halves[2]:
        return f"\\u{{{first + int(halves[2], 16):x}}}"
    ends = [f"\\u{{{first + int(half, 16):x}}}" for half in (halves[3], halves[4])]
    return f"[{'-'.join(ends)}]"


class _Speller:
    """Goes through an expression once."""

    def __init__(self, pattern: str, *, dot: str) -> None:
        self._pattern = pattern
        self._dot = dot
        self._at = 0
        self._groups = len(re.findall(r"(?<!\\)\((?!\?)|\(\?<[A-Za-z_]", pattern))

    def spelled(self) -> str:
        out: list[str] = []
        while self._at < len(self._pattern):
            char = self._pattern[self._at]
            match char:
                case "\\":
                    out.append(self._escape(in_set=False))
                case "[":
                    out.append(self._set())
                case ".":
                    out.append(self._dot)
                    self._at += 1
                case "{" if _COUNT.match(self._pattern, self._at) is None:
                    out.append("\\{")
                    self._at += 1
                case "}" if out and not self._closes_count():
                    out.append("\\}")
                    self._at += 1
                case _:
                    out.append(char)
                    self._at += 1
        return "".join(out)

    def _closes_count(self) -> bool:
        begin = self._pattern.rfind("{", 0, self._at)
        found = _COUNT.match(self._pattern, begin) if begin >= 0 else None
        return found is not None and found.end() == self._at + 1

    def _set(self) -> str:
        """A set of characters."""
        self._at += 1
        negative = self._pattern.startswith("^", self._at)
        self._at += negative
        out: list[str] = []
        while self._at < len(self._pattern):
            char = self._pattern[self._at]
            if char == "]":
                self._at += 1
                break
            if char == "\\":
                out.append(self._escape(in_set=True))
                continue
            # What begins an operation between sets elsewhere is itself here.
            out.append(f"\\{char}" if char in "[&~" else char)
            self._at += 1
        else:
            raise UnsupportedRegex("a character set is not closed")
        if not out:
            return _ANYTHING if negative else r"[^\s\S]"
        return f"[{'^' if negative else ''}{''.join(out)}]"

    def _escape(self, *, in_set: bool) -> str:
        begin = self._at + 1
        char = self._pattern[begin : begin + 1]
        if not char:
            raise UnsupportedRegex("a backslash at the end")
        code = _CODE.match(self._pattern, begin)
        if code is not None:
            self._at = code.end()
            return f"\\x{{{code[1] or code[2] or code[3]}}}"
        reference = None if in_set else _REFERENCE.match(self._pattern, begin)
        if reference is not None:
            return self._referred(reference)
        named = _PROPERTY.match(self._pattern, begin)
        if named is not None:
            self._at = named.end()
            return f"\\{named[0]}"
        self._at = begin + 1
        if char in _CLASSES:
            return _CLASSES[char] if in_set else f"[{_CLASSES[char]}]"
        if in_set and char == "b":
            return "\\x08"
        if char in _CONTROL:
            return _CONTROL[char]
        if char.isalnum() and char not in "bBsStnrfpP":
            return char
        return f"\\{char}"

    def _referred(self, reference: re.Match[str]) -> str:
        text = reference[0]
        if text != "k<" and int(text) > self._groups:
            # A number of no group is the code of a character, in eights.
            digits = re.match(r"[0-7]{1,3}", text)
            if digits is not None:
                self._at = reference.start() + digits.end()
                return f"\\x{{{int(digits[0], 8):x}}}"
        if text == "k<" or len(text) > 1:
            raise UnsupportedRegex(f"back-reference \\{text} is not supported, only \\1 to \\9")
        self._at = reference.end()
        return f"\\{text}"
