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
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from tachograph.pipeline.normalize import limits, otlp
from tachograph.pipeline.normalize.raw import BadInput
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
    Source,
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
)  # fmt: skip

# Fields that a span may have to be read here: its attributes, and a few dozen others.
MOST_FIELDS: Final = 400
# Resource and scope together, to be remembered.
KEPT_BYTES: Final = 4_096
# Values nested deeper are left to the other reader, which knows the limit.
_PLAIN_DEPTH: Final = limits.JSON_DEPTH - 16


class _OddError(Exception):
    """A record that is not plain."""


def _tag(number: int, wire: int) -> int:
    return number << 3 | wire


_RESOURCE_SPANS: Final = _tag(1, LENGTH)
_RESOURCE, _SCOPE_SPANS, _SCHEMA_URL = (_tag(number, LENGTH) for number in (1, 2, 3))
_SCOPE, _SPANS = _tag(1, LENGTH), _tag(2, LENGTH)
_TRACE_ID, _SPAN_ID, _TRACE_STATE, _PARENT, _NAME = (_tag(n, LENGTH) for n in range(1, 6))
_KIND, _START, _END = _tag(6, VARINT), _tag(7, FIXED64), _tag(8, FIXED64)
_ATTRIBUTE, _EVENT, _LINK, _STATUS = (_tag(number, LENGTH) for number in (9, 11, 13, 15))
_DROPPED: Final = tuple(_tag(number, VARINT) for number in (10, 12, 14))
_FLAGS: Final = _tag(16, FIXED32)
_ONCE: Final = (
    _TRACE_ID, _SPAN_ID, _TRACE_STATE, _PARENT, _NAME, _KIND, _START, _END, _STATUS,
)  # fmt: skip
_STATUS_MESSAGE, _STATUS_CODE = _tag(2, LENGTH), _tag(3, VARINT)
_VALUE_CODES: Final = {
    _tag(1, LENGTH): TEXT,
    _tag(2, VARINT): FLAG,
    _tag(3, VARINT): WHOLE,
    _tag(4, FIXED64): REAL,
    _tag(5, LENGTH): OTHER,
    _tag(6, LENGTH): OTHER,
    _tag(7, LENGTH): OTHER,
}


def _known(tags: Sequence[int]) -> Bools:
    known = np.zeros(256, np.bool_)
    known[list(tags)] = True
    return known


_SPAN_TAGS: Final = _known([*_ONCE, _ATTRIBUTE, _EVENT, _LINK, *_DROPPED, _FLAGS])
_STATUS_TAGS: Final = _known([_STATUS_MESSAGE, _STATUS_CODE])


