"""A Sigma detection as pySigma reads it: the same, where pySigma knows less than Sigma says."""

import base64
import codecs
import re
from collections.abc import Callable
from typing import Any

from sigma.exceptions import SigmaDetectionError
from sigma.types import SigmaString, SpecialChars

from tachograph.detectors.language.regexes import escape

# Names of modifiers that pySigma knows by another one.
_SPELLED = {"utf16le": "wide"}
# What takes a text; a number that stands there is its digits.
_OF_TEXT = frozenset({
    "base64", "base64offset", "cased", "contains", "endswith", "startswith", "utf16", "utf16be",
    "wide", "windash",
})  # fmt: skip
# What compares numbers.
_OF_NUMBERS = frozenset({
    "day", "gt", "gte", "hour", "lt", "lte", "minute", "month", "week", "year",
})  # fmt: skip
_NOT_SELECTIONS = frozenset({"condition", "timeframe"})
# pySigma writes out every spelling of up to three dashes; more are one expression.
_DASHES_WRITTEN_OUT = 3
_DASH = re.compile(r"\B[-/]\b")
_ANY_DASH = "[-/\u2013\u2014\u2015]"
# pySigma encodes texts of ASCII alone this way; others are one expression.
_ENCODINGS = {
    "wide": (b"", "utf-16-le"),
    "utf16be": (b"", "utf-16-be"),
    "utf16": (codecs.BOM_UTF16_LE, "utf-16-le"),
}
# Base64 of a text behind so many other bytes, without what it shares with them, and with what
# follows by the number of its bytes.
_BEGINNINGS = (0, 2, 3)
_ENDINGS = (None, -3, -2)
# Fewer leave no character of base64 that is theirs alone, where they stand across two groups.
_MIN_BYTES = 2
_AS_EXPRESSION = frozenset({"all", "cased", "contains", "endswith", "neq", "startswith"})


def spelled(detection: Any) -> Any:
    """The detection with names of modifiers, and texts where texts are wanted, as pySigma takes
    them. Raises SigmaError.
    """
    if not isinstance(detection, dict):
        return detection
    return {
        name: value if name in _NOT_SELECTIONS else _selection(value)
        for name, value in detection.items()
    }


def _selection(value: Any) -> Any:
    match value:
        case dict():
            items = [_item(str(key), inner) for key, inner in value.items()]
            if len(dict(items)) < len(items):
                raise SigmaDetectionError("two of its items are one, spelled differently")
            return dict(items)
        case list():
            return [_selection(inner) for inner in value]
    return _exact(value)


def _item(key: str, value: Any) -> tuple[str, Any]:
    field, *modifiers = key.split("|")
    modifiers = [_SPELLED.get(name, name) for name in modifiers]
    if not _OF_TEXT.isdisjoint(modifiers):
        value = _each(value, _digits)
    elif _OF_NUMBERS.isdisjoint(modifiers):
        value = _each(value, _exact)
    if {"cased", "fieldref"}.issubset(modifiers):
        # pySigma takes it of texts alone: before the text becomes a name.
        modifiers = ["cased", *(name for name in modifiers if name != "cased")]
    if "windash" in modifiers:
        modifiers, value = _dashes(modifiers, value)
    if "base64offset" in modifiers:
        _long_enough(modifiers, value)
    if not _ENCODINGS.keys().isdisjoint(modifiers):
        modifiers, value = _encoded(modifiers, value)
    return "|".join([field, *modifiers]), value


def _each(value: Any, changed: Callable[[Any], Any]) -> Any:
    return [changed(one) for one in value] if isinstance(value, list) else changed(value)


def _exact(value: Any) -> Any:
    """A whole number that is none to a float, which pySigma would round, as its digits."""
    if not isinstance(value, int):
        return value
    try:
        return value if int(float(value)) == value else str(value)
    except OverflowError:
        return str(value)


def _digits(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _dashes(modifiers: list[str], value: Any) -> tuple[list[str], Any]:
    """The item as regular expressions if one of its texts has many dashes."""
    others = [name for name in modifiers if name != "windash"]
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts) or not _AS_EXPRESSION.issuperset(others):
        return modifiers, value
    if all(len(_DASH.findall(text)) <= _DASHES_WRITTEN_OUT for text in texts):
        return modifiers, value
    return _expressing(others), [_bounded(_dashed(text), others) for text in texts]


def _expressing(modifiers: list[str]) -> list[str]:
    """The modifiers of an item that is asked as regular expressions."""
    flags = ["s"] if "cased" in modifiers else ["i", "s"]
    return ["re", *flags, *(name for name in modifiers if name in {"all", "neq"})]


def _dashed(text: str) -> str:
    """A regular expression for a text, any dash in place of each."""
    return "".join(
        ".*"
        if part is SpecialChars.WILDCARD_MULTI
        else "."
        if not isinstance(part, str)
        else _ANY_DASH.join(escape(piece) for piece in _DASH.split(part))
        for part in SigmaString(text).s
    )


def _bounded(inner: str, modifiers: list[str]) -> str:
    start = "" if {"contains", "endswith"} & set(modifiers) else r"\A"
    end = "" if {"contains", "startswith"} & set(modifiers) else r"\Z"
    return f"{start}{inner}{end}"


def _encoded(modifiers: list[str], value: Any) -> tuple[list[str], Any]:
    """The item as regular expressions if one of its texts is more than ASCII."""
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts) or all(map(str.isascii, texts)):
        return modifiers, value
    how = [name for name in modifiers if name not in _AS_EXPRESSION]
    others = [name for name in modifiers if name in _AS_EXPRESSION]
    if len(how) != 2 or how[1] not in {"base64", "base64offset"} or how[0] not in _ENCODINGS:
        return modifiers, value
    if any(SigmaString(text).contains_special() for text in texts):
        return modifiers, value
    found = [
        _in_base64(_bytes(text, *_ENCODINGS[how[0]]), offsets=how[1] == "base64offset")
        for text in texts
    ]
    inner = [f"(?:{'|'.join(map(escape, spellings))})" for spellings in found]
    return _expressing(others), [_bounded(text, others) for text in inner]


def _long_enough(modifiers: list[str], value: Any) -> None:
    """Raises SigmaDetectionError for a text that, within base64, may leave no character that is its
    own: an expression for it would be found in every text.
    """
    encodings = [_ENCODINGS[name] for name in modifiers if name in _ENCODINGS]
    encoding = encodings[0] if encodings else (b"", "utf-8")
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and len(_bytes(text, *encoding)) < _MIN_BYTES:
            raise SigmaDetectionError(
                f"base64offset of {text!r}: fewer than two bytes cannot be told within base64"
            )


def _bytes(text: str, mark: bytes, codec: str) -> bytes:
    return mark + SigmaString(text).to_plain(regex=True).encode(codec, "surrogatepass")


def _in_base64(data: bytes, *, offsets: bool) -> list[str]:
    """The data in base64; wherever it may begin within a group of three bytes, with `offsets`."""
    if not offsets:
        return [base64.b64encode(data).decode()]
    return [
        base64.b64encode(bytes(shift) + data)[start : _ENDINGS[(len(data) + shift) % 3]].decode()
        for shift, start in enumerate(_BEGINNINGS)
    ]
