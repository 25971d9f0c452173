"""Native records at the door: actions, state snapshots and answers to directives, one a line, in
an array, or alone.

A record is checked against its contract and forwarded with the bytes it came with. Records of one
agent travel together, a JSON object a line.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import msgspec

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.normalize import times
from tachograph.pipeline.normalize.faults import UNREADABLE, unreadable
from tachograph.pipeline.normalize.native import renamed
from tachograph.pipeline.serve.depth import deeper_than
from tachograph.pipeline.serve.errors import RequestError, shown
from tachograph.pipeline.serve.limits import Limits
from tachograph.schemas.action import KINDS, Action
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.fields import Record
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import AckStatus, DirectiveAck

TOPIC: Final = "agent.raw"
ONE_JSON: Final = "application/json"
CONTENT_TYPES: Final = (
    ONE_JSON, "application/x-ndjson", "application/ndjson", "application/jsonl",
)  # fmt: skip
MAX_ERRORS_TOLD = 20

RecordKind = Literal["action", "state_snapshot", "directive_ack"]


class Line(NamedTuple):
    """One sound record, or several on lines: the bytes, and the agent whose order they keep."""

    payload: bytes
    agent: str | None


# What the door asks beyond the contract: times say their zone, whole numbers fit 64 bits.
_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_STRICTER: Final[dict[Any, Any]] = {int | None: _Whole | None, datetime | None: _Time | None}
# And where it asks less: what an Action keeps as JSON text may be sent as the JSON itself.
_JSON_TEXT: Final = frozenset({
    "tool_args", "tool_result", "tool_schema", "tool_definitions", "system_instructions",
    "input_messages", "output_messages", "model_settings",
})  # fmt: skip


def _posted(record: type[Record], required: dict[str, Any], optional: set[str]) -> Any:
    """The record as producers post it: a struct whose fields have the types of the door."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(record):
        inner = get_args(field.type)[0]
        kind = _STRICTER.get(inner, field.type)
        if field.name in _JSON_TEXT:
            kind = str | dict[str, Any] | list[Any] | None
        elif field.name == "attributes":
            kind = dict[str, Any] | None
        if field.name in required:
            fields.append((field.name, required[field.name]))
        elif field.name in optional or not field.required:
            fields.append((field.name, kind | None, None))
        else:
            fields.append((field.name, kind))
    return msgspec.defstruct(f"Posted{record.__name__}", fields, kw_only=True)


_DECODERS: Final[dict[RecordKind, msgspec.json.Decoder[Any]]] = {
    "action": msgspec.json.Decoder(
        _posted(Action, {"kind": Literal[KINDS], "event_time": _Time}, set())
    ),
    "state_snapshot": msgspec.json.Decoder(
        _posted(StateSnapshot, {"taken_at": _Time, "agent_id": str}, {"tenant", "snapshot_id"})
    ),
    "directive_ack": msgspec.json.Decoder(
        _posted(DirectiveAck, {"acked_at": _Time, "status": AckStatus}, {"tenant"})
    ),
}
_ANY: Final = msgspec.json.Decoder()


def lines(
    kind: RecordKind, content_type: str, body: bytes, limits: Limits, now_us: int
) -> list[Line]:
    """All records of a body, in order; `now_us` is when the door received it.

    Raises RequestError: 400 naming every bad line (the first is 1) and its reason, up to twenty;
    nothing of such a body is accepted. 413 for too many records or one that is too large.
    """
    if deeper_than(limits.depth, body):
        raise RequestError(400, f"the body nests deeper than {limits.depth} levels")
    found: list[Line] = []
    errors: list[dict[str, object]] = []
    for count, (number, payload) in enumerate(_split(content_type, body)):
        if count >= limits.lines or len(payload) > limits.line_bytes:
            raise RequestError(
                413,
                f"a body may have {limits.lines} records of {limits.line_bytes} bytes;"
                f" line {number} is beyond that",
            )
        try:
            found.append(_line(kind, payload, now_us))
        except UNREADABLE as error:
            if len(errors) < MAX_ERRORS_TOLD:
                errors.append({"line": number, "reason": shown(_said(payload, error))})
    if errors:
        first = errors[0]
        raise RequestError(
            400,
            f"line {first['line']}: {first['reason']}; nothing of this body was accepted",
            details={"accepted": 0, "errors": errors},
        )
    return found


