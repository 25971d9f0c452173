"""The Native format as those read it who speak the native protocol over HTTP
(`client_protocol_version`), as ClickHouse's Go client does: before each block stands what it is,
and after each column's type whether the column is written in another way (never, here).

The engine writes neither, so a block is passed over column by column to see where each one ends.
"""

import re
from collections.abc import Callable
from struct import Struct
from typing import Final, Protocol

from tachograph.pipeline.standins import clickhouse_errors as errors
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError

# From this version of the protocol on columns say how they are written.
FIRST_VERSION: Final = 54454
# Field 1: no totals; field 2: of no bucket (-1); end.
_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_ORDINARY: Final = b"\x00"
_U64 = Struct("<Q")
# Of a dictionary: how wide its places are, and that its keys stand here.
_WIDTH, _KEYS_HERE = 0xFF, 1 << 9
_BYTES: Final = {
    "Bool": 1, "Int8": 1, "UInt8": 1, "Enum8": 1, "Nothing": 1, "Int16": 2, "UInt16": 2,
    "Enum16": 2, "Date": 2, "BFloat16": 2, "Int32": 4, "UInt32": 4, "Float32": 4, "Date32": 4,
    "DateTime": 4, "Time": 4, "IPv4": 4, "Decimal32": 4, "Int64": 8, "UInt64": 8, "Float64": 8,
    "DateTime64": 8, "Time64": 8, "Decimal64": 8, "Int128": 16, "UInt128": 16, "UUID": 16,
    "IPv6": 16, "Decimal128": 16, "Point": 16, "Int256": 32, "UInt256": 32, "Decimal256": 32,
}  # fmt: skip
_DECIMAL_BYTES: Final = ((9, 4), (18, 8), (38, 16), (76, 32))
_NAME = re.compile(r"\w+")
# A column's name before the type of a tuple's part.
_NAMED = re.compile(r"(?:`(?:[^`\\]|\\.)*`|\w+) +(?=\w)")


class _Cut(Exception):
    """The block goes on in the next piece."""


