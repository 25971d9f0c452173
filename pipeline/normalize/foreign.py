"""Records of other formats → actions, by the modules of `formats`."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tachograph.pipeline.normalize import envelopes, limits, native, results
from tachograph.pipeline.normalize.formats.decoder import Decoder, Told
from tachograph.pipeline.normalize.formats.reading import Context, Object
from tachograph.pipeline.normalize.raw import BadInput, Decoded, Fault, Item

# Of a dump of a topic (kcat -J and others), what holds the value.
_DUMPED: Final = ("payload", "value")
_DUMP_KEYS: Final = frozenset({"headers", "key", "topic", "partition", "offset", "ts", "tstype",
                               "broker", "timestamp", *_DUMPED})  # fmt: skip


def undumped(item: Any) -> Any:
    """The value inside a record as tools dump it, or inside another envelope; anything else as it
    is.
    """
    if item.__class__ is not dict:
        return item
    if not _DUMP_KEYS.issuperset(item) or "key" not in item:
        return envelopes.inner(item)
    value = next((item[name] for name in _DUMPED if name in item), None)
    if value.__class__ is str:
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return item
    if value.__class__ is not dict:
        return item
    headers = item.get("headers")
    named = headers if headers.__class__ is dict else {}
    attributes = {name[3:]: text for name, text in named.items() if name.startswith("ce_")}
    if "specversion" in attributes:
        return {**attributes, "data": value}
    return envelopes.inner(value)


def take(
    found: Sequence[tuple[int, Any]],
    decoder: Decoder,
    context: Context,
    decoded: Decoded,
    first: int,
) -> None:
    """Add what these items tell, decoded by one format. `first`: place in the record of the first
    action.
    """
    sound: list[tuple[int, Object, bytes]] = []
    for index, item in found:
        inner = undumped(item)
        try:
            sound.append((index, inner, native.meaning_of(inner)))
        except BadInput as problem:
            decoded.faults.append(Fault(index, problem, b""))
    read = decoder.read([item for _, item, _ in sound], context)
    for at, ((index, _, meaning), told) in enumerate(zip(sound, read.told, strict=True)):
        if not told and at not in read.joined:
            decoded.foreign += 1
        for number, one in enumerate(told):
            _add(one, (index, first + len(decoded.items)), number, meaning, decoded)
    decoded.naming += [(native.place_of(row), row) for row in read.naming]


def _add(
    told: Told, places: tuple[int, int], number: int, meaning: bytes, decoded: Decoded
) -> None:
    row, (index, place) = told.row, places
    row.setdefault("kind", "other")
    results.judge(row)
    if row.get("event_time") is None:
        decoded.faults.append(
            Fault(index, BadInput("missing", "nothing says when it happened"), meaning)
        )
        return
    if len(decoded.items) >= limits.ITEMS:
        raise BadInput("too_many", f"a record may hold {limits.ITEMS} actions")
    # Actions of one item are told apart by their number.
    said = meaning if number == 0 else b"%s#%d" % (meaning, number)
    whose = told.place or native.place_of(row)
    if whose == native.UNKNOWN_AGENT:
        # Nothing names an agent or a service: who reports it is all that is known.
        whose = str(row.get("source_kind") or whose)
    decoded.items.append(Item(row, place, whose, told.producer, said, own_id=False))