def _said(payload: bytes, error: Exception) -> str:
    return unreadable(payload, error).detail


def _line(kind: RecordKind, payload: bytes, now_us: int) -> Line:
    try:
        plain = _ANY.decode(payload)
    except msgspec.DecodeError:
        _DECODERS[kind].decode(payload)  # says which field it is
        raise
    if _has_twins(payload, plain):
        raise ValueError("a key is given twice")
    # Dotted and nested names are checked as the fields they become.
    other = kind == "action" and plain.__class__ is dict and renamed(plain)
    record = _DECODERS[kind].decode(msgspec.json.encode(plain) if other else payload)
    if kind == "action" and times.beyond(to_us(record.event_time), now_us):
        raise ValueError(times.IMPOSSIBLE)
    if b"\n" in payload:  # an item of a pretty-printed array: records are joined by line ends
        payload = msgspec.json.format(payload, indent=-1)
    if kind != "action":
        return Line(_named(record, payload), record.agent_id)
    return Line(payload, record.agent_id or record.service_name or record.agent_name)


def _has_twins(payload: bytes, plain: Any) -> bool:
    """Whether an object gives a key twice: readers would disagree which one counts.

    Each key brings a colon and decoding drops one of two equal keys, so equal counts of colons
    prove that there is none; a colon written as an escape takes the slow way.
    """
    if payload.count(b":") == msgspec.json.encode(plain).count(b":"):
        return b"\\u003" in payload and _gives_twice(payload)
    return _gives_twice(payload)


def _gives_twice(payload: bytes) -> bool:
    twice = False

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        found = dict(pairs)
        twice = twice or len(found) < len(pairs)
        return found

    json.loads(payload, object_pairs_hook=check)
    return twice


def _named(record: Any, payload: bytes) -> bytes:
    """The record with what its contract asks for and a producer may leave out."""
    added = {}
    if getattr(record, "snapshot_id", "") is None:
        # The same bytes get the same id: sent twice, it is one snapshot.
        added["snapshot_id"] = plain_id("snapshot", payload.decode())
    if record.tenant is None:
        added["tenant"] = ""  # it is the tenant of who posts, as the door says it
    if not added:
        return payload
    given = {key: value for key, value in _ANY.decode(payload).items() if value is not None}
    return msgspec.json.encode({**given, **added})


def grouped(found: list[Line], record_bytes: int) -> Iterator[Line]:
    """Lines of one agent joined into records of up to `record_bytes`; an agent's order holds."""
    open_records: dict[str | None, list[bytes]] = {}
    sizes: dict[str | None, int] = {}
    for payload, agent in found:
        size = sizes.get(agent, 0) + len(payload) + 1
        if size > record_bytes and agent in open_records:
            yield Line(b"\n".join(open_records.pop(agent)), agent)
            size = len(payload) + 1
        open_records.setdefault(agent, []).append(payload)
        sizes[agent] = size
    for agent, payloads in open_records.items():
        yield Line(b"\n".join(payloads), agent)


def _split(content_type: str, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each record: lines, or the items of an array counted from 1."""
    text = body.strip(b" \t\r\n")
    if content_type != ONE_JSON:
        for number, line in enumerate(body.split(b"\n"), 1):
            if stripped := line.strip(b" \t\r"):
                yield number, stripped
    elif text.startswith(b"["):
        yield from enumerate(_items(text), 1)
    elif text:
        yield 1, text


def _items(text: bytes) -> list[bytes]:
    try:
        return [bytes(item) for item in msgspec.json.decode(text, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        said = unreadable(text, error).detail
        raise RequestError(400, f"the body is no JSON array: {said}") from error
