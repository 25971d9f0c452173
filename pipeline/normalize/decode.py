"""One raw record's bytes to items: which decoder for which format, and what becomes of one bad item in a good batch."""

import msgspec
from tachograph.pipeline.normalize import genai, limits, logs, native, otlp
from tachograph.pipeline.normalize.raw import BadInput, Decoded, Fault, Format, Item, Row

_canonical = msgspec.json.Encoder(order="sorted").encode


def decode(value: bytes, form: Format) -> Decoded:
    """Decode the unpacked bytes of one record. Raises BadInput when nothing of it can be used."""
    if form == "otlp_spans":
        return _spans(otlp.traces(value))
    if form == "otlp_logs":
        return _logs(otlp.logs(value))
    return native.snapshot(value) if form == "state" else native.actions(value)


def _spans(groups: list[otlp.Group]) -> Decoded:
    decoded = Decoded()
    index = -1
    for group in groups:
        shared, place = genai.resource_row(group.resource, group.scope), genai.place_of(group.resource)
        shared["source_kind"] = "otlp_span"
        _group_faults(group, index, decoded)
        for span in group.spans:
            index += 1
            try:
                _span(span, shared, place, index, decoded)
            except BadInput as problem:
                decoded.faults.append(Fault(index, problem, _encoded(span)))
    _bounded(index)
    return decoded


def _span(span: otlp.Span, shared: Row, place: str, index: int, decoded: Decoded) -> None:
    kind = genai.kind_of(span)
    if kind is None or kind == genai.WRAPPER:
        decoded.foreign += 1
        row, _ = genai.fields(span.attributes)
        if "session_id" in row or "agent_name" in row or "agent_id" in row:
            row.update(trace_id=span.trace_id, span_id=span.span_id, parent_span_id=span.parent_span_id)
            decoded.naming.append((place, row))
        return
    meaning = _meaning(span)
    row = genai.row_of(span, kind, shared)
    producer = span.trace_id + span.span_id or None
    decoded.items.append(Item(row, index, place, producer, meaning))


def _meaning(span: otlp.Span | otlp.Log) -> bytes:
    try:
        meaning = _canonical(span)
    except (ValueError, RecursionError) as error:
        raise BadInput("malformed", "a text is no UTF-8") from error
    if len(meaning) > limits.ACTION_BYTES:
        raise BadInput("too_large", f"an action may have {limits.ACTION_BYTES} bytes")
    return meaning


def _encoded(span: otlp.Span | otlp.Log) -> bytes:
    try:
        return _canonical(span)
    except (ValueError, RecursionError):
        return b""


def _group_faults(group: otlp.Group, index: int, decoded: Decoded) -> None:
    decoded.faults += [Fault(index + 1, problem, original) for problem, original in group.faults]


def _logs(groups: list[otlp.Group]) -> Decoded:
    decoded = Decoded()
    index = -1
    for group in groups:
        shared, place = genai.resource_row(group.resource, group.scope), genai.place_of(group.resource)
        shared["source_kind"] = "otlp_log"
        _group_faults(group, index, decoded)
        for log in group.logs:
            index += 1
            try:
                row = logs.row_of(log, shared, group.scope)
                if row is None:
                    decoded.foreign += 1
                else:
                    item = Item(row, index, place, logs.producer_id(log), _meaning(log))
                    decoded.items.append(item)
            except BadInput as problem:
                decoded.faults.append(Fault(index, problem, _encoded(log)))
    _bounded(index)
    return decoded


def _bounded(index: int) -> None:
    if index >= limits.ITEMS:
        raise BadInput("too_many", f"a record may hold {limits.ITEMS} spans or log records")
