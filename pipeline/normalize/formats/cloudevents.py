"""CloudEvents on Kafka: structured (the value is the event) and binary (attributes are headers).

What is inside is read as whatever it is: an action of ours, a record of another format that is
known here, or names of OpenTelemetry's conventions.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tachograph.pipeline.normalize.formats.decoder import Read, Told, Written
from tachograph.pipeline.normalize.formats.reading import (
    Context,
    Object,
    filled,
    spoken,
    time_us,
    trace_of,
    within,
)
from tachograph.pipeline.normalize.native import renamed
from tachograph.pipeline.normalize.raw import Row
from tachograph.schemas.action import KINDS

SOURCE: Final = "cloudevents"
_PREFIX: Final = "ce_"
_REQUIRED: Final = ("specversion", "id", "source", "type")
_REQUIRED_HEADERS: Final = tuple(f"{_PREFIX}{name}" for name in _REQUIRED)
_KNOWN: Final = frozenset({*_REQUIRED, "time", "subject", "datacontenttype", "dataschema", "data",
                           "data_base64", "partitionkey", "traceparent", "tracestate"})  # fmt: skip


class CloudEvents(Written):
    """See Decoder."""

    name = SOURCE
    title = "CloudEvents 1.0 (structured and binary)"

    def recognises(self, item: Object) -> bool:
        """See Decoder."""
        return "specversion" in item and "source" in item and "type" in item

    def read(self, items: Sequence[Object], context: Context) -> Read:
        """See Decoder."""
        told: list[list[Told]] = []
        for item in items:
            event = item if self.recognises(item) else of_headers(context.headers, item)
            told.append([] if event is None else list(_told(event, context)))
        return Read(told)


FORMAT = CloudEvents()


def binary(headers: Mapping[str, bytes]) -> bool:
    """Whether headers are the attributes of an event."""
    return bool(headers) and all(name in headers for name in _REQUIRED_HEADERS)


def of_headers(headers: Mapping[str, bytes], data: Any) -> Object | None:
    """The event whose attributes are headers; None: they are none."""
    if not binary(headers):
        return None
    event: Object = {
        name.removeprefix(_PREFIX): value.decode("utf-8", "replace")
        for name, value in headers.items()
        if name.startswith(_PREFIX)
    }
    return {**event, "data": data}


def carried(item: Any, headers: Mapping[str, bytes]) -> Object | None:
    """The object that an event carries, unless it is an action of ours; None: none."""
    if item.__class__ is not dict:
        return None
    event = item if FORMAT.recognises(item) else of_headers(headers, item)
    data = unwrapped(event) if event is not None else None
    return data if data.__class__ is dict and not _is_action(data) else None


def unwrapped(event: Object) -> Any:
    """What an event carries, where that is JSON."""
    data = event.get("data")
    if data is None and event.get("data_base64").__class__ is str:
        try:
            data = base64.b64decode(event["data_base64"], validate=True).decode()
        except ValueError:
            return None
    return within(data)


def _told(event: Object, context: Context) -> Iterator[Told]:
    """An event that carries an action or several, or names of conventions; what else it carries is
    kept.
    """
    data = unwrapped(event)
    ident = f"{event.get('source')}/{event.get('id')}"
    if data.__class__ is not list or not all(_is_action(one) for one in data):
        yield Told(_row(event, data, context), ident)
        return
    for number, one in enumerate(data):
        yield Told(_row(event, one, context), f"{ident}/{number}")


def _is_action(data: Any) -> bool:
    return data.__class__ is dict and data.get("kind") in KINDS


def _row(event: Object, data: Any, context: Context) -> Row:
    row, extra = _carried(data)
    row.setdefault("kind", "other")
    row.setdefault("source_kind", SOURCE)
    when = time_us(event.get("time"))
    if when is None:
        # The time of an event is optional.
        when = context.observed_us
    if when is not None:
        row.setdefault("event_time", when)
    trace = trace_of(event.get("traceparent"))
    if trace is not None:
        row.setdefault("trace_id", trace[0])
        row.setdefault("span_id", trace[1])
    source = event.get("source")
    if source.__class__ is str:
        row.setdefault("source_id", source)
        if not row.get("agent_id") and not row.get("agent_name"):
            row["agent_id"] = source.rpartition(":")[2] if source.startswith("urn:") else source
    if not row.get("operation"):
        filled(row, operation=event.get("type"))
    if event.get("partitionkey") and not row.get("session_id"):
        filled(row, session_id=event["partitionkey"])
    extra |= {f"cloudevent.{name}": value for name, value in event.items() if name not in _KNOWN}
    if event.get("subject"):
        extra["cloudevent.subject"] = event["subject"]
    if extra:
        row["attributes"] = {**extra, **(row.get("attributes") or {})}
    return row


def _carried(data: Any) -> tuple[Row, Row]:
    if data.__class__ is not dict:
        return {}, {} if data is None else {"data": data}
    if _is_action(data):
        row = dict(data)
        renamed(row)
        return row, {}
    return spoken(data)
