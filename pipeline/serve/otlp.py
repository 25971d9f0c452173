"""OTLP/HTTP at the door: is the body an export request, whose is it, and how is it answered?

The body is decoded to see that it is sound and then thrown away: `normalize` reads the original.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, Literal

import msgspec
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tachograph.pipeline.normalize import times
from tachograph.pipeline.normalize.decode import decode
from tachograph.pipeline.normalize.faults import UNREADABLE, check_utf8, given_twice, unreadable
from tachograph.pipeline.normalize.raw import BadInput
from tachograph.pipeline.normalize.span_batch import SpanDecoder
from tachograph.pipeline.serve.depth import deeper_than
from tachograph.pipeline.serve.errors import RequestError

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

Signal = Literal["traces", "logs"]
TOPICS: Final[dict[Signal, str]] = {"traces": "otlp_spans", "logs": "otlp_logs"}

# google.rpc.Code for the HTTP statuses of ours.
_RPC_CODES: Final = {
    400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 408: 4, 413: 3, 415: 3, 429: 8, 500: 13, 503: 14,
}  # fmt: skip


class Checked(msgspec.Struct, frozen=True):
    """What is known of a sound body."""

    empty: bool  # nothing to export: legal, and nothing to forward
    service: str | None  # service.name, when all resources of the body share it
    items: int  # spans or log records
    rejected: int = 0  # items of which `normalize` will make dead letters
    reason: str = ""  # why, in a sentence, when some are rejected


def check(signal: Signal, content_type: str, body: bytes, max_depth: int, now_us: int) -> Checked:
    """Decode a body of one of the two content types, received at `now_us`.

    Raises RequestError 400 with what is wrong, also when every item is.
    """
    if content_type == PROTOBUF:
        resources = _protobuf_resources(signal, body)
        service = _one(map(_protobuf_service, resources))
    else:
        resources = _json_resources(signal, body, max_depth)
        service = _one(map(_json_service, resources))
    items = list(_items(resources, *_PLACES[signal]))
    checked = Checked(not items, service, len(items))
    # The times tell almost for nothing whether it is worth a closer look.
    if any(_odd(item, *_TIMES[signal], now_us) for item in items):
        checked = _judged(signal, body, checked, now_us)
    return checked


def success(signal: Signal, content_type: str, checked: Checked) -> bytes:
    """An Export…ServiceResponse: with partial success where items were rejected."""
    if not checked.rejected:
        return b"" if content_type == PROTOBUF else b"{}"
    rejected, reason = checked.rejected, checked.reason
    if content_type != PROTOBUF:
        name = "rejectedSpans" if signal == "traces" else "rejectedLogRecords"
        partial = {name: str(rejected), "errorMessage": reason}
        return msgspec.json.encode({"partialSuccess": partial})
    answer: ExportTraceServiceResponse | ExportLogsServiceResponse
    if signal == "traces":
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = rejected
    else:
        answer = ExportLogsServiceResponse()
        answer.partial_success.rejected_log_records = rejected
    answer.partial_success.error_message = reason
    return answer.SerializeToString()


def failure(content_type: str, status: int, message: str) -> bytes:
    """A google.rpc.Status, as OTLP wants it, in the request's content type."""
    code = _RPC_CODES.get(status, 2)
    if content_type != PROTOBUF:
        return msgspec.json.encode({"code": code, "message": message})
    # Two fields by hand (1: code, 2: message) spare a dependency; messages are short, but may
    # pass 127 bytes.
    text = message.encode()
    return bytes((0x08, code, 0x12)) + _varint(len(text)) + text


# Names on the way from a resource to its items, the same in protobuf and in the structs below.
_PLACES: Final[dict[Signal, tuple[str, str]]] = {
    "traces": ("scope_spans", "spans"),
    "logs": ("scope_logs", "log_records"),
}


# When an item was, in the order in which `normalize` asks.
_TIMES: Final[dict[Signal, tuple[str, str]]] = {
    "traces": ("end_time_unix_nano", "start_time_unix_nano"),
    "logs": ("time_unix_nano", "observed_time_unix_nano"),
}


