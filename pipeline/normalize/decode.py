"""One raw record's bytes to items: which decoder for which format, and what becomes of one bad item
in a good batch.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from tachograph.pipeline.normalize import genai, limits, logs, native, otlp, rewrap
from tachograph.pipeline.normalize.raw import BadInput, Decoded, Fault, Format, Item, Row

_canonical = msgspec.json.Encoder(order="sorted").encode


def decode(value: bytes, form: Format) -> Decoded:
    """Decode the unpacked bytes of one record. Raises BadInput when nothing of it can be used."""
    if form == "otlp_spans":
        return _exploded(otlp.traces(value), "spans")
    if form == "otlp_logs":
        return _exploded(otlp.logs(value), "logRecords")
    return native.snapshot(value) if form == "state" else native.actions(value)


class _Source(msgspec.Struct, gc=False):
    """What a group says of everything in it."""

    group: otlp.Group
    shared: Row
    place: str


def _exploded(groups: list[otlp.Group], name: str) -> Decoded:
    take, source_kind = _TAKERS[name]
    decoded = Decoded()
    index = -1
    for group in groups:
        shared = genai.resource_row(group.resource, group.scope)
        shared["source_kind"] = source_kind
        source = _Source(group, shared, genai.place_of(group.resource))
        for one in group.spans or group.logs:
            index += 1
            try:
                take(one, source, index, decoded)
            except BadInput as problem:
                original = original_of(one, group.resource, group.scope)
                decoded.faults.append(Fault(index, problem, original))
        for fault, broken in group.faults:
            index += 1
            original = rewrap.request(name, msgspec.Raw(broken), group.resource, group.scope)
            decoded.faults.append(Fault(index, fault, original))
    if index >= limits.ITEMS:
        raise BadInput("too_many", f"a record may hold {limits.ITEMS} spans or log records")
    return decoded


def original_of(one: otlp.Span | otlp.Log, resource: otlp.Attributes, scope: str) -> bytes:
    """The bytes of a dead letter of one span or log record."""
    if isinstance(one, otlp.Span):
        return rewrap.span_request(one, resource, scope)
    return rewrap.log_request(one, resource, scope)


def _take_span(span: otlp.Span, source: _Source, index: int, decoded: Decoded) -> None:
    kind = genai.kind_of(span)
    if kind is None or kind == genai.WRAPPER:
        decoded.foreign += 1
        row, _ = genai.fields(span.attributes)
        if "session_id" in row or "agent_name" in row or "agent_id" in row:
            row.update(
                trace_id=span.trace_id, span_id=span.span_id, parent_span_id=span.parent_span_id
            )
            decoded.naming.append((source.place, row))
        return
    meaning = _meaning(span)
    row = genai.row_of(span, kind, source.shared)
    producer = span.trace_id + span.span_id or None
    decoded.items.append(Item(row, index, source.place, producer, meaning, source.group))


def _take_log(log: otlp.Log, source: _Source, index: int, decoded: Decoded) -> None:
    row = logs.row_of(log, source.shared, source.group.scope)
    if row is None:
        decoded.foreign += 1
        return
    producer = logs.producer_id(log)
    # Several records of one span and event name are no reuse of an id.
    item = Item(row, index, source.place, producer, _meaning(log), source.group, own_id=False)
    decoded.items.append(item)


_Taker = Callable[[otlp.Span | otlp.Log, _Source, int, Decoded], None]
_TAKERS: Final[dict[str, tuple[_Taker, str]]] = {
    "spans": (_take_span, "otlp_span"),  # type: ignore[dict-item]
    "logRecords": (_take_log, "otlp_log"),  # type: ignore[dict-item]
}


def _meaning(one: otlp.Span | otlp.Log) -> bytes:
    try:
        meaning = _canonical(one)
    except (ValueError, RecursionError) as error:
        raise BadInput("malformed", "a text is no UTF-8") from error
    if len(meaning) > limits.ACTION_BYTES:
        raise BadInput("too_large", f"an action may have {limits.ACTION_BYTES} bytes")
    return meaning


def rewrapped(item: Item) -> bytes:
    """The bytes of a dead letter of an item that was decoded before it was found to be bad."""
    group = item.group
    if not isinstance(group, otlp.Group):
        return item.meaning
    one: otlp.Span | otlp.Log
    if group.spans:
        one = msgspec.json.decode(item.meaning, type=otlp.Span)
    else:
        one = msgspec.json.decode(item.meaning, type=otlp.Log)
    return original_of(one, group.resource, group.scope)
