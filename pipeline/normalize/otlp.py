"""OTLP export requests, protobuf and JSON, one by one: spans and log records as in `forms`."""

import base64
import re
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tachograph.pipeline.normalize import otlp_json
from tachograph.pipeline.normalize.faults import is_cut_off
from tachograph.pipeline.normalize.forms import Attributes, Group, Log, Span, check_depth
from tachograph.pipeline.normalize.raw import BadInput


def traces(value: bytes) -> list[Group]:
    """Groups of an ExportTraceServiceRequest. Raises BadInput."""
    if is_json(value):
        return otlp_json.groups(otlp_json.traces(value))
    message = _message(ExportTraceServiceRequest, value)
    return [
        Group(attributes_of(r.resource.attributes), s.scope.name, [_span(x) for x in s.spans], [])
        for r in message.resource_spans
        for s in r.scope_spans
    ]


def logs(value: bytes) -> list[Group]:
    """Groups of an ExportLogsServiceRequest. Raises BadInput."""
    if is_json(value):
        return otlp_json.groups(otlp_json.logs(value))
    message = _message(ExportLogsServiceRequest, value)
    return [
        Group(
            attributes_of(r.resource.attributes), s.scope.name, [], [_log(x) for x in s.log_records]
        )
        for r in message.resource_logs
        for s in r.scope_logs
    ]


def is_json(value: bytes) -> bool:
    """Whether a request is in JSON, by its first byte. Raises BadInput when it is in neither."""
    # Protobuf: field 1, length-delimited; empty: an empty request.
    wired = value[:1] == b"\n" or not value
    if value.lstrip()[:1] in (b"{", b"["):
        # A newline and a bracket are also field 1 and a length. No JSON holds a control character.
        return not (wired and _CONTROL.search(value))
    if wired:
        return False
    raise BadInput("malformed", "neither OTLP protobuf nor OTLP JSON")


_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")

# --- protobuf


def _message(kind: type[Any], value: bytes) -> Any:
    try:
        return kind.FromString(value)
    except DecodeError as error:
        if is_cut_off(value):
            raise BadInput("truncated", "the OTLP protobuf is cut off") from error
        raise BadInput("malformed", "the bytes are no OTLP protobuf") from error


def attributes_of(pairs: Iterable[Any], depth: int = 0) -> Attributes:
    """Values by name; `depth`: how deep they are nested already. Raises BadInput."""
    found = {}
    for pair in pairs:
        value = pair.value
        # Nearly all attributes are texts; an empty one may also mean another type.
        found[pair.key] = value.string_value or value_of(value, depth)
    return found


def value_of(value: Any, depth: int = 0) -> Any:
    """The plain value of an AnyValue; `depth`: how deep it is nested already. Raises BadInput."""
    kind = value.WhichOneof("value")
    if kind == "int_value":
        return value.int_value
    if kind is None:
        return None
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    if kind == "array_value":
        check_depth(depth)
        return [value_of(one, depth + 1) for one in value.array_value.values]
    if kind == "kvlist_value":
        check_depth(depth)
        return {pair.key: value_of(pair.value, depth + 1) for pair in value.kvlist_value.values}
    return getattr(value, kind, None)


def _span(span: Any) -> Span:
    status = span.status
    return Span(
        span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.name, span.kind,
        span.start_time_unix_nano, span.end_time_unix_nano, attributes_of(span.attributes),
        status.code, status.message,
        _events(span) if len(span.events) else [],
    )  # fmt: skip


def _events(span: Any) -> list[tuple[str, int, Attributes]]:
    return [(e.name, e.time_unix_nano, attributes_of(e.attributes)) for e in span.events]


def _log(record: Any) -> Log:
    return Log(
        record.trace_id.hex(), record.span_id.hex(), record.time_unix_nano,
        record.observed_time_unix_nano, record.severity_number, record.event_name,
        value_of(record.body), attributes_of(record.attributes),
    )  # fmt: skip
