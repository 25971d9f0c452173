"""Trace export requests of a batch to actions: which reader for which, and what is left out."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np
import polars as pl

from tachograph.pipeline.normalize import limits, meanings, otlp, otlp_json, rewrap, traces
from tachograph.pipeline.normalize.forms import Group
from tachograph.pipeline.normalize.otlp_json import ResourceSpans
from tachograph.pipeline.normalize.parts import Part, Verdict
from tachograph.pipeline.normalize.raw import BadInput, Fault
from tachograph.pipeline.normalize.span_actions import actions
from tachograph.pipeline.normalize.span_columns import WRAPPER, Attributes, fields, kinds
from tachograph.pipeline.normalize.span_json import SpanStructs
from tachograph.pipeline.normalize.span_wire import SpanReader
from tachograph.pipeline.normalize.spans import Spans, of_groups
from tachograph.pipeline.normalize.wire import Ints

# Bytes that are read together: positions in them are far from the end of 32 bits.
TOGETHER_BYTES: Final = 32_000_000


class SpanDecoder:
    """Decodes trace export requests. One thread; remembers what resources say."""

    def __init__(self) -> None:
        self._wire, self._structs = SpanReader(), SpanStructs()

    def decode(self, values: Sequence[bytes]) -> tuple[list[Part], list[Verdict]]:
        """Actions of the requests, and what became of each. `record` of the actions is the place
        in `values`.
        """
        verdicts = [Verdict() for _ in values]
        parts = [
            part
            for some in _together(values)
            for spans in self._tables(values, some, verdicts)
            for part in _parts(spans, values, verdicts)
        ]
        return parts, verdicts

    def _tables(
        self, values: Sequence[bytes], some: Sequence[int], verdicts: list[Verdict]
    ) -> Iterator[Spans]:
        """The spans of some requests, by the reader that took them."""
        wired: list[int] = []
        structs: list[int] = []
        requests: list[list[ResourceSpans]] = []
        for number in some:
            try:
                if otlp.is_json(values[number]):
                    requests.append(otlp_json.traces(values[number]))
                    structs.append(number)
                else:
                    wired.append(number)
            except BadInput as problem:
                verdicts[number].refused = problem
        groups: list[tuple[int, Group]] = []
        if wired:
            spans, odd = self._wire.read([values[number] for number in wired])
            yield from _bounded(spans, wired, verdicts)
            for at in np.flatnonzero(odd).tolist():
                groups += _one_by_one(wired[at], values, verdicts)
        if structs:
            spans, odd = self._structs.read(requests)
            yield from _bounded(spans, structs, verdicts)
            for at in np.flatnonzero(odd).tolist():
                groups += _one_by_one(structs[at], values, verdicts)
        if groups:
            yield from _bounded(of_groups(groups), range(len(values)), verdicts)


def _together(values: Sequence[bytes]) -> Iterator[list[int]]:
    """Places of the values, in stretches of so many bytes."""
    some: list[int] = []
    size = 0
    for number, value in enumerate(values):
        some.append(number)
        size += len(value)
        if size >= TOGETHER_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _one_by_one(
    number: int, values: Sequence[bytes], verdicts: list[Verdict]
) -> list[tuple[int, Group]]:
    """Groups of a request that must be judged span by span; broken spans are faults."""
    verdict = verdicts[number]
    try:
        groups = otlp.traces(values[number])
    except BadInput as problem:
        verdict.refused = problem
        return []
    index = 0
    for group in groups:
        index += len(group.spans)
        for fault, broken in group.faults:
            original = rewrap.request("spans", msgspec.Raw(broken), group.resource, group.scope)
            verdict.faults.append(Fault(index, fault, original))
            index += 1
    verdict.items += len(verdict.faults)
    return [(number, group) for group in groups]


def _bounded(spans: Spans, numbers: Sequence[int], verdicts: list[Verdict]) -> Iterator[Spans]:
    """The spans by the numbers of their requests; a request with too many is refused."""
    record = np.array(numbers, np.int64)[spans.record] if len(spans) else spans.record
    each = np.bincount(record, minlength=len(verdicts))
    kept = np.ones(len(spans), np.bool_)
    for number in np.flatnonzero(each).tolist():
        verdict = verdicts[number]
        verdict.items += int(each[number])
        if verdict.items > limits.ITEMS:
            text = f"a record may hold {limits.ITEMS} spans or log records"
            verdict.refused, verdict.faults = BadInput("too_many", text), []
            kept &= record != number
    yield msgspec.structs.replace(spans, record=record).of(kept)


def _parts(spans: Spans, values: Sequence[bytes], verdicts: list[Verdict]) -> Iterator[Part]:
    """The actions among the spans; the others are counted, and what they name is joined."""
    if not len(spans):
        return
    attributes = Attributes(spans)
    kind = kinds(spans, attributes)
    acting = (kind.is_not_null() & (kind != WRAPPER)).fill_null(value=False).to_numpy()
    others = spans.of(~acting) if not acting.all() else None
    if others is not None:
        each = np.bincount(others.record, minlength=len(verdicts))
        for number in np.flatnonzero(each).tolist():
            verdicts[number].foreign += int(each[number])
        spans = spans.of(acting)
        attributes, kind = Attributes(spans), kind.filter(acting)
    if len(spans):
        yield _part(spans, attributes, kind, others, values, verdicts)
    elif others is not None:
        for record, named in traces.join(_naming(others), None).named:
            verdicts[record].named.append(named)


def _part(  # noqa: PLR0917 - what there is to know of some spans
    spans: Spans, attributes: Attributes, kind: pl.Series, others: Spans | None,
    values: Sequence[bytes], verdicts: list[Verdict],
) -> Part:  # fmt: skip
    made = actions(spans, attributes, kind)
    said, sizes = meanings.meanings(spans)
    place = _places(spans)
    faults = _faults(spans, sizes)
    naming = _naming(others) if others is not None else None
    joined = traces.join(_of_traces(spans, made.frame, place, list(faults)), naming)
    newest = dict(zip(spans.record.tolist(), spans.event_us.tolist(), strict=True))
    for record, named in joined.named:
        verdicts[record].named.append(named)
        verdicts[record].newest_us = newest.get(record, 0)
    return Part(
        frame=made.frame.with_columns(c.alias(name) for name, c in joined.columns.items()),
        faults=faults,
        record=spans.record,
        index=spans.index,
        place=place,
        producers=(spans.trace_id + spans.span_id).to_list(),
        meanings=said,
        own_ids=[True] * len(spans),
        twin_kind=made.twin_kind,
        twin_call=made.twin_call,
        original=_Originals(values, spans),
    )


def _places(spans: Spans) -> pl.Series:
    return pl.Series([source.place for source in spans.groups], dtype=pl.String).gather(spans.group)


def _of_traces(
    spans: Spans,
    columns: pl.DataFrame | dict[str, pl.Series],
    place: pl.Series,
    bad: Sequence[int] = (),
) -> pl.DataFrame:
    """What the spans say of their traces; bad ones say nothing."""
    trace_id = spans.trace_id.clone().scatter(bad, "") if bad else spans.trace_id
    ids = {"record": spans.record, "place": place, "trace_id": trace_id}
    ids |= {"span_id": spans.span_id, "parent_span_id": spans.parent_span_id}
    return pl.DataFrame(ids | {name: columns[name] for name in traces.NAMED if name in columns})


def _naming(others: Spans) -> pl.DataFrame:
    """Those of the spans left out that name a session or an agent."""
    found = fields(Attributes(others), traces.NAMED)
    frame = _of_traces(others, found, _places(others))
    named = [name for name in ("session_id", "agent_id", "agent_name") if name in found]
    if not named:
        return frame.clear()
    return frame.filter(pl.any_horizontal(pl.col(named).is_not_null()))


def _faults(spans: Spans, sizes: Ints) -> dict[int, BadInput]:
    found: dict[int, BadInput] = {}
    for at in np.flatnonzero(spans.timeless).tolist():
        found[at] = BadInput("missing", "a span has an end time")
    large = BadInput("too_large", f"an action may have {limits.ACTION_BYTES} bytes")
    for at in np.flatnonzero(sizes > limits.ACTION_BYTES).tolist():
        found.setdefault(at, large)
    return found


class _Originals:
    """What a span was before: read again, for this is seldom asked."""

    def __init__(self, values: Sequence[bytes], spans: Spans) -> None:
        self._values, self._spans = values, spans

    def __call__(self, at: int) -> bytes:
        """The span of that row as an export request of its own."""
        wanted = int(self._spans.index[at])
        index = 0
        for group in otlp.traces(self._values[int(self._spans.record[at])]):
            if wanted < index + len(group.spans):
                return rewrap.span_request(group.spans[wanted - index], group.resource, group.scope)
            index += len(group.spans) + len(group.faults)
        raise LookupError("a span that was read is read again")