class SpanReader:
    """Reads requests; remembers what resources say, as each comes with every export. One thread."""

    def __init__(self) -> None:
        self._sources: dict[tuple[bytes, bytes], Source] = {}

    def read(self, requests: Sequence[bytes]) -> tuple[Spans, Bools]:
        """The spans of the plain requests, and which requests are not plain.

        `record` of the spans is the place in `requests`.
        """
        wire = Wire(requests)
        odd = np.zeros(len(requests), np.bool_)
        places = _Places()
        for number, request in enumerate(requests):
            try:
                self._walk(request, int(wire.starts[number]), number, places)
            except (_OddError, IndexError):
                odd[number] = True
                places.forget(number)
        spans, doubtful = _Reading(wire, places).spans()
        odd[spans.record[doubtful]] = True
        return spans.of(~odd[spans.record]), odd

    def _walk(self, request: bytes, base: int, number: int, places: "_Places") -> None:
        """Find the spans of one request. Raises _OddError or IndexError when it is not plain."""
        index = 0
        for tag, begin, end in _parts(request, 0, len(request)):
            if tag != _RESOURCE_SPANS:
                raise _OddError
            resource, scoped = b"", list[tuple[int, int]]()
            for inner, at, stop in _parts(request, begin, end):
                if inner == _SCOPE_SPANS:
                    scoped.append((at, stop))
                elif inner == _RESOURCE and not resource:
                    resource = request[at:stop]
                else:
                    _check_url(inner, request[at:stop])
            if not scoped:
                self._source(resource, b"")
            for at, stop in scoped:
                index = self._scope(request, at, stop, resource, index, base, number, places)

    def _scope(  # noqa: PLR0917 - the state of one walk
        self, request: bytes, at: int, stop: int, resource: bytes, index: int, base: int,
        number: int, places: "_Places",
    ) -> int:  # fmt: skip
        scope = b""
        begins, ends = places.begin, places.end
        before = len(begins)
        # As in _parts, without a call for each span.
        while at < stop:
            tag, size = request[at], request[at + 1]
            at += 2
            if size >= 0x80:
                size, at = _length(request, at - 1)
            end = at + size
            if end > stop:
                raise _OddError
            if tag == _SPANS:
                begins.append(base + at)
                ends.append(base + end)
            elif tag == _SCOPE and not scope:
                scope = request[at:end]
            else:
                _check_url(tag, request[at:end])
            at = end
        found = len(begins) - before
        source = self._source(resource, scope)  # must be sound even when nothing is under it
        if found:
            places.add(number, index, source, found)
        return index + found

    def _source(self, resource: bytes, scope: bytes) -> Source:
        key = resource, scope
        source = self._sources.get(key)
        if source is not None:
            return source
        try:
            attributes = otlp.attributes_of(Resource.FromString(resource).attributes)
            name = InstrumentationScope.FromString(scope).name
        except (DecodeError, BadInput) as error:
            raise _OddError from error
        source = Source.of(attributes, name)
        if len(resource) + len(scope) <= KEPT_BYTES:
            if len(self._sources) >= limits.CACHED_TEXTS:
                self._sources.clear()
            self._sources[key] = source
        return source


class _Places:
    """Where the spans of all requests lie, and what they are under."""

    def __init__(self) -> None:
        self.groups: list[Source] = []
        self.record: list[int] = []  # of each group
        self.first: list[int] = []  # index of its first span in the record
        self.size: list[int] = []
        self.begin: list[int] = []
        self.end: list[int] = []

    def add(self, record: int, first: int, source: Source, size: int) -> None:
        """A group: its spans were put down already."""
        self.groups.append(source)
        self.record.append(record)
        self.first.append(first)
        self.size.append(size)

    def forget(self, record: int) -> None:
        """The record turned out not to be plain."""
        while self.record and self.record[-1] == record:
            self.size.pop(), self.record.pop(), self.first.pop(), self.groups.pop()
        kept = sum(self.size)
        del self.begin[kept:], self.end[kept:]


def _parts(raw: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(tag, begin, end) of the length-delimited fields of a message; others are not plain here.

    Raises _OddError, or IndexError where the bytes end.
    """
    while at < end:
        tag, size = raw[at], raw[at + 1]
        at += 2
        if tag >= 0x80:
            raise _OddError
        if size >= 0x80:
            size, at = _length(raw, at - 1)
        stop = at + size
        if stop > end or tag & 7 != LENGTH:
            raise _OddError
        yield tag, at, stop
        at = stop


def _length(raw: bytes, at: int) -> tuple[int, int]:
    number, high = raw[at] & 0x7F, raw[at + 1]
    if high < 0x80:
        return number | high << 7, at + 2
    at += 1
    for shift in range(7, 35, 7):
        byte = raw[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
    raise _OddError


def _check_url(tag: int, text: bytes) -> None:
    if tag != _SCHEMA_URL:
        raise _OddError
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise _OddError from error


class _Reading:
    """The spans that lie at some places, read column by column; `doubtful` grows on the way."""

    def __init__(self, wire: Wire, places: _Places) -> None:
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
    odd = (wire.bytes[at] != _tag(1, LENGTH)) | (at >= end)
    key_size, key_at = wire.lengths(at + 1, end)
    at = np.minimum(key_at + key_size, end)
    odd |= (wire.bytes[at] != _tag(2, LENGTH)) | (at >= end)
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
