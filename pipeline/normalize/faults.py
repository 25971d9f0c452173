"""What is wrong with bytes that are no JSON, in words that the author of a client can use."""

import json
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from tachograph.pipeline.normalize import limits
from tachograph.pipeline.normalize.raw import BadInput

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)
_PLACE: Final = re.compile(r"invalid character \(byte (\d+)\)")
_NO_NUMBERS: Final = (b"NaN", b"-Infinity", b"Infinity")


def check_utf8(value: bytes) -> None:
    """Raises BadInput `not_utf8` unless all bytes are UTF-8, those no decoder looks at too."""
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise BadInput("not_utf8", f"not valid UTF-8 at byte {error.start}") from error


def unreadable(value: bytes, error: Exception) -> BadInput:
    """The fault of `value`, which a decoder refused with `error`. Bytes are counted from 0.

    Never quotes the value: only where it is wrong.
    """
    if isinstance(error, BadInput):
        return error
    if isinstance(error, RecursionError):
        return BadInput("too_deep", f"JSON may be nested {limits.JSON_DEPTH} deep")
    try:
        check_utf8(value)
    except BadInput as problem:
        return problem
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        return BadInput("mistyped", text)
    if "truncated" in text:
        return BadInput("truncated", text)
    return BadInput("malformed", _number(value, text) or text)


def _number(value: bytes, text: str) -> str | None:
    """What is said of a number that JSON does not have."""
    place = _PLACE.search(text)
    if place is None:
        return None
    at = int(place[1])
    at -= value[at - 1 : at] == b"-"
    for name in _NO_NUMBERS:
        if value.startswith(name, at):
            return f"{name.decode()} is no JSON number (byte {at})"
    return None


def given_twice(value: bytes, key: str) -> bool:
    """Whether an object of the JSON gives `key` twice (a key written with escapes is not seen).

    Cheap where the key stands once: only then is the value read by a slow parser.
    """
    if value.count(f'"{key}"'.encode()) < 2:
        return False
    twice = False

    def check(pairs: list[tuple[str, Any]]) -> None:
        nonlocal twice
        twice = twice or sum(name == key for name, _ in pairs) > 1

    hook: Callable[[list[tuple[str, Any]]], None] = check
    try:
        json.loads(value, object_pairs_hook=hook)
    except (ValueError, RecursionError):
        return False
    return twice


def is_cut_off(value: bytes) -> bool:
    """Whether the last field of a protobuf message is longer than what is left of it."""
    at = 0
    while at < len(value):
        tag, at = _varint(value, at)
        if at > len(value):
            return True
        kind = tag & 7
        if kind == 2:
            size, at = _varint(value, at)
            at += size
        elif kind == 0:
            _, at = _varint(value, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            return False
    return at > len(value)


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends; beyond the value where it is cut off."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(value):
            return number, len(value) + 1
        byte = value[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            break
    return number, at