def _items(resources: Any, scopes: str, items: str) -> Iterable[Any]:
    for resource in resources:
        for scope in getattr(resource, scopes) or ():
            yield from getattr(scope, items) or ()


def _odd(item: Any, first: str, second: str, now_us: int) -> bool:
    """Whether an item has no time, or one that no clock of ours can mean."""
    at_ns = int(getattr(item, first) or 0) or int(getattr(item, second) or 0)
    return at_ns <= 0 or bool(times.beyond(at_ns // 1000, now_us))


def _judged(signal: Signal, body: bytes, checked: Checked, now_us: int) -> Checked:
    """What `normalize` will say of the items. Raises RequestError when none of them is good."""
    try:
        bad = _bad_spans(body, now_us) if signal == "traces" else _bad_logs(body, now_us)
    except BadInput as problem:
        raise RequestError(400, problem.detail) from problem
    if not bad:
        return checked  # items that tell nothing of an agent may have any time
    index, why = min(bad)
    reason = f"{len(bad)} of {checked.items} rejected; number {index + 1}: {why}"
    if len(bad) == checked.items:
        raise RequestError(400, reason)
    return msgspec.structs.replace(checked, rejected=len(bad), reason=reason)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_IMPOSSIBLE: Final = BadInput("impossible_time", times.IMPOSSIBLE)


def _bad_spans(body: bytes, now_us: int) -> list[tuple[int, str]]:
    """Places of bad spans, and what is wrong. Raises BadInput when nothing can be used."""
    parts, [verdict] = SpanDecoder().decode([body])
    if verdict.refused:
        raise verdict.refused
    bad = [(fault.index, fault.problem) for fault in verdict.faults]
    for part in parts:
        for at, ended in enumerate(part.frame["event_time"].to_physical()):
            problem = part.faults.get(at) or (_IMPOSSIBLE if times.beyond(ended, now_us) else None)
            if problem:
                bad.append((int(part.index[at]), problem))
    return [(index, str(problem)) for index, problem in bad]


def _bad_logs(body: bytes, now_us: int) -> list[tuple[int, str]]:
    decoded = decode(body, "otlp_logs")
    bad = [(fault.index, str(fault.problem)) for fault in decoded.faults]
    late = (item for item in decoded.items if times.beyond(item.row["event_time"], now_us))
    return bad + [(item.index, str(_IMPOSSIBLE)) for item in late]


# --- protobuf ---------------------------------------------------------------------------------

_MESSAGES: Final[dict[Signal, tuple[Callable[[bytes], Message], str]]] = {
    "traces": (ExportTraceServiceRequest.FromString, "resource_spans"),
    "logs": (ExportLogsServiceRequest.FromString, "resource_logs"),
}


def _protobuf_resources(signal: Signal, body: bytes) -> Any:
    parse, field = _MESSAGES[signal]
    try:
        # The runtime checks UTF-8 and refuses more than 100 nested messages.
        request = parse(body)
    except (DecodeError, RecursionError) as error:
        raise RequestError(400, f"the body is no Export request in protobuf: {error}") from error
    resources = getattr(request, field)
    if not resources and body:
        raise RequestError(400, f"the body has no {field}: is it another signal's export request?")
    return resources


def _protobuf_service(entry: Any) -> str | None:
    for attribute in entry.resource.attributes:
        if attribute.key == "service.name":
            return str(attribute.value.string_value) or None
    return None


def _one(services: Iterable[str | None]) -> str | None:
    """The one service that all resources name; otherwise records have no key."""
    found = set(services)
    return found.pop() if len(found) == 1 else None


# --- JSON -------------------------------------------------------------------------------------
# The shape of OTLP/JSON: names in lowerCamelCase, unknown names ignored, null is absent, 64-bit
# numbers as text or number, ids in hex.

_Number = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,20}$")] | int | None
_Enum = int | str | None
_TraceId = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-fA-F]{32})?$")] | None
_SpanId = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-fA-F]{16})?$")] | None


