"""The protobuf wire format, many messages at a time: columns of fields instead of objects.

All messages are walked in step, one field of each a round, so a message costs a few array
operations and no Python object. What is not plain (cut off, of an unknown wire type, with more
fields than a bound) is marked and left to a reader that knows what to say of it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
# Reading a number may go this far beyond the end of a message.
_PAD: Final = 32
_SHORT: Final = 12  # bytes of a text that stand in its view
_LOW: Final = np.array([(1 << (8 * size)) - 1 for size in range(9)], np.uint64)
_SHIFT: Final = np.uint64(32)
_LARGEST_TAG: Final = np.uint64(2**32 - 1)


def tag_of(number: int, wire: int) -> int:
    """What stands before a field of that number and wire type."""
    return number << 3 | wire


class Fields(NamedTuple):
    """Fields of many messages, in the order of the messages and within each as they come."""

    owner: Ints  # which message
    tag: Ints  # field number << 3 | wire type
    start: Ints  # where the payload begins
    size: Ints  # bytes of it, where it is length-delimited
    value: Words  # the number, where it is none

    def of(self, chosen: Bools) -> "Fields":
        """The chosen fields."""
        return Fields(
            self.owner[chosen], self.tag[chosen], self.start[chosen], self.size[chosen],
            self.value[chosen],
        )  # fmt: skip


class Wire:
    """Some messages as one stretch of bytes. Positions are those within the stretch."""

    def __init__(self, messages: Sequence[bytes]) -> None:
        self.raw = b"".join([*messages, bytes(_PAD)])
        sizes = np.fromiter(map(len, messages), np.int64, len(messages))
        self.ends: Ints = np.cumsum(sizes)
        self.starts: Ints = self.ends - sizes
        self.bytes: Bytes = np.frombuffer(self.raw, np.uint8)
        # Every 4 and 8 bytes of the stretch, whatever they are aligned to.
        self._halves = np.ndarray((len(self.raw) - 3,), "<u4", self.raw, 0, (1,))
        self._words = np.ndarray((len(self.raw) - 7,), "<u8", self.raw, 0, (1,))
        self._buffer = pa.py_buffer(self.raw)

    def varints(self, at: Ints) -> tuple[Words, Ints]:
        """Numbers that begin there, and where each ends. Ten bytes are read at most."""
        byte = self.bytes[at]
        value = (byte & 0x7F).astype(np.uint64)
        at = at + 1
        more = np.flatnonzero(byte >= 0x80)
        for shift in range(7, 70, 7):
            if not len(more):
                break
            byte = self.bytes[at[more]]
            value[more] |= (byte & np.uint8(0x7F)).astype(np.uint64) << np.uint64(shift)
            at[more] += 1
            more = more[byte >= 0x80]
        at[more] = len(self.raw)  # no number is longer: beyond the end of any message
        return value, at

    def lengths(self, at: Ints, end: Ints) -> tuple[Ints, Ints]:
        """Lengths that begin there, and where what they measure begins; those that go beyond `end`
        come out as ending just behind it.
        """
        value, start = self.varints(at)
        start = np.minimum(start, end + 1)
        room = (end - start + 1).astype(np.uint64)
        return np.minimum(value, room).astype(np.int64), start

    def words(self, at: Ints) -> Words:
        """The eight bytes there."""
        return self._words[at]

    def halves(self, at: Ints) -> Words:
        """The four bytes there."""
        return self._halves[at].astype(np.uint64)

    def fields(self, start: Ints, end: Ints, most: int) -> tuple[Fields, Bools]:
        """Fields of the messages that lie there, and which messages are not plain.

        `most`: fields that a message may have.
        """
        odd = np.zeros(len(start), np.bool_)
        position = start.copy()
        live = np.flatnonzero(position < end)
        rounds: list[Fields] = []
        for _ in range(most):
            if not len(live):
                break
            found, after = self._next(live, position[live], end[live])
            fits = after <= end[live]
            if not fits.all():
                odd[live[~fits]] = True
                found = found.of(fits)
                live, after = live[fits], after[fits]
            rounds.append(found)
            position[live] = after
            live = live[after < end[live]]
        odd[live] = True
        return _in_order(rounds, len(start)), odd

    def _next(self, live: Ints, at: Ints, end: Ints) -> tuple[Fields, Ints]:
        """One field of each message, and where it ends: beyond the message where it is not
        plain.
        """
        tags, at = self.varints(at)
        at = np.minimum(at, end + 1)
        tag = np.minimum(tags, _LARGEST_TAG).astype(np.int64)
        kind = tag & 7
        if (kind == LENGTH).all():
            size, at = self.lengths(at, end)
            number = np.zeros(len(live), np.uint64)
            return Fields(live, tag, at, size, number), at + size
        size = np.zeros(len(live), np.int64)
        number = np.zeros(len(live), np.uint64)
        after = end + 1
        for wire in np.unique(kind).tolist():
            own = np.flatnonzero(kind == wire)
            if wire == LENGTH:
                size[own], at[own] = self.lengths(at[own], end[own])
                after[own] = at[own] + size[own]
            elif wire == VARINT:
                number[own], after[own] = self.varints(at[own])
            elif wire == FIXED64:
                number[own], after[own] = self.words(at[own]), at[own] + 8
            elif wire == FIXED32:
                number[own], after[own] = self.halves(at[own]), at[own] + 4
        return Fields(live, tag, at, size, number), after

    def texts(self, start: Ints, size: Ints) -> pl.Series:
        """The texts that lie there, without copying them; null where the bytes are no UTF-8."""
        found = self.binary(start, size)
        try:
            return found.cast(pl.String, strict=True)
        except pl.exceptions.PolarsError:
            # Which they are, Polars does not say.
            return pl.Series(list(map(_text, found)), dtype=pl.String)

    def binary(self, start: Ints, size: Ints) -> pl.Series:
        """The bytes that lie there, without copying them, as Arrow's views."""
        views = np.empty((len(start), 2), np.uint64)
        views[:, 0] = self.halves(start) << _SHIFT | size.astype(np.uint64)
        views[:, 1] = start.astype(np.uint64) << _SHIFT  # of buffer 0
        short = np.flatnonzero(size <= _SHORT)
        at, length = start[short], size[short]
        head = self.halves(at) & _LOW[np.minimum(length, 4)]
        views[short, 0] = head << _SHIFT | length.astype(np.uint64)
        views[short, 1] = self.words(at + 4) & _LOW[np.maximum(length - 4, 0)]
        array = pa.Array.from_buffers(
            pa.binary_view(), len(start), [None, pa.py_buffer(views), self._buffer]
        )
        return pl.Series(pl.from_arrow(array), dtype=pl.Binary)


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _in_order(rounds: list[Fields], messages: int) -> Fields:
    """The fields of all rounds, message by message."""
    if not rounds:
        none = np.empty(0, np.int64)
        return Fields(none, none, none, none, none.astype(np.uint64))
    owner = np.concatenate([found.owner for found in rounds])
    each = np.bincount(owner, minlength=messages)
    first = np.cumsum(each) - each
    turn = np.repeat(np.arange(len(rounds)), [len(found.owner) for found in rounds])
    place = first[owner] + turn
    columns = []
    for column in zip(*rounds, strict=True):
        joined = np.concatenate(column)
        ordered = np.empty_like(joined)
        ordered[place] = joined
        columns.append(ordered)
    return Fields(*columns)
