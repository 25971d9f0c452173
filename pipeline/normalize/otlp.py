"""OTLP export requests, protobuf and JSON, to one light form of spans and log records.

Both encodings give equal spans, so the same span has the same id whichever way it came. Attribute
values become plain Python values; of equal keys the last holds.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tachograph.pipeline.normalize import limits
from tachograph.pipeline.normalize.faults import (
    UNREADABLE,
    check_utf8,
    given_twice,
    is_cut_off,
    unreadable,
)
from tachograph.pipeline.normalize.raw import BadInput

Attributes = dict[str, Any]


class Span(msgspec.Struct, gc=False):
    """One span. Ids are lower-case hex, times nanoseconds, kind and status OTLP's numbers."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    status: int
    status_message: str
    events: list[tuple[str, int, Attributes]]


class Log(msgspec.Struct, gc=False):
    """One log record."""

    trace_id: str
    span_id: str
    time_ns: int
    observed_ns: int
    severity: int
    event_name: str
    body: Any
    attributes: Attributes


class Group(msgspec.Struct, gc=False):
    """Spans or logs of one resource and scope."""

    resource: Attributes
    scope: str
    spans: list[Span]
    logs: list[Log]
    faults: list[tuple[BadInput, bytes]] = []  # spans and logs that are broken, one by one


def traces(value: bytes) -> list[Group]:
    """Groups of an ExportTraceServiceRequest. Raises BadInput."""
    if _is_json(value):
        request = _parsed(_TRACES_JSON, value, "resourceSpans")
        found = _present(request.resourceSpans, "resourceSpans")
        return list(_json_groups((r.resource, r.scopeSpans) for r in found))
    message = _message(ExportTraceServiceRequest, value)
    return [
        Group(_attributes(r.resource.attributes), s.scope.name, [_span(x) for x in s.spans], [])
        for r in message.resource_spans
        for s in r.scope_spans
    ]


def logs(value: bytes) -> list[Group]:
    """Groups of an ExportLogsServiceRequest. Raises BadInput."""
    if _is_json(value):
        request = _parsed(_LOGS_JSON, value, "resourceLogs")
        found = _present(request.resourceLogs, "resourceLogs")
        return list(_json_groups((r.resource, r.scopeLogs) for r in found))
    message = _message(ExportLogsServiceRequest, value)
    return [
        Group(
            _attributes(r.resource.attributes), s.scope.name, [], [_log(x) for x in s.log_records]
        )
        for r in message.resource_logs
        for s in r.scope_logs
    ]


def _present(found: list[Any] | None, name: str) -> list[Any]:
    """What an export request is about. JSON of another kind must not pass as an empty request."""
    if found is None:
        raise BadInput("mistyped", f"an export request has {name}")
    return found


def _is_json(value: bytes) -> bool:
    first = value.lstrip()[:1]
    if first in (b"{", b"["):
        return True
    if (
        value[:1] == b"\n" or not value
    ):  # protobuf: field 1, length-delimited; empty: an empty request
        return False
    raise BadInput("malformed", "neither OTLP protobuf nor OTLP JSON")


# --- protobuf


def _message(kind: type[Any], value: bytes) -> Any:
    try:
        return kind.FromString(value)
    except DecodeError as error:
        if is_cut_off(value):
            raise BadInput("truncated", "the OTLP protobuf is cut off") from error
        raise BadInput("malformed", "the bytes are no OTLP protobuf") from error


def _attributes(pairs: Iterable[Any]) -> Attributes:
    found = {}
    for pair in pairs:
        value = pair.value
        # Nearly all attributes are texts; an empty one may also mean another type.
        found[pair.key] = value.string_value or _any(value, 0)
    return found


