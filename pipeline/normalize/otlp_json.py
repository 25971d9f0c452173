"""OTLP export requests in JSON: the structs, and how they become the light form.

Names are OTLP's. 64-bit numbers come as decimal texts and as bare numbers; absent, null and default
are the same.
"""

import binascii
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from tachograph.pipeline.normalize.faults import (
    UNREADABLE,
    check_utf8,
    given_twice,
    unreadable,
)
from tachograph.pipeline.normalize.forms import Attributes, Group, Log, Span, check_depth
from tachograph.pipeline.normalize.raw import BadInput

T = TypeVar("T")
Number = int | str | None


class Value(msgspec.Struct, gc=False):
    """An AnyValue: the field that is there says its type."""

    stringValue: str | None = None  # noqa: N815
    intValue: Number = None  # noqa: N815
    boolValue: bool | None = None  # noqa: N815
    doubleValue: float | str | None = None  # noqa: N815
    arrayValue: "Array | None" = None  # noqa: N815
    kvlistValue: "Pairs | None" = None  # noqa: N815
    bytesValue: str | None = None  # noqa: N815


class Array(msgspec.Struct):
    """An ArrayValue."""

    values: list[Value | None] | None = None


class Pair(msgspec.Struct, gc=False):
    """A KeyValue."""

    key: str = ""
    value: Value | None = None


class Pairs(msgspec.Struct):
    """A KeyValueList."""

    values: list[Pair] | None = None


class Resource(msgspec.Struct):
    """A Resource."""

    attributes: list[Pair] | None = None


class Scope(msgspec.Struct):
    """An InstrumentationScope."""

    name: str | None = None


class Status(msgspec.Struct, gc=False):
    """A Status."""

    code: int | None = None
    message: str | None = None


class Event(msgspec.Struct):
    """An Event of a span."""

    name: str | None = None
    timeUnixNano: Number = None  # noqa: N815
    attributes: list[Pair] | None = None


class JsonSpan(msgspec.Struct):
    """A Span."""

    traceId: str | None = None  # noqa: N815
    spanId: str | None = None  # noqa: N815
    parentSpanId: str | None = None  # noqa: N815
    name: str | None = None
    kind: int | None = None
    startTimeUnixNano: Number = None  # noqa: N815
    endTimeUnixNano: Number = None  # noqa: N815
    attributes: list[Pair] | None = None
    status: Status | None = None
    events: list[Event] | None = None


class JsonLog(msgspec.Struct):
    """A LogRecord."""

    traceId: str | None = None  # noqa: N815
    spanId: str | None = None  # noqa: N815
    timeUnixNano: Number = None  # noqa: N815
    observedTimeUnixNano: Number = None  # noqa: N815
    severityNumber: int | None = None  # noqa: N815
    eventName: str | None = None  # noqa: N815
    body: Value | None = None
    attributes: list[Pair] | None = None


class Scoped(msgspec.Struct):
    """Spans or log records of one scope."""

    scope: Scope | None = None
    spans: list[JsonSpan] | None = None
    logRecords: list[JsonLog] | None = None  # noqa: N815

    @property
    def name(self) -> str:
        """Name of the scope."""
        return (self.scope.name or "") if self.scope else ""


class ResourceSpans(msgspec.Struct):
    """Spans of one resource."""

    resource: Resource | None = None
    scopeSpans: list[Scoped] | None = None  # noqa: N815

    @property
    def scoped(self) -> Sequence[Scoped]:
        """Scope by scope."""
        return self.scopeSpans or ()


class ResourceLogs(msgspec.Struct):
    """Log records of one resource."""

    resource: Resource | None = None
    scopeLogs: list[Scoped] | None = None  # noqa: N815

    @property
    def scoped(self) -> Sequence[Scoped]:
        """Scope by scope."""
        return self.scopeLogs or ()


class Traces(msgspec.Struct):
    """An ExportTraceServiceRequest."""

    resourceSpans: list[ResourceSpans] | None = None  # noqa: N815


class Logs(msgspec.Struct):
    """An ExportLogsServiceRequest."""

    resourceLogs: list[ResourceLogs] | None = None  # noqa: N815


