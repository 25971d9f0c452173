"""OTLP in one light form, whichever encoding it came in: spans, log records, their resources.

Both encodings give equal spans, so the same span has the same id whichever way it came. Attribute
values become plain Python values; of equal keys the last holds.
"""

from typing import Any

import msgspec

from tachograph.pipeline.normalize import limits
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


def check_depth(depth: int) -> None:
    """Raises BadInput for a value nested deeper than the limit."""
    if depth >= limits.JSON_DEPTH:
        raise BadInput("too_deep", f"a value may be nested {limits.JSON_DEPTH} deep")