def _any(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind == "int_value":
        return value.int_value
    if kind is None:
        return None
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    if kind == "array_value":
        _check_depth(depth)
        return [_any(one, depth + 1) for one in value.array_value.values]
    if kind == "kvlist_value":
        _check_depth(depth)
        return {pair.key: _any(pair.value, depth + 1) for pair in value.kvlist_value.values}
    return getattr(value, kind, None)


def _check_depth(depth: int) -> None:
    if depth >= limits.JSON_DEPTH:
        raise BadInput("too_deep", f"a value may be nested {limits.JSON_DEPTH} deep")


def _span(span: Any) -> Span:
    status = span.status
    return Span(
        span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.name, span.kind,
        span.start_time_unix_nano, span.end_time_unix_nano, _attributes(span.attributes),
        status.code, status.message,
        _events(span) if len(span.events) else [],
    )  # fmt: skip


def _events(span: Any) -> list[tuple[str, int, Attributes]]:
    return [(e.name, e.time_unix_nano, _attributes(e.attributes)) for e in span.events]


def _log(record: Any) -> Log:
    return Log(
        record.trace_id.hex(), record.span_id.hex(), record.time_unix_nano,
        record.observed_time_unix_nano, record.severity_number, record.event_name,
        _any(record.body, 0), _attributes(record.attributes),
    )  # fmt: skip


# --- JSON
# Names are OTLP's. 64-bit numbers come as decimal texts and as bare numbers; absent, null and
# default are the same.

Number = int | str | None


class _Value(msgspec.Struct, gc=False):
    stringValue: str | None = None  # noqa: N815
    intValue: Number = None  # noqa: N815
    boolValue: bool | None = None  # noqa: N815
    doubleValue: float | str | None = None  # noqa: N815
    arrayValue: "_Array | None" = None  # noqa: N815
    kvlistValue: "_Pairs | None" = None  # noqa: N815
    bytesValue: str | None = None  # noqa: N815


class _Array(msgspec.Struct):
    values: list[_Value | None] | None = None


class _Pair(msgspec.Struct, gc=False):
    key: str = ""
    value: _Value | None = None


class _Pairs(msgspec.Struct):
    values: list[_Pair] | None = None


class _Resource(msgspec.Struct):
    attributes: list[_Pair] | None = None


class _Scope(msgspec.Struct):
    name: str | None = None


class _Status(msgspec.Struct, gc=False):
    code: int | None = None
    message: str | None = None


class _Event(msgspec.Struct):
    name: str | None = None
    timeUnixNano: Number = None  # noqa: N815
    attributes: list[_Pair] | None = None


class _JsonSpan(msgspec.Struct):
    traceId: str | None = None  # noqa: N815
    spanId: str | None = None  # noqa: N815
    parentSpanId: str | None = None  # noqa: N815
    name: str | None = None
    kind: int | None = None
    startTimeUnixNano: Number = None  # noqa: N815
    endTimeUnixNano: Number = None  # noqa: N815
    attributes: list[_Pair] | None = None
    status: _Status | None = None
    events: list[_Event] | None = None


class _JsonLog(msgspec.Struct):
    traceId: str | None = None  # noqa: N815
    spanId: str | None = None  # noqa: N815
    timeUnixNano: Number = None  # noqa: N815
    observedTimeUnixNano: Number = None  # noqa: N815
    severityNumber: int | None = None  # noqa: N815
    eventName: str | None = None  # noqa: N815
    body: _Value | None = None
    attributes: list[_Pair] | None = None


class _Scoped(msgspec.Struct):
    scope: _Scope | None = None
    spans: list[_JsonSpan] | None = None
    logRecords: list[_JsonLog] | None = None  # noqa: N815


class _ResourceSpans(msgspec.Struct):
    resource: _Resource | None = None
    scopeSpans: list[_Scoped] | None = None  # noqa: N815


class _ResourceLogs(msgspec.Struct):
    resource: _Resource | None = None
    scopeLogs: list[_Scoped] | None = None  # noqa: N815


class _Traces(msgspec.Struct):
    resourceSpans: list[_ResourceSpans] | None = None  # noqa: N815


class _Logs(msgspec.Struct):
    resourceLogs: list[_ResourceLogs] | None = None  # noqa: N815


_TRACES_JSON: Final = msgspec.json.Decoder(_Traces)
_LOGS_JSON: Final = msgspec.json.Decoder(_Logs)


def _parsed(decoder: Any, value: bytes, name: str) -> Any:
    check_utf8(value)
    if given_twice(value, name):
        raise BadInput("duplicate_key", f"{name} is given twice")
    try:
        if value.lstrip()[:1] == b"[":
            msgspec.json.decode(value)  # no request; but is it deep, cut off, or only a list?
        return decoder.decode(value)
    except UNREADABLE as error:
        raise unreadable(value, error) from error


def _json_groups(
    resources: Iterable[tuple[_Resource | None, list[_Scoped] | None]],
) -> Iterator[Group]:
    for resource, scopes in resources:
        shared = _json_attributes(resource.attributes) if resource else {}
        for scoped in scopes or ():
            name = (scoped.scope.name or "") if scoped.scope else ""
            faults: list[tuple[BadInput, bytes]] = []
            spans = _each(_json_span, scoped.spans, faults)
            records = _each(_json_log, scoped.logRecords, faults)
            yield Group(shared, name, spans, records, faults)


def _each(convert: Any, found: list[Any] | None, faults: list[tuple[BadInput, bytes]]) -> list[Any]:
    """Converted spans or logs; a broken one costs only itself."""
    converted = []
    for one in found or ():
        try:
            converted.append(convert(one))
        except BadInput as problem:
            faults.append((problem, msgspec.json.encode(one)))
    return converted


def _json_attributes(pairs: list[_Pair] | None) -> Attributes:
    found = {}
    for pair in pairs or ():
        value = pair.value
        text = value.stringValue if value is not None else None
        found[pair.key] = text if text is not None else _json_any(value, 0)
    return found


def _json_any(value: _Value | None, depth: int) -> Any:
    if value is None:
        return None
    if value.intValue is not None:
        return _number(value.intValue)
    if value.arrayValue is not None:
        _check_depth(depth)
        return [_json_any(one, depth + 1) for one in value.arrayValue.values or ()]
    if value.kvlistValue is not None:
        _check_depth(depth)
        pairs = value.kvlistValue.values or ()
        return {pair.key: _json_any(pair.value, depth + 1) for pair in pairs}
    for plain in (value.stringValue, value.boolValue, value.bytesValue):
        if plain is not None:
            return plain
    return _real(value.doubleValue)


def _real(value: float | str | None) -> float | None:
    """A double; OTLP JSON writes NaN and infinities as texts."""
    if value.__class__ is not str:
        return value  # type: ignore[return-value]
    try:
        return float(value)
    except ValueError:
        raise BadInput("mistyped", "doubleValue: expected a number") from None


def _number(value: Number) -> int:
    if value is None or value == "":
        return 0
    if value.__class__ is str and not (len(value) <= 20 and value.lstrip("-").isdecimal()):
        raise BadInput("mistyped", _DECIMAL)
    try:
        number = int(value)
    except ValueError:
        raise BadInput("mistyped", _DECIMAL) from None
    if not -(2**63) <= number < 2**64:
        raise BadInput("mistyped", _DECIMAL)
    return number


_DECIMAL: Final = "a number has 64 bits and is written as a decimal"


def _hex(text: str | None, size: int) -> str:
    if not text:
        return ""
    try:
        if len(text) == size and len(binascii.unhexlify(text)) * 2 == size:
            return text.lower()
    except ValueError:
        pass
    raise BadInput("mistyped", f"an id has {size} hex digits")


def _json_span(span: _JsonSpan) -> Span:
    status = span.status
    return Span(
        _hex(span.traceId, 32), _hex(span.spanId, 16), _hex(span.parentSpanId, 16),
        span.name or "", span.kind or 0, _number(span.startTimeUnixNano),
        _number(span.endTimeUnixNano), _json_attributes(span.attributes),
        (status.code or 0) if status else 0, (status.message or "") if status else "",
        [
            (event.name or "", _number(event.timeUnixNano), _json_attributes(event.attributes))
            for event in span.events or ()
        ],
    )  # fmt: skip


def _json_log(record: _JsonLog) -> Log:
    return Log(
        _hex(record.traceId, 32), _hex(record.spanId, 16), _number(record.timeUnixNano),
        _number(record.observedTimeUnixNano), record.severityNumber or 0, record.eventName or "",
        _json_any(record.body, 0), _json_attributes(record.attributes),
    )  # fmt: skip
