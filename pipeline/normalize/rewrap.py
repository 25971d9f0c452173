"""One bad span or log record as an export request of its own, so that its dead letter can be put
back on its topic.
"""

import math
from typing import Any

import msgspec

from tachograph.pipeline.normalize.forms import Attributes, Log, Span

_encode = msgspec.json.Encoder().encode


def span_request(span: Span, resource: Attributes, scope: str) -> bytes:
    """OTLP/JSON of one span with its resource and scope; decodes to an equal span."""
    return request("spans", _span(span), resource, scope)


def log_request(log: Log, resource: Attributes, scope: str) -> bytes:
    """OTLP/JSON of one log record with its resource and scope; decodes to an equal record."""
    return request("logRecords", _log(log), resource, scope)


def request(name: str, item: Any, resource: Attributes, scope: str) -> bytes:
    """A request of one item (a mapping, or encoded JSON). Bytes that no UTF-8 carries are lost:
    b"".
    """
    outer, inner = (
        ("resourceSpans", "scopeSpans") if name == "spans" else ("resourceLogs", "scopeLogs")
    )
    scoped = {"scope": {"name": scope}, name: [item]}
    whole = {outer: [{"resource": {"attributes": _pairs(resource)}, inner: [scoped]}]}
    try:
        return _encode(whole)
    except (ValueError, RecursionError):
        return b""


def _span(span: Span) -> dict[str, Any]:
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_span_id,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _pairs(span.attributes),
        "status": {"code": span.status, "message": span.status_message},
        "events": [
            {"name": name, "timeUnixNano": str(at), "attributes": _pairs(attributes)}
            for name, at, attributes in span.events
        ],
    }


def _log(log: Log) -> dict[str, Any]:
    return {
        "traceId": log.trace_id,
        "spanId": log.span_id,
        "timeUnixNano": str(log.time_ns),
        "observedTimeUnixNano": str(log.observed_ns),
        "severityNumber": log.severity,
        "eventName": log.event_name,
        "body": _value(log.body),
        "attributes": _pairs(log.attributes),
    }


def _pairs(attributes: Attributes) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {}
        case str():
            return {"stringValue": value}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value if math.isfinite(value) else repr(value)}
        case list():
            return {"arrayValue": {"values": [_value(one) for one in value]}}
        case _:
            return {"kvlistValue": {"values": _pairs(value)}}