class _Shape(msgspec.Struct, rename="camel"):
    pass


class _AnyValue(_Shape):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Number = None
    double_value: float | str | None = None
    bytes_value: str | None = None
    array_value: "_ArrayValue | None" = None
    kvlist_value: "_KeyValueList | None" = None


class _ArrayValue(_Shape):
    values: list[_AnyValue | None] | None = None


class _KeyValue(_Shape):
    key: str | None = None
    value: _AnyValue | None = None


class _KeyValueList(_Shape):
    values: list[_KeyValue] | None = None


_Attributes = list[_KeyValue] | None


class _Resource(_Shape):
    attributes: _Attributes = None


class _Scope(_Shape):
    name: str | None = None
    version: str | None = None
    attributes: _Attributes = None


class _Event(_Shape):
    name: str | None = None
    time_unix_nano: _Number = None
    attributes: _Attributes = None


class _Link(_Shape):
    trace_id: _TraceId = None
    span_id: _SpanId = None
    attributes: _Attributes = None


class _Status(_Shape):
    code: _Enum = None
    message: str | None = None


class _Span(_Shape):
    trace_id: _TraceId = None
    span_id: _SpanId = None
    parent_span_id: _SpanId = None
    name: str | None = None
    kind: _Enum = None
    start_time_unix_nano: _Number = None
    end_time_unix_nano: _Number = None
    attributes: _Attributes = None
    events: list[_Event] | None = None
    links: list[_Link] | None = None
    status: _Status | None = None


class _LogRecord(_Shape):
    time_unix_nano: _Number = None
    observed_time_unix_nano: _Number = None
    severity_number: _Enum = None
    severity_text: str | None = None
    body: _AnyValue | None = None
    attributes: _Attributes = None
    trace_id: _TraceId = None
    span_id: _SpanId = None
    event_name: str | None = None


class _ScopeSpans(_Shape):
    scope: _Scope | None = None
    spans: list[_Span] | None = None


class _ScopeLogs(_Shape):
    scope: _Scope | None = None
    log_records: list[_LogRecord] | None = None


class _ResourceSpans(_Shape):
    resource: _Resource | None = None
    scope_spans: list[_ScopeSpans] | None = None


class _ResourceLogs(_Shape):
    resource: _Resource | None = None
    scope_logs: list[_ScopeLogs] | None = None


class _Traces(_Shape):
    resource_spans: list[_ResourceSpans] | msgspec.UnsetType | None = msgspec.UNSET


class _Logs(_Shape):
    resource_logs: list[_ResourceLogs] | msgspec.UnsetType | None = msgspec.UNSET


_DECODERS: Final[dict[Signal, tuple[msgspec.json.Decoder[Any], str, str]]] = {
    "traces": (msgspec.json.Decoder(_Traces), "resource_spans", "resourceSpans"),
    "logs": (msgspec.json.Decoder(_Logs), "resource_logs", "resourceLogs"),
}


def _json_resources(signal: Signal, body: bytes, max_depth: int) -> Any:
    decoder, field, name = _DECODERS[signal]
    if deeper_than(max_depth, body):
        raise RequestError(400, f"the body nests deeper than {max_depth} levels")
    try:
        check_utf8(body)
        request = decoder.decode(body)
    except (BadInput, *UNREADABLE) as error:
        said = unreadable(body, error).detail
        raise RequestError(400, f"the body is no Export request in JSON: {said}") from error
    if given_twice(body, name):
        raise RequestError(400, f"the body gives {name} twice")
    resources = getattr(request, field)
    if resources is msgspec.UNSET and body.strip() != b"{}":
        raise RequestError(400, f"the body has no {name} (names are in lowerCamelCase)")
    return resources or []


def _json_service(entry: _ResourceSpans | _ResourceLogs) -> str | None:
    attributes = (entry.resource.attributes if entry.resource else None) or []
    for attribute in attributes:
        if attribute.key == "service.name" and attribute.value:
            return attribute.value.string_value or None
    return None
