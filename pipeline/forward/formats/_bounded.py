"""JSON records of a bounded size: cut where they must be, and saying so.

Values come out equal once the JSON is read, or end in `…[+1200]`; no reader sees two records.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from tachograph.pipeline.forward.formats._values import cut

# Line ends beyond ASCII and marks that turn the reading direction: escaped, so equal once read.
_ESCAPED = [
    (chr(code).encode(), f"\\u{code:04x}".encode())
    for code in (0x7F, 0x85, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
]
# Fields of our records whose keys come from outside: they are cut as lists are.
_FOREIGN = frozenset(
    {"data", "state", "versions", "scores", "window", "reasons", "sources", "drops", "witness"}
)
# Room for what a record says when it was cut.
_MARK_BYTES = 96


class Limits(NamedTuple):
    """How much of an alert goes into a record."""

    text_bytes: int
    items: int
    depth: int = 8

    def smaller(self) -> "Limits":
        """A quarter of it."""
        return Limits(max(64, self.text_bytes // 4), max(1, self.items // 4), self.depth)


WHOLE = Limits(text_bytes=8_192, items=256)


def encoded(value: Any) -> bytes:
    """JSON on one line for every reader, also for those that end lines at U+2028."""
    body = msgspec.json.encode(value)
    for char, escape in _ESCAPED:
        body = body.replace(char, escape)
    return body


def fitting(
    event: dict[str, Any],
    max_bytes: int,
    mark: Callable[[dict[str, Any]], None],
    limits: Limits = WHOLE,
    build: Callable[[Any], bytes] = encoded,
) -> bytes:
    """The event in at most `max_bytes`; `mark` makes it say that something was cut.

    `build` makes the record of the bounded event: JSON of it, unless told otherwise.
    """
    whole = _Bounded(limits)
    body = build(whole.of(event))
    cut_short = whole.cut
    while len(body) > max_bytes - _MARK_BYTES:
        limits, cut_short = limits.smaller(), True
        body = build(_Bounded(limits).of(event))
    if not cut_short:
        return body
    mark(event)
    return build(_Bounded(limits).of(event))


def bounded(value: Any, limits: Limits = WHOLE) -> Any:
    """A copy of JSON values within the limits."""
    return _Bounded(limits).of(value)


class _Bounded:
    """A copy of JSON values in which no text, list or depth is over the limits.

    Dicts that a format made keep all keys; those from outside (`_FOREIGN`) are cut as lists are.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.cut = False

    def of(self, value: Any, depth: int = 0, *, foreign: bool = False) -> Any:
        """The value, cut where it must be; `cut` says whether it was."""
        if isinstance(value, str):
            return self._text(value)
        if not isinstance(value, dict | list):
            return value
        if depth >= self.limits.depth:
            self.cut = True
            return "…"
        most = self.limits.items if foreign or isinstance(value, list) else len(value)
        self.cut |= len(value) > most
        if isinstance(value, list):
            return [self.of(item, depth + 1, foreign=foreign) for item in value[:most]]
        return {
            self._text(key): self.of(item, depth + 1, foreign=foreign or key in _FOREIGN)
            for key, item in list(value.items())[:most]
        }

    def _text(self, text: str) -> str:
        short = cut(text, self.limits.text_bytes)
        self.cut |= short != text
        return short
