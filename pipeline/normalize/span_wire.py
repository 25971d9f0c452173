"""Trace export requests in protobuf to columns, for all requests of a batch at once.

Read from the wire, because an object for each attribute costs more than all that follows. Only what
exporters send in the ordinary way is read here; any record with something else (a field that is not
known, one given twice, broken bytes) is left to protobuf's own reader, which judges it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from tachograph.pipeline.normalize import limits, otlp
from tachograph.pipeline.normalize.raw import BadInput
from tachograph.pipeline.normalize.span_places import Finder, Places
from tachograph.pipeline.normalize.spans import (
    FLAG,
    NONE,
    OTHER,
    REAL,
    TEXT,
    WHOLE,
    Codes,
    Event,
    Pairs,
    Spans,
    numbered,
    repeating,
)  # fmt: skip
from tachograph.pipeline.normalize.wire import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Bools,
    Ints,
    Wire,
    Words,
    tag_of,
)  # fmt: skip

# Fields that a span may have to be read here: its attributes, and a few dozen others.
MOST_FIELDS: Final = 400
# Values nested deeper are left to the other reader, which knows the limit.
_PLAIN_DEPTH: Final = limits.JSON_DEPTH - 16

_TRACE_ID, _SPAN_ID, _TRACE_STATE, _PARENT, _NAME = (tag_of(n, LENGTH) for n in range(1, 6))
_KIND, _START, _END = tag_of(6, VARINT), tag_of(7, FIXED64), tag_of(8, FIXED64)
_ATTRIBUTE, _EVENT, _LINK, _STATUS = (tag_of(number, LENGTH) for number in (9, 11, 13, 15))
_DROPPED: Final = tuple(tag_of(number, VARINT) for number in (10, 12, 14))
_FLAGS: Final = tag_of(16, FIXED32)
_ONCE: Final = (
    _TRACE_ID, _SPAN_ID, _TRACE_STATE, _PARENT, _NAME, _KIND, _START, _END, _STATUS,
)  # fmt: skip
_STATUS_MESSAGE, _STATUS_CODE = tag_of(2, LENGTH), tag_of(3, VARINT)
_VALUE_CODES: Final = {
    tag_of(1, LENGTH): TEXT,
    tag_of(2, VARINT): FLAG,
    tag_of(3, VARINT): WHOLE,
    tag_of(4, FIXED64): REAL,
    tag_of(5, LENGTH): OTHER,
    tag_of(6, LENGTH): OTHER,
    tag_of(7, LENGTH): OTHER,
}


def _known(tags: Sequence[int]) -> Bools:
    known = np.zeros(256, np.bool_)
    known[list(tags)] = True
    return known


_SPAN_TAGS: Final = _known([*_ONCE, _ATTRIBUTE, _EVENT, _LINK, *_DROPPED, _FLAGS])
_STATUS_TAGS: Final = _known([_STATUS_MESSAGE, _STATUS_CODE])


class SpanReader:
    """Reads requests. One thread."""

    def __init__(self) -> None:
        self._finder = Finder()

    def read(self, requests: Sequence[bytes]) -> tuple[Spans, Bools]:
        """The spans of the plain requests, and which requests are not plain.

        `record` of the spans is the place in `requests`.
        """
        wire = Wire(requests)
        places, odd = self._finder.places(requests, wire.starts)
        spans, doubtful = _Reading(wire, places).spans()
        odd[spans.record[doubtful]] = True
        return spans.of(~odd[spans.record]), odd


class _Reading:
    """The spans that lie at some places, read column by column; `doubtful` grows on the way."""

    def __init__(self, wire: Wire, places: Places) -> None:
        self._wire, self._places = wire, places
        begin, end = np.array(places.begin, np.int64), np.array(places.end, np.int64)
        self._fields, self._doubtful = wire.fields(begin, end, MOST_FIELDS)
        unknown = ~_SPAN_TAGS[np.minimum(self._fields.tag, 255)]
        self._doubt(self._fields.owner[unknown])

    def spans(self) -> tuple[Spans, Bools]:
        """The spans, and which of them are not plain."""
        places = self._places
        sizes = np.array(places.size, np.int64)
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        status, message = self._status()
        start, end = self._number(_START), self._number(_END)
        ended = np.where(end != 0, end, start)
        self._check_text(_TRACE_STATE)
        found = Spans(
            record=np.repeat(np.array(places.record, np.int64), sizes),
            index=np.repeat(np.array(places.first, np.int64), sizes) + within,
            group=np.repeat(np.arange(len(sizes)), sizes),
            groups=places.groups,
            trace_id=self._id(_TRACE_ID, 16),
            span_id=self._id(_SPAN_ID, 8),
            parent_span_id=self._id(_PARENT, 8),
            name=self._text(_NAME),
            kind=self._enum(self._number(_KIND)),
            status=status,
            status_message=message,
            start_ns=start,
            end_ns=end,
            start_us=(start // np.uint64(1000)).astype(np.int64),
            event_us=(ended // np.uint64(1000)).astype(np.int64),
            timeless=ended == 0,
            events=self._events(),
            pairs=self._pairs(),
        )
        self._links()
        return found, self._doubtful

    def _doubt(self, spans: Ints) -> None:
        self._doubtful[spans] = True

    def _at(self, tag: int) -> tuple[Ints, Ints, Ints]:
        """(span, begin, size) of the fields of that tag; given twice it is not plain."""
        rows = np.flatnonzero(self._fields.tag == tag)
        owner = self._fields.owner[rows]
        self._doubt(owner[1:][owner[1:] == owner[:-1]])
        return owner, self._fields.start[rows], self._fields.size[rows]

    def _spread(self, owner: Ints, values: Ints) -> Ints:
        """A value for every span, 0 where it has none."""
        every = np.zeros(len(self._doubtful), np.int64)
        every[owner] = values
        return every

    def _words(self, owner: Ints, values: Words) -> Words:
        every = np.zeros(len(self._doubtful), np.uint64)
        every[owner] = values
        return every

    def _number(self, tag: int) -> Words:
        rows = np.flatnonzero(self._fields.tag == tag)
        owner = self._fields.owner[rows]
        self._doubt(owner[1:][owner[1:] == owner[:-1]])
        return self._words(owner, self._fields.value[rows])

    def _enum(self, numbers: Words) -> Ints:
        """A number of a closed vocabulary; a larger one would be cut to 32 bits elsewhere."""
        self._doubtful |= numbers >= 2**31
        return numbers.astype(np.int64)

    def _text(self, tag: int) -> pl.Series:
        """The text of every span, "" where it has none."""
        owner, start, size = self._at(tag)
        return self._read(self._spread(owner, start), self._spread(owner, size))

    def _read(self, start: Ints, size: Ints) -> pl.Series:
        """A text for each span."""
        texts = self._wire.texts(start, size)
        if texts.null_count():
            self._doubt(texts.is_null().arg_true().to_numpy())
        return texts

    def _check_text(self, tag: int) -> None:
        if (self._fields.tag == tag).any():
            self._text(tag)

    def _id(self, tag: int, length: int) -> pl.Series:
        owner, start, size = self._at(tag)
        self._doubt(owner[(size != length) & (size != 0)])
        ids = self._wire.binary(self._spread(owner, start), self._spread(owner, size))
        return ids.bin.encode("hex")

    def _status(self) -> tuple[Ints, pl.Series]:
        owner, start, size = self._at(_STATUS)
        fields, odd = self._wire.fields(start, start + size, 4)
        self._doubt(owner[odd])
        unknown = ~_STATUS_TAGS[np.minimum(fields.tag, 255)]
        self._doubt(owner[fields.owner[unknown]])
        columns = []
        for tag in (_STATUS_CODE, _STATUS_MESSAGE):
            rows = np.flatnonzero(fields.tag == tag)
            of = owner[fields.owner[rows]]
            self._doubt(of[1:][of[1:] == of[:-1]])
            columns.append((rows, of))
        (codes, coded), (messages, told) = columns
        code = self._enum(self._words(coded, fields.value[codes]))
        begin = self._spread(told, fields.start[messages])
        return code, self._read(begin, self._spread(told, fields.size[messages]))

    def _slices(self, tag: int) -> Iterator[tuple[int, bytes]]:
        rows = np.flatnonzero(self._fields.tag == tag)
        raw = self._wire.raw
        for row in rows.tolist():
            begin = int(self._fields.start[row])
            owner = int(self._fields.owner[row])
            yield owner, raw[begin : begin + int(self._fields.size[row])]

    def _events(self) -> dict[int, list[Event]]:
        found: dict[int, list[Event]] = {}
        for span, part in self._slices(_EVENT):
            try:
                event = Message.Event.FromString(part)
                attributes = otlp.attributes_of(event.attributes, _PLAIN_DEPTH)
            except (DecodeError, BadInput):
                self._doubtful[span] = True
                continue
            found.setdefault(span, []).append((event.name, event.time_unix_nano, attributes))
        return found

    def _links(self) -> None:
        """They say nothing here, but must be sound."""
        for span, part in self._slices(_LINK):
            try:
                Message.Link.FromString(part)
            except DecodeError:
                self._doubtful[span] = True

    # --- attributes

    def _pairs(self) -> Pairs:
        rows = np.flatnonzero(self._fields.tag == _ATTRIBUTE)
        owner = self._fields.owner[rows]
        begin = self._fields.start[rows]
        key, value, odd = _key_and_value(self._wire, begin, begin + self._fields.size[rows])
        self._doubt(owner[odd])
        code, start, size, number, odd = _any_values(self._wire, *value)
        self._doubt(owner[odd])
        names = self._wire.texts(*key)
        texts = self._wire.texts(start, np.where(code == TEXT, size, 0))
        broken = names.is_null() | texts.is_null()
        if broken.any():
            self._doubt(owner[broken.arg_true().to_numpy()])
        return self._made(owner, names, _Values(code, start, size, number), texts)

    def _made(self, owner: Ints, names: pl.Series, values: "_Values", texts: pl.Series) -> Pairs:
        key, keys = numbered(names)
        self._doubt(repeating(owner, key, len(keys)))
        other = {}
        for at in np.flatnonzero(values.code == OTHER).tolist():
            try:
                other[at] = self._other(int(values.start[at]), int(values.size[at]))
            except (DecodeError, BadInput):
                self._doubtful[owner[at]] = True
                other[at] = None
        pairs = Pairs(owner, key, keys, values.code, values.number, other, texts)
        return pairs.with_texts()

    def _other(self, begin: int, size: int) -> Any:
        message = AnyValue.FromString(self._wire.raw[begin : begin + size])
        return otlp.value_of(message, _PLAIN_DEPTH)


class _Values:
    """What the values of attributes are and where they lie."""

    def __init__(self, code: Codes, start: Ints, size: Ints, number: Words) -> None:
        self.code, self.start, self.size, self.number = code, start, size, number


Where = tuple[Ints, Ints]


def _key_and_value(wire: Wire, at: Ints, end: Ints) -> tuple[Where, Where, Bools]:
    """(begin, size) of the key and of the value of each KeyValue, and which are not plain: a key
    and a value, in this order.
    """
    odd = (wire.bytes[at] != tag_of(1, LENGTH)) | (at >= end)
    key_size, key_at = wire.lengths(at + 1, end)
    at = np.minimum(key_at + key_size, end)
    odd |= (wire.bytes[at] != tag_of(2, LENGTH)) | (at >= end)
    size, begin = wire.lengths(at + 1, end)
    odd |= begin + size != end
    key_size[odd], size[odd] = 0, 0
    return (key_at, key_size), (begin, size), odd


def _any_values(wire: Wire, at: Ints, size: Ints) -> tuple[Codes, Ints, Ints, Words, Bools]:
    """(code, begin, size, number) of each AnyValue, and which are not plain: one field or none."""
    end = at + size
    tag = np.where(size > 0, wire.bytes[at], 0)
    code = _CODE_OF[tag]
    odd = (size > 0) & (code == NONE)
    length, begin = wire.lengths(at + 1, end)
    number = np.zeros(len(at), np.uint64)
    after = begin + length
    plain = np.flatnonzero((code == WHOLE) | (code == FLAG))
    if len(plain):
        number[plain], after[plain] = wire.varints(at[plain] + 1)
    real = np.flatnonzero(code == REAL)
    if len(real):
        number[real], after[real] = wire.words(at[real] + 1), at[real] + 9
    odd |= (code != NONE) & (after != end)
    flags = code == FLAG
    number[flags] = number[flags] != 0
    whole = code == OTHER  # read as a message of its own
    begin[whole], length[whole] = at[whole], size[whole]
    length[odd] = 0
    code[odd] = NONE
    return code, begin, length, number, odd


_CODE_OF: Final = np.full(256, NONE, np.uint8)
_CODE_OF[list(_VALUE_CODES)] = list(_VALUE_CODES.values())
