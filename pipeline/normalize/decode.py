"""One raw record's bytes to items: which decoder for which format, and what becomes of one bad item
in a good batch. Spans are decoded many records at a time (span_batch).
"""

from typing import Any

import msgspec

from tachograph.pipeline.normalize import foreign, genai, limits, logs, native, otlp, rewrap
from tachograph.pipeline.normalize.formats import cloudevents
from tachograph.pipeline.normalize.formats.reading import Context
from tachograph.pipeline.normalize.formats.registry import Formats
from tachograph.pipeline.normalize.forms import Group, Log
from tachograph.pipeline.normalize.raw import BadInput, Decoded, Fault, Item, Row

NO_CONTEXT = Context()
_canonical = msgspec.json.Encoder(order="sorted").encode


def decode(
    value: bytes, form: str, formats: Formats | None = None, context: Context = NO_CONTEXT
) -> Decoded:
    """Decode the unpacked bytes of one record. `form`: of raw.FORMATS, or the name of one of
    `formats`. Raises BadInput when nothing of it can be used.
    """
    if form == "otlp_logs":
        return _exploded(otlp.logs(value))
    if form == "state":
        return native.snapshot(value)
    formats = formats or Formats()
    if cloudevents.binary(context.headers):
        form = cloudevents.SOURCE
    if form != "actions" and form in formats:
        return _of_format(value, form, formats, context)
    decoded, others = native.actions(value, formats.of)
    first = decoded.size + sum(map(len, others.values())) if decoded.size else 0
    for name, items in _unwrapped(others, formats, context).items():
        foreign.take(items, formats.named(name), context, decoded, first)
    return decoded


def _of_format(value: bytes, form: str, formats: Formats, context: Context) -> Decoded:
    found, faults = native.items_of(value)
    if len(found) + len(faults) > limits.ITEMS:
        raise BadInput("too_many", f"a record may hold {limits.ITEMS} items")
    decoded = Decoded(faults=faults)
    for name, items in _unwrapped({form: found}, formats, context).items():
        foreign.take(items, formats.named(name), context, decoded, 0)
    return decoded


Items = dict[str, list[tuple[int, Any]]]


def _unwrapped(items: Items, formats: Formats, context: Context) -> Items:
    """Items by format, where an event that carries a record of a known format is that record."""
    events = items.get(cloudevents.SOURCE)
    if events is None:
        return items
    found: Items = {name: one for name, one in items.items() if name != cloudevents.SOURCE}
    for index, item in events:
        carried = cloudevents.carried(foreign.undumped(item), context.headers)
        form = formats.of(carried) if carried is not None else None
        if form is None or form == cloudevents.SOURCE:
            found.setdefault(cloudevents.SOURCE, []).append((index, item))
        else:
            found.setdefault(form, []).append((index, carried))
    return found


class _Source(msgspec.Struct, gc=False):
    """What a group says of everything in it."""

    group: Group
    shared: Row
    place: str


def _exploded(groups: list[Group]) -> Decoded:
    decoded = Decoded()
    index = -1
    for group in groups:
        shared = genai.resource_row(group.resource, group.scope)
        shared["source_kind"] = "otlp_log"
        source = _Source(group, shared, genai.place_of(group.resource))
        for log in group.logs:
            index += 1
            try:
                _take(log, source, index, decoded)
            except BadInput as problem:
                original = rewrap.log_request(log, group.resource, group.scope)
                decoded.faults.append(Fault(index, problem, original))
        for fault, broken in group.faults:
            index += 1
            original = rewrap.request(
                "logRecords", msgspec.Raw(broken), group.resource, group.scope
            )
            decoded.faults.append(Fault(index, fault, original))
    if index >= limits.ITEMS:
        raise BadInput("too_many", f"a record may hold {limits.ITEMS} spans or log records")
    return decoded


def _take(log: Log, source: _Source, index: int, decoded: Decoded) -> None:
    row = logs.row_of(log, source.shared, source.group.scope)
    if row is None:
        decoded.foreign += 1
        return
    producer = logs.producer_id(log)
    # Several records of one span and event name are no reuse of an id.
    item = Item(row, index, source.place, producer, _meaning(log), source.group, own_id=False)
    decoded.items.append(item)


def _meaning(log: Log) -> bytes:
    try:
        meaning = _canonical(log)
    except (ValueError, RecursionError) as error:
        raise BadInput("malformed", "a text is no UTF-8") from error
    if len(meaning) > limits.ACTION_BYTES:
        raise BadInput("too_large", f"an action may have {limits.ACTION_BYTES} bytes")
    return meaning


def rewrapped(item: Item) -> bytes:
    """The bytes of a dead letter of an item that was decoded before it was found to be bad."""
    group = item.group
    if not isinstance(group, Group):
        return item.meaning
    log = msgspec.json.decode(item.meaning, type=Log)
    return rewrap.log_request(log, group.resource, group.scope)
