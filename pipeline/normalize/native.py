"""Native actions and state snapshots from agent.raw: one JSON object, a JSON array, or NDJSON per
record.

`tool_name`, `tool.name` and `{"tool": {"name": …}}` are one field. What is no field of Action goes
into `attributes`. What only `normalize` may say (event_id, tenant, assurance, …) is ignored when a
producer says it.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from tachograph.pipeline.normalize import envelopes, limits
from tachograph.pipeline.normalize.faults import UNREADABLE, check_utf8, unreadable
from tachograph.pipeline.normalize.raw import BadInput, Decoded, Fault, Item, Row
from tachograph.pipeline.normalize.rows import json_text
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.batch import COLUMNS

FIELDS: Final = frozenset(COLUMNS)
# Filled by `normalize`; a producer's word on them is ignored (on observed_time too, but where
# there is no hop of ours).
SERVER_FILLED: Final = frozenset(
    {
        "event_id", "tenant", "partition_key", "raw_topic", "raw_partition", "raw_offset",
        "raw_index", "twin_key", "assurance", "authenticated_as", "identity_mismatch", "late",
        "far", "redactions", "truncated",
    }
)  # fmt: skip
UNKNOWN_AGENT: Final = "unknown"
_PLACES: Final = ("agent_id", "service_name", "agent_name")
_decode = msgspec.json.Decoder().decode
_lines = msgspec.json.Decoder().decode_lines
_canonical = msgspec.json.Encoder(order="sorted").encode
_snapshot = msgspec.json.Decoder(StateSnapshot).decode
_SNAPSHOT_FIELDS: Final = frozenset(StateSnapshot.__struct_fields__)
_NO_ACTION: Final = (
    "an action has a kind and an event_time, and no format that is known recognises this object:"
    " `tacho map list` has them, a mapping file of your own adds one"
)
# Stands for an object that gives a key twice.
_TWICE: Final = object()


def actions(
    value: bytes, other: Callable[[Any], str | None] = lambda _: None
) -> tuple[Decoded, dict[str, list[tuple[int, Any]]]]:
    """Decode one record of native actions; and its items that are none, by the format that `other`
    says they are of. Raises BadInput when nothing of it can be used.
    """
    found, faults = items_of(value)
    if len(found) + len(faults) > limits.ITEMS:
        raise BadInput("too_many", f"a record may hold {limits.ITEMS} actions")
    decoded = Decoded(faults=faults)
    others: dict[str, list[tuple[int, Any]]] = {}
    colons = 0
    for index, item in found:
        if item.__class__ is dict and "kind" not in item and (form := other(item)) is not None:
            others.setdefault(form, []).append((index, item))
            continue
        try:
            meaning = meaning_of(item)
            decoded.items.append(_item(item, index, meaning))
            colons += meaning.count(b":")
        except BadInput as problem:
            decoded.faults.append(Fault(index, problem, _original(value, index, item)))
    if not others:
        _refuse_duplicates(value, decoded, colons)
    return decoded, others


def snapshot(value: bytes) -> Decoded:
    """Decode one state snapshot, or several as NDJSON. Raises BadInput."""
    decoded = Decoded()
    lines = _split(value)
    for index, line in enumerate(lines if lines and lines[0][-1:] == b"}" else [value]):
        try:
            check_utf8(line)
            decoded.snapshots.append(_with_other(_snapshot(line), line))
        except (BadInput, *UNREADABLE) as error:
            decoded.faults.append(Fault(index, unreadable(line, error), line))
    return decoded


def _with_other(told: StateSnapshot, line: bytes) -> StateSnapshot:
    """The snapshot with what is no field of one, which an agent may publish too. Raises BadInput,
    and what encoding raises.
    """
    more = {name: value for name, value in _decode(line).items() if name not in _SNAPSHOT_FIELDS}
    if not more:
        return told
    if len(more) + len(told.other) > limits.ATTRIBUTES:
        raise BadInput("too_many", f"a snapshot may have {limits.ATTRIBUTES} fields of its own")
    texts = {
        name[: limits.ATTRIBUTE_NAME_BYTES]: value if isinstance(value, str) else json_text(value)
        for name, value in more.items()
        if value is not None
    }
    return msgspec.structs.replace(told, other={**texts, **told.other})


def items_of(value: bytes) -> tuple[list[tuple[int, Any]], list[Fault]]:
    """Decoded items with their places, and the lines that are no JSON."""
    try:
        whole = _decode(value)
    except UNREADABLE as error:
        if b"\n" not in value.strip():
            raise unreadable(value, error) from error
        return _ndjson(value, error)
    return list(enumerate(envelopes.items(whole))), []


def _ndjson(value: bytes, first: Exception) -> tuple[list[tuple[int, Any]], list[Fault]]:
    try:
        return list(enumerate(_lines(value))), []
    except UNREADABLE:
        pass
    found: list[tuple[int, Any]] = []
    faults: list[Fault] = []
    for index, line in enumerate(_split(value)):
        try:
            found.append((index, _decode(line)))
        except UNREADABLE as error:
            faults.append(Fault(index, unreadable(line, error), line))
    if not found:  # no line stands alone: it was one document, and it is broken
        raise unreadable(value, first) from first
    return found, faults


def _split(value: bytes) -> list[bytes]:
    """Lines of NDJSON; blank ones do not count."""
    return [line for line in value.split(b"\n") if line.strip()]


def _original(value: bytes, index: int, item: Any) -> bytes:
    """The bytes of one item: its line, the whole record if alone, else it is encoded again."""
    if envelopes.holds_many(value):
        try:
            return _canonical(item)
        except (RecursionError, ValueError):
            return value
    lines = _split(value)
    alone = index >= len(lines) or not _stands_alone(lines[0])
    return value if alone else lines[index]


def _stands_alone(line: bytes) -> bool:
    try:
        _decode(line)
    except UNREADABLE:
        return line[-1:] == b"}"
    return True


def meaning_of(item: Any) -> bytes:
    """Canonical bytes of what the producer sent, within the limits of one action."""
    if item.__class__ is not dict:
        raise BadInput("mistyped", "an action is a JSON object")
    try:
        meaning = _canonical(item)
    except RecursionError as error:
        raise BadInput("too_deep", f"JSON may be nested {limits.JSON_DEPTH} deep") from error
    if len(meaning) > limits.ACTION_BYTES:
        raise BadInput("too_large", f"an action may have {limits.ACTION_BYTES} bytes")
    # Counting brackets is cheap and never too low; only what could be too deep is walked.
    if meaning.count(b"{") + meaning.count(b"[") > limits.JSON_DEPTH and too_deep(item):
        raise BadInput("too_deep", f"JSON may be nested {limits.JSON_DEPTH} deep")
    return meaning


def too_deep(value: Any) -> bool:
    """Whether containers are nested deeper than the limit; a loop, so that depth costs no stack."""
    level = [value]
    for _ in range(limits.JSON_DEPTH + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: Any) -> Iterator[Any]:
    inner = value.values() if value.__class__ is dict else value
    return (one for one in inner if one.__class__ in (dict, list))


def _item(item: Row, index: int, meaning: bytes) -> Item:
    renamed(item)
    item.setdefault("source_kind", "native")
    if item.get("kind") is None or item.get("event_time") is None:
        raise BadInput("missing", _NO_ACTION)
    extra = item.get("attributes")
    if extra.__class__ is dict and len(extra) > limits.ATTRIBUTES:
        raise BadInput("too_many", f"an action may have {limits.ATTRIBUTES} attributes")
    producer = item.get("producer_id")
    if producer is not None and producer.__class__ is not str:
        raise BadInput("mistyped", "producer_id: expected text")
    return Item(item, index, place_of(item), producer, meaning)


# Sets of names that need nothing done, as producers send the same ones again and again.
_plain_names: set[tuple[str, ...]] = set()
KNOWN_NAMES: Final = 1_000


def renamed(item: Row) -> bool:
    """Names of other forms become fields, and what only `normalize` may say goes. In place.

    Gives whether anything had to be done.
    """
    names = tuple(item)
    if names in _plain_names:
        return False
    if FIELDS.issuperset(names) and SERVER_FILLED.isdisjoint(names):
        if len(_plain_names) < KNOWN_NAMES:
            _plain_names.add(names)
        return False
    _fold(item)
    for name in SERVER_FILLED & item.keys():
        del item[name]
    return True


def place_of(item: Row) -> str:
    """Partition key: who the record says it is of."""
    for name in _PLACES:
        value = item.get(name)
        if value and value.__class__ is str:
            return str(value)
    return UNKNOWN_AGENT


def _fold(item: Row) -> None:
    """Dotted and nested names become fields; the rest becomes attributes. In place."""
    extra: Row = {}
    for key in [key for key in item if key not in FIELDS]:
        _take(item, extra, key, item.pop(key))
    if not extra:
        return
    given = item.get("attributes")
    if given is None:
        item["attributes"] = extra
    elif given.__class__ is dict:
        item["attributes"] = {**extra, **given}


def _take(item: Row, extra: Row, path: str, value: Any) -> None:
    name = path.replace(".", "_")
    if name in FIELDS:
        item.setdefault(name, value)
    elif value.__class__ is dict and value and path.count(".") < 3:
        for key, inner in value.items():
            _take(item, extra, f"{path}.{key}", inner)
    else:
        extra[path[: limits.ATTRIBUTE_NAME_BYTES]] = value


def _refuse_duplicates(value: bytes, decoded: Decoded, colons: int) -> None:
    """A key given twice says two things: readers disagree which counts, so the item is refused.

    Every key of the bytes brings a colon, and decoding drops the first of two equal keys with its
    value, so equal counts of colons prove that there is none. Colons written as an escape take the
    slow way.
    """
    if not decoded.faults and value.count(b":") == colons and b"\\u003" not in value:
        return
    twice = _given_twice(value)
    problem = BadInput("duplicate_key", "a key is given twice")
    decoded.faults += [
        Fault(item.index, problem, _original(value, item.index, item.row))
        for item in decoded.items
        if item.index in twice
    ]
    decoded.items = [item for item in decoded.items if item.index not in twice]


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) < len(pairs) or any(map(_marked, found.values())):
        return _TWICE
    return found


def _marked(value: Any) -> bool:
    return value is _TWICE or (value.__class__ is list and any(map(_marked, value)))


def _given_twice(value: bytes) -> set[int]:
    """Places of the items that give a key twice, by a parser that shows every pair."""
    whole = _with_pairs(value)
    if whole is None:
        items = [_with_pairs(line) for line in _split(value)]
    else:
        items = whole if whole.__class__ is list else [whole]
    return {at for at, item in enumerate(items) if _marked(item)}


def _with_pairs(text: bytes) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        return None
