"""What an agent says, as the bytes of one record. Whatever it hands over, nothing is raised but
Unusable.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from tachograph.schemas.action import Action
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.records import DirectiveAck

# What the pipeline takes as one record and as one text (it cuts there as well).
MAX_RECORD_BYTES: Final = 250_000
MAX_TEXT_CHARS: Final = 60_000
MAX_DEPTH: Final = 20
MAX_PARTS: Final = 10_000
CUT: Final = "sdk_truncated"

_ACTION_FIELDS: Final = frozenset(Action.__struct_fields__)
_SNAPSHOT_FIELDS: Final = frozenset(StateSnapshot.__struct_fields__)
_TIMES: Final = ("event_time", "start_time", "taken_at", "acked_at")
_JSON_TEXT: Final = frozenset({
    "tool_args", "tool_result", "tool_schema", "tool_definitions", "system_instructions",
    "input_messages", "output_messages", "model_settings", "memory_value", "content_text",
})  # fmt: skip
_check_ack: Final = msgspec.json.Decoder(DirectiveAck).decode
_TEXT_MAPS: Final = ("memory", "tools", "policies", "model", "credentials", "other")
_check_action: Final = msgspec.json.Decoder(Action).decode
_check_snapshot: Final = msgspec.json.Decoder(StateSnapshot).decode


class Unusable(ValueError):
    """The record cannot be sent; the message says which field is wrong."""


def action(fields: Mapping[str, Any], extra: Mapping[str, str]) -> bytes:
    """One action as JSON. `extra`, and names that no Action has, go into its attributes.

    Raises Unusable.
    """
    known = {name: value for name, value in fields.items() if name in _ACTION_FIELDS}
    more = {name: value for name, value in fields.items() if name not in _ACTION_FIELDS}
    more |= extra
    given = known.pop("attributes", None)
    if isinstance(given, Mapping):
        more |= {str(name): value for name, value in given.items()}
    cut: list[str] = []
    row = {name: _value(name, value, cut) for name, value in known.items() if value is not None}
    if more or cut:
        texts = {name: _text(name, value, cut) for name, value in more.items()}
        row["attributes"] = texts | ({CUT: ",".join(sorted(cut))} if cut else {})
    if "kind" not in row:
        raise Unusable("an action has a kind")
    return _encoded(row, _check_action)


def snapshot(fields: Mapping[str, Any]) -> bytes:
    """One state snapshot as JSON. Names that no snapshot has go into `other`. Raises Unusable."""
    known = {name: value for name, value in fields.items() if name in _SNAPSHOT_FIELDS}
    more = {name: value for name, value in fields.items() if name not in _SNAPSHOT_FIELDS}
    given = known.get("other")
    if more and isinstance(given, Mapping | None):
        known["other"] = {**more, **(given or {})}
    cut: list[str] = []
    row: dict[str, Any] = {}
    for name, value in known.items():
        if value is None:
            continue
        if name in _TEXT_MAPS and isinstance(value, Mapping):
            row[name] = {str(key): _text(name, inner, cut) for key, inner in value.items()}
        else:
            row[name] = _value(name, value, cut)
    return _encoded(row, _check_snapshot)


def ack(fields: Mapping[str, Any]) -> bytes:
    """One answer to a directive as JSON. Raises Unusable."""
    row = {name: _value(name, value, []) for name, value in fields.items() if value is not None}
    return _encoded(row, _check_ack)


def _encoded(row: dict[str, Any], check: Any) -> bytes:
    payload = _json(row)
    if len(payload) > MAX_RECORD_BYTES:
        raise Unusable(f"a record may have {MAX_RECORD_BYTES} bytes, this one has {len(payload)}")
    try:
        check(payload)
    except msgspec.MsgspecError as error:
        # A wrong name is quoted, and may be anything: only its place is told.
        said, _, place = str(error).partition(" - at ")
        reason = "Invalid enum value" if said.startswith("Invalid enum value") else said
        raise Unusable(f"{reason} - at {place}" if place else reason) from error
    return payload


def _value(name: str, value: Any, cut: list[str]) -> Any:
    if name == "error_message":
        return _text(name, _plain_text(value), cut)
    if name in _JSON_TEXT or isinstance(value, str):
        return _text(name, value, cut)
    if name in _TIMES:
        return _time(name, value)
    return value


def _text(name: str, value: Any, cut: list[str]) -> str:
    """Text as it is, anything else as JSON text; cut at its limit, which `cut` then names."""
    text = value if isinstance(value, str) else _json(value).decode()
    if len(text) > MAX_TEXT_CHARS:
        cut.append(name)
        return text[:MAX_TEXT_CHARS]
    return text


def _time(name: str, value: Any) -> datetime:
    """A moment in UTC: a datetime (without a zone it is local time) or seconds since the epoch."""
    try:
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise Unusable(f"{name}: expected a datetime or seconds since the epoch") from error


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except Exception:  # noqa: BLE001 - objects of the agent may raise anything when asked for their text
        return msgspec.json.encode(_Plain().of(value, MAX_DEPTH))


class _Plain:
    """A value with nothing in it that JSON cannot say; the slow way, for what the fast one refused.

    Bounded in depth and parts: what refers to itself comes to an end.
    """

    def __init__(self) -> None:
        self._parts = 0

    def of(self, value: Any, depth: int) -> Any:
        self._parts += 1
        if depth == 0 or self._parts > MAX_PARTS:
            return "…"
        if value is None or isinstance(value, (bool, float, datetime)):
            return value
        if isinstance(value, int):
            return value if -(2**63) <= value < 2**64 else str(value)
        if isinstance(value, Mapping):
            return {_plain_text(key): self.of(inner, depth - 1) for key, inner in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.of(inner, depth - 1) for inner in value]
        return _plain_text(value)


def _plain_text(value: Any) -> str:
    """Text of anything, without the halves of characters that UTF-8 cannot say."""
    try:
        return str(value).encode("utf-8", "replace").decode()
    except Exception:  # noqa: BLE001 - the same objects, asked again
        return f"<{type(value).__name__}>"
