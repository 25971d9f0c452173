"""Where the spans of trace export requests lie, and what they are under. No span is looked at."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from tachograph.pipeline.normalize import limits, otlp
from tachograph.pipeline.normalize.raw import BadInput
from tachograph.pipeline.normalize.spans import Source
from tachograph.pipeline.normalize.wire import LENGTH, Bools, Ints, tag_of

# Resource and scope together, to be remembered.
KEPT_BYTES: Final = 4_096

_RESOURCE_SPANS: Final = tag_of(1, LENGTH)
_RESOURCE, _SCOPE_SPANS, _SCHEMA_URL = (tag_of(number, LENGTH) for number in (1, 2, 3))
_SCOPE, _SPANS = tag_of(1, LENGTH), tag_of(2, LENGTH)


class _OddError(Exception):
    """A record that is not plain."""


class Places:
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


class Finder:
    """Finds spans; remembers what resources say, as each comes with every export. One thread."""

    def __init__(self) -> None:
        self._sources: dict[tuple[bytes, bytes], Source] = {}

    def places(self, requests: Sequence[bytes], starts: Ints) -> tuple[Places, Bools]:
        """The places of the plain requests, which begin at `starts`, and which are not plain."""
        odd = np.zeros(len(requests), np.bool_)
        places = Places()
        for number, request in enumerate(requests):
            try:
                self._walk(request, int(starts[number]), number, places)
            except (_OddError, IndexError):
                odd[number] = True
                places.forget(number)
        return places, odd

    def _walk(self, request: bytes, base: int, number: int, places: Places) -> None:
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
        number: int, places: Places,
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