class _Place:
    """Where one is in the bytes."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data, self.at = data, 0

    def over(self, size: int) -> None:
        """Go on by so many bytes."""
        self.at += size
        if self.at > len(self.data):
            raise _Cut

    def number(self) -> int:
        """A number of seven bits a byte."""
        found = shift = 0
        while True:
            if self.at >= len(self.data):
                raise _Cut
            byte = self.data[self.at]
            self.at += 1
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
            shift += 7

    def u64(self) -> int:
        """A number of eight bytes."""
        self.over(8)
        found: int = _U64.unpack_from(self.data, self.at - 8)[0]
        return found

    def text(self) -> bytes:
        """A text with its length before it."""
        size = self.number()
        self.over(size)
        return bytes(self.data[self.at - size : self.at])


class _Type(Protocol):
    """How values of a type are passed over: what stands before all of them, then the values."""

    def head(self, place: _Place) -> None: ...

    def values(self, place: _Place, rows: int) -> None: ...


class _Fixed:
    def __init__(self, size: int) -> None:
        self._size = size

    def head(self, place: _Place) -> None: ...

    def values(self, place: _Place, rows: int) -> None:
        place.over(self._size * rows)


class _Texts:
    def head(self, place: _Place) -> None: ...

    def values(self, place: _Place, rows: int) -> None:
        for _ in range(rows):
            place.over(place.number())


class _Parts:
    """A tuple: one column after the other."""

    def __init__(self, parts: list[_Type]) -> None:
        self._parts = parts

    def head(self, place: _Place) -> None:
        for part in self._parts:
            part.head(place)

    def values(self, place: _Place, rows: int) -> None:
        if not self._parts:
            place.over(rows)
        for part in self._parts:
            part.values(place, rows)


class _Nullable:
    def __init__(self, inner: _Type) -> None:
        self.inner = inner

    def head(self, place: _Place) -> None:
        self.inner.head(place)

    def values(self, place: _Place, rows: int) -> None:
        place.over(rows)
        self.inner.values(place, rows)


class _Arrays:
    """Where each array ends, then what is in them."""

    def __init__(self, inner: _Type) -> None:
        self._inner = inner

    def head(self, place: _Place) -> None:
        self._inner.head(place)

    def values(self, place: _Place, rows: int) -> None:
        if rows:
            place.over(8 * (rows - 1))
            self._inner.values(place, place.u64())


class _Dictionary:
    """Values by their places among keys."""

    def __init__(self, inner: _Type) -> None:
        self._keys = inner.inner if isinstance(inner, _Nullable) else inner

    def head(self, place: _Place) -> None:
        place.over(8)

    def values(self, place: _Place, rows: int) -> None:
        if not rows:
            return
        how = place.u64()
        if how & _KEYS_HERE:
            self._keys.values(place, place.u64())
        place.over(place.u64() << (how & _WIDTH))


def _type(text: str) -> _Type:
    """Raises ClickHouseError for a type whose values cannot be passed over."""
    named = _NAME.match(text)
    name = named.group() if named else ""
    inner = text[len(name) + 1 : -1]
    if name in _BYTES:
        return _Fixed(_BYTES[name])
    if name == "String":
        return _Texts()
    if name == "FixedString":
        return _Fixed(int(inner))
    if name == "Decimal":
        digits = int(inner.partition(",")[0])
        return _Fixed(next(size for most, size in _DECIMAL_BYTES if digits <= most))
    if name.startswith("Interval"):
        return _Fixed(8)
    if name in _AROUND:
        return _AROUND[name]([_type(part) for part in _split(inner)])
    if name == "SimpleAggregateFunction":
        return _type(_split(inner)[1])
    raise ClickHouseError(
        errors.NOT_IMPLEMENTED, f"No {name or text[:40]} in Native with client_protocol_version."
    )


_AROUND: Final[dict[str, Callable[[list[_Type]], _Type]]] = {
    "Nullable": lambda parts: _Nullable(parts[0]),
    "Array": lambda parts: _Arrays(parts[0]),
    "LowCardinality": lambda parts: _Dictionary(parts[0]),
    "Tuple": _Parts,
    "Map": lambda parts: _Arrays(_Parts(parts)),
}


def _split(inner: str) -> list[str]:
    """The parts of a type between its commas, without the names that parts of a tuple have."""
    parts, depth, begin, quote, at = [], 0, 0, "", 0
    while at < len(inner):
        character = inner[at]
        if quote:
            at += character == "\\"
            quote = "" if character == quote else quote
        elif character in "'`":
            quote = character
        elif character == "," and not depth:
            parts.append(inner[begin:at])
            begin = at + 1
        else:
            depth += (character == "(") - (character == ")")
        at += 1
    parts.append(inner[begin:])
    return [_NAMED.sub("", part.strip(), count=1) for part in parts if part.strip()]


def _block(place: _Place) -> bytes:
    """The next block as the client reads it. Raises _Cut, ClickHouseError."""
    begin = place.at
    columns, rows = place.number(), place.number()
    pieces, kept = [_BLOCK_INFO], begin
    for _ in range(columns):
        place.text()
        kind = _type(place.text().decode("utf-8", "replace"))
        pieces += [bytes(place.data[kept : place.at]), _ORDINARY]
        kept = place.at
        if rows:
            kind.head(place)
            kind.values(place, rows)
    pieces.append(bytes(place.data[kept : place.at]))
    return b"".join(pieces)


class Encoder(Protocol):
    """What packs an answer."""

    coding: str

    def feed(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class NativeBlocks:
    """Rewrites the blocks of an answer for an encoder. Of what is no block (the words of a failure)
    nothing is changed.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self.coding = encoder, encoder.coding
        self._held = bytearray()
        self._failed = False

    def feed(self, data: bytes) -> bytes:
        """Whole blocks; the rest waits for the next piece. Raises ClickHouseError; what comes after
        that is words.
        """
        if self._failed:
            return self._encoder.feed(data)
        self._held += data
        place, found, done = _Place(self._held), [], 0
        try:
            while place.at < len(self._held):
                found.append(_block(place))
                done = place.at
        except _Cut:
            pass
        except ClickHouseError:
            self._failed = True
            self._held.clear()
            raise
        del self._held[:done]
        return self._encoder.feed(b"".join(found))

    def finish(self) -> bytes:
        """The end of the stream."""
        return self._encoder.feed(bytes(self._held)) + self._encoder.finish()