_TRACES_JSON: Final = msgspec.json.Decoder(Traces)
_LOGS_JSON: Final = msgspec.json.Decoder(Logs)


def traces(value: bytes) -> list[ResourceSpans]:
    """What a trace export request holds. Raises BadInput."""
    request: Traces = _parsed(_TRACES_JSON, value, "resourceSpans")
    return _present(request.resourceSpans, "resourceSpans")


def logs(value: bytes) -> list[ResourceLogs]:
    """What a log export request holds. Raises BadInput."""
    request: Logs = _parsed(_LOGS_JSON, value, "resourceLogs")
    return _present(request.resourceLogs, "resourceLogs")


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


def _present(found: list[T] | None, name: str) -> list[T]:
    """What an export request is about. JSON of another kind must not pass as an empty request."""
    if found is None:
        raise BadInput("mistyped", f"an export request has {name}")
    return found


def groups(resources: Sequence[ResourceSpans | ResourceLogs]) -> list[Group]:
    """Spans or log records by resource and scope; broken ones among their faults.

    Raises BadInput for a broken resource.
    """
    found: list[Group] = []
    for entry in resources:
        shared = attributes_of(entry.resource.attributes) if entry.resource else {}
        for scoped in entry.scoped:
            faults: list[tuple[BadInput, bytes]] = []
            spans = _each(span_of, scoped.spans, faults)
            records = _each(log_of, scoped.logRecords, faults)
            found.append(Group(shared, scoped.name, spans, records, faults))
    return found


def _each(convert: Any, found: list[Any] | None, faults: list[tuple[BadInput, bytes]]) -> list[Any]:
    """Converted spans or logs; a broken one costs only itself."""
    converted = []
    for one in found or ():
        try:
            converted.append(convert(one))
        except BadInput as problem:
            faults.append((problem, msgspec.json.encode(one)))
    return converted


def attributes_of(pairs: Sequence[Pair] | None) -> Attributes:
    """Values by name. Raises BadInput."""
    found = {}
    for pair in pairs or ():
        value = pair.value
        text = value.stringValue if value is not None else None
        found[pair.key] = text if text is not None else value_of(value)
    return found


def value_of(value: Value | None, depth: int = 0) -> Any:
    """The plain value of an AnyValue; `depth`: how deep it is nested already. Raises BadInput."""
    if value is None:
        return None
    if value.intValue is not None:
        return number_of(value.intValue)
    if value.arrayValue is not None:
        check_depth(depth)
        return [value_of(one, depth + 1) for one in value.arrayValue.values or ()]
    if value.kvlistValue is not None:
        check_depth(depth)
        pairs = value.kvlistValue.values or ()
        return {pair.key: value_of(pair.value, depth + 1) for pair in pairs}
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


def number_of(value: Number) -> int:
    """A number of 64 bits, 0 where there is none. Raises BadInput."""
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


def span_of(span: JsonSpan) -> Span:
    """The span in the light form. Raises BadInput."""
    status = span.status
    return Span(
        _hex(span.traceId, 32), _hex(span.spanId, 16), _hex(span.parentSpanId, 16),
        span.name or "", span.kind or 0, number_of(span.startTimeUnixNano),
        number_of(span.endTimeUnixNano), attributes_of(span.attributes),
        (status.code or 0) if status else 0, (status.message or "") if status else "",
        events_of(span),
    )  # fmt: skip


def events_of(span: JsonSpan) -> list[tuple[str, int, Attributes]]:
    """Name, time and attributes of the span's events. Raises BadInput."""
    return [
        (event.name or "", number_of(event.timeUnixNano), attributes_of(event.attributes))
        for event in span.events or ()
    ]


def log_of(record: JsonLog) -> Log:
    """The log record in the light form. Raises BadInput."""
    return Log(
        _hex(record.traceId, 32), _hex(record.spanId, 16), number_of(record.timeUnixNano),
        number_of(record.observedTimeUnixNano), record.severityNumber or 0, record.eventName or "",
        value_of(record.body), attributes_of(record.attributes),
    )  # fmt: skip
