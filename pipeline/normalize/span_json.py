"""Trace export requests in JSON to columns, for all requests of a batch at once.

Decoded to structs one by one; the columns are taken out of all of them together. A record with
anything that must be judged span by span (a number or an id that is none) is left to otlp_json.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import polars as pl

from tachograph.pipeline.normalize import limits, otlp_json
from tachograph.pipeline.normalize.otlp_json import JsonSpan, Number, Pair, ResourceSpans
from tachograph.pipeline.normalize.raw import BadInput
from tachograph.pipeline.normalize.spans import (
    OTHER,
    TEXT,
    WHOLE,
    Event,
    Pairs,
    Source,
    Spans,
    code_of,
    numbered,
    numbers_of,
    repeating,
    word_of,
)  # fmt: skip
from tachograph.pipeline.normalize.wire import Bools, Ints, Words

_HEX: Final = "^(?:[0-9a-fA-F]{2})*$"
_SAFE_DIGITS: Final = 19  # fewer fit into 63 bits


class SpanStructs:
    """Takes the columns out of requests; remembers what resources say. One thread."""

    def __init__(self) -> None:
        self._sources: dict[tuple[str, ...], Source] = {}

    def read(self, requests: Sequence[list[ResourceSpans]]) -> tuple[Spans, Bools]:
        """The spans of the plain requests, and which requests are not plain.

        `record` of the spans is the place in `requests`.
        """
        odd = np.zeros(len(requests), np.bool_)
        taken = _Taken()
        for number, resources in enumerate(requests):
            try:
                self._take(resources, number, taken)
            except BadInput:
                odd[number] = True
        spans, doubtful = _Columns(taken).spans()
        odd[spans.record[doubtful]] = True
        return spans.of(~odd[spans.record]), odd

    def _take(self, resources: list[ResourceSpans], number: int, taken: "_Taken") -> None:
        first = 0
        for entry in resources:
            pairs = entry.resource.attributes if entry.resource else None
            for scoped in entry.scoped:
                if scoped.logRecords:
                    raise BadInput("mistyped", "a trace export holds spans")
                if scoped.spans:
                    source = self._source(pairs or (), scoped.name)
                    taken.add(number, first, source, scoped.spans)
                    first += len(scoped.spans)

    def _source(self, pairs: Sequence[Pair], scope: str) -> Source:
        """What a resource and scope say. Raises BadInput."""
        texts = [pair.value.stringValue if pair.value else None for pair in pairs]
        if None in texts:  # equal only if of equal type: not worth remembering
            return Source.of(otlp_json.attributes_of(pairs), scope)
        key = (scope, *(pair.key for pair in pairs), *texts)
        source = self._sources.get(key)  # type: ignore[arg-type]
        if source is None:
            source = Source.of(otlp_json.attributes_of(pairs), scope)
            if sum(map(len, key)) <= KEPT_CHARS:  # type: ignore[arg-type]
                if len(self._sources) >= limits.CACHED_TEXTS:
                    self._sources.clear()
                self._sources[key] = source  # type: ignore[index]
        return source


KEPT_CHARS: Final = 4_096


class _Taken:
    """The spans of all requests, and what they are under."""

    def __init__(self) -> None:
        self.groups: list[Source] = []
        self.record: list[int] = []  # of each group
        self.first: list[int] = []  # index of its first span in the record
        self.spans: list[list[JsonSpan]] = []

    def add(self, record: int, first: int, source: Source, spans: list[JsonSpan]) -> None:
        self.record.append(record)
        self.first.append(first)
        self.groups.append(source)
        self.spans.append(spans)


class _Columns:
    """Columns of the spans; `doubtful` grows on the way."""

    def __init__(self, taken: _Taken) -> None:
        self._taken = taken
        self._spans = list(chain.from_iterable(taken.spans))
        self._doubtful = np.zeros(len(self._spans), np.bool_)

    def spans(self) -> tuple[Spans, Bools]:
        """The spans, and which of them are not plain."""
        spans, taken = self._spans, self._taken
        sizes = np.fromiter(map(len, taken.spans), np.int64, len(taken.spans))
        within = np.arange(len(spans)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        start = self._numbers([span.startTimeUnixNano for span in spans])
        end = self._numbers([span.endTimeUnixNano for span in spans])
        ended = np.where(end != 0, end, start)
        states = [span.status for span in spans]
        found = Spans(
            record=np.repeat(np.array(taken.record, np.int64), sizes),
            index=np.repeat(np.array(taken.first, np.int64), sizes) + within,
            group=np.repeat(np.arange(len(sizes)), sizes),
            groups=taken.groups,
            trace_id=self._ids([span.traceId or "" for span in spans], 32),
            span_id=self._ids([span.spanId or "" for span in spans], 16),
            parent_span_id=self._ids([span.parentSpanId or "" for span in spans], 16),
            name=pl.Series([span.name or "" for span in spans], dtype=pl.String),
            kind=numbers_of([span.kind or 0 for span in spans]),
            status=numbers_of([(s.code or 0) if s else 0 for s in states]),
            status_message=pl.Series(
                [(s.message or "") if s else "" for s in states], dtype=pl.String
            ),
            start_ns=start,
            end_ns=end,
            start_us=(start // np.uint64(1000)).astype(np.int64),
            event_us=(ended // np.uint64(1000)).astype(np.int64),
            timeless=ended == 0,
            events=self._events(),
            pairs=self._pairs(),
        )
        return found, self._doubtful

    def _each(self, convert: Callable[[Any], Any], values: Iterable[Any], default: Any) -> Any:
        """Converted values; what cannot be converted makes its span doubtful."""
        for at, value in enumerate(values):
            try:
                yield convert(value)
            except BadInput:
                self._doubtful[at] = True
                yield default

    def _numbers(self, values: list[Number]) -> Words:
        """Times of the spans; a negative one is not plain."""
        if _all_decimal(values):
            return np.array(list(map(int, values)), np.uint64)  # type: ignore[arg-type]
        found = list(self._each(otlp_json.number_of, values, 0))
        negative = [at for at, number in enumerate(found) if number < 0]
        self._doubtful[negative] = True
        return np.array([max(number, 0) for number in found], np.uint64)

    def _ids(self, texts: list[str], digits: int) -> pl.Series:
        ids = pl.Series(texts, dtype=pl.String)
        sizes = ids.str.len_bytes()
        sound = (sizes == 0) | (sizes == digits) & ids.str.contains(_HEX)
        self._doubtful[(~sound).arg_true().to_numpy()] = True
        return ids.str.to_lowercase()

    def _events(self) -> dict[int, list[Event]]:
        found: dict[int, list[Event]] = {}
        for at, span in enumerate(self._spans):
            if span.events:
                try:
                    found[at] = otlp_json.events_of(span)
                except BadInput:
                    self._doubtful[at] = True
        return found

    def _pairs(self) -> Pairs:
        each = [span.attributes or () for span in self._spans]
        pairs = list(chain.from_iterable(each))
        owner: Ints = np.repeat(np.arange(len(each)), list(map(len, each)))
        values = [pair.value for pair in pairs]
        texts = pl.Series([v.stringValue if v else None for v in values], dtype=pl.String)
        code = np.full(len(pairs), TEXT, np.uint8)
        number = np.zeros(len(pairs), np.uint64)
        other: dict[int, Any] = {}
        for at in texts.is_null().arg_true().to_list():
            said = values[at]
            whole = said.intValue if said else None
            if whole.__class__ is str and len(whole) < _SAFE_DIGITS and whole.isdecimal():
                code[at], number[at] = WHOLE, int(whole)
                continue
            try:
                value = otlp_json.value_of(said)
            except BadInput:
                value = None
                self._doubtful[owner[at]] = True
            kind = code[at] = code_of(value)
            number[at] = word_of(value, kind)
            if kind == OTHER:
                other[at] = value
        # A text may also be what another field of the value says: bytes.
        bare = texts.is_null().to_numpy() & (code == TEXT)
        if bare.any():
            places = np.flatnonzero(bare)
            told = [otlp_json.value_of(values[at]) for at in places.tolist()]
            texts = texts.scatter(places, pl.Series(told, dtype=pl.String))
        key, keys = numbered(pl.Series([pair.key for pair in pairs], dtype=pl.String))
        self._doubtful[repeating(owner, key, len(keys))] = True
        return Pairs(owner, key, keys, code, number, other, texts).with_texts()


def _all_decimal(values: list[Number]) -> bool:
    """Whether all are texts of digits, as exporters write them: then they need no second look."""
    try:
        joined = "".join(values)  # type: ignore[arg-type]
    except TypeError:
        return False
    sizes = list(map(len, values))  # type: ignore[arg-type]
    return joined.isascii() and joined.isdigit() and min(sizes) > 0 and max(sizes) <= _SAFE_DIGITS
