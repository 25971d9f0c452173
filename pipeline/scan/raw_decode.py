"""What a line of JSON is decoded to: a dict; where few fields are asked, only these, as an object
with a slot for each, which takes half the time. Anything else in it is checked and passed over.
"""

from collections.abc import Collection
from typing import Any

import msgspec

# Looking a name up among more of them takes longer than decoding all.
FEW_NAMES = 48


class Decoder:
    """Decodes lines. Not thread-safe."""

    def __init__(self, names: Collection[str] | None) -> None:
        """`names`: of the fields to decode, if they are few; None: all."""
        self.names = sorted(names) if names is not None and len(names) <= FEW_NAMES else None
        # Untyped, it keeps the names it has seen.
        self._json: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
        if self.names is not None:
            slots = {f"slot{place}": name for place, name in enumerate(self.names)}
            asked = msgspec.defstruct(
                "Asked", [(slot, object, None) for slot in slots], rename=slots, gc=False
            )
            self._json = msgspec.json.Decoder(asked)

    def objects(self, text: memoryview) -> list[Any] | None:
        """The values in a text, one after the other; None where any is no object."""
        try:
            self._check(text)
            return self._json.decode_lines(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def object(self, line: bytes) -> Any | None:
        """The object on a line; None where there is none."""
        try:
            self._check(line)
            value = self._json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return value if self.names is not None or isinstance(value, dict) else None

    def _check(self, text: bytes | memoryview) -> None:
        """What is passed over must be text too. Raises UnicodeDecodeError."""
        if self.names is not None and not (whole := bytes(text)).isascii():
            whole.decode()
