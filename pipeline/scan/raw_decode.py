"""What a line of JSON is decoded to: a dict; where few of the fields asked for come, only these, as
an object with a slot for each, which takes half the time. Anything else in it is checked and passed
over.
"""

import math
from collections.abc import Collection
from typing import Any

import msgspec

from tachograph.pipeline.scan.raw_names import Names, tellable

# Looking a name up among more of them takes longer than decoding all.
FEW_NAMES = 48


class Decoder:
    """Decodes lines. Not thread-safe."""

    def __init__(self, names: Collection[str] | None) -> None:
        """`names`: of the fields to decode; None: all."""
        asked = sorted(names or ())
        later = [name for name in asked if tellable(name)] if len(asked) > FEW_NAMES else []
        # Names that may not have come yet.
        self._later = set(later)
        self._looked_for = Names(later)
        self._slots = [name for name in asked if name not in self._later]
        self._few = names is not None and len(self._slots) <= FEW_NAMES
        # Untyped, it keeps the names it has seen.
        self._to_dicts: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
        self._to_slots = _to_slots(self._slots if self._few else [])
        self._whole = not self._few

    def ready(self, text: memoryview) -> list[str] | None:
        """Get ready for a text. The names that what is in it will have slots for; None: all that is
        there, in dicts.
        """
        self._whole = not self._few or not self._told(text)
        return None if self._whole else self._slots

    def _told(self, text: memoryview) -> bool:
        """Whether all names that may be in the text are among the slots, or are now."""
        found = self._looked_for.among(text) if self._later else []
        if found is None:
            return False
        if news := sorted(self._later.intersection(found)):
            self._later.difference_update(news)
            self._slots = [*self._slots, *news]
            self._few = len(self._slots) <= FEW_NAMES
            self._to_slots = _to_slots(self._slots if self._few else [])
        return self._few

    def objects(self, text: memoryview) -> list[Any] | None:
        """The values in the text, one after the other; None where any is no object."""
        try:
            self._check(text)
            return self._decoder.decode_lines(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def object(self, line: bytes) -> Any | None:
        """The object on a line of the text; None where there is none."""
        try:
            self._check(line)
            value = self._in_full(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return value if not self._whole or isinstance(value, dict) else None

    def _in_full(self, line: bytes) -> Any:
        try:
            return self._decoder.decode(line)
        except msgspec.ValidationError:
            # Of JSON that is sound: a number may be too large for a float.
            kind = Any if self._whole else self._to_slots.type
            return msgspec.json.Decoder(kind, float_hook=_number).decode(line)

    @property
    def _decoder(self) -> "msgspec.json.Decoder[Any]":
        return self._to_dicts if self._whole else self._to_slots

    def _check(self, text: bytes | memoryview) -> None:
        """What is passed over must be text too. Raises UnicodeDecodeError."""
        if not self._whole and not (whole := bytes(text)).isascii():
            whole.decode()


def _number(text: str) -> float | str:
    """The number, or its text, where no float holds it."""
    number = float(text)
    return number if math.isfinite(number) else text


def _to_slots(names: Collection[str]) -> "msgspec.json.Decoder[Any]":
    slots = {f"slot{place}": name for place, name in enumerate(names)}
    asked = msgspec.defstruct(
        "Asked", [(slot, object, None) for slot in slots], rename=slots, gc=False
    )
    return msgspec.json.Decoder(asked)
