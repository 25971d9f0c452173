"""Reading JSON of other systems: a value by its path, times of all units, outcomes."""

import functools
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import polars as pl

from tachograph.pipeline.normalize import vocabulary
from tachograph.pipeline.normalize.genai import fields, put
from tachograph.pipeline.normalize.messages import parsed, words
from tachograph.pipeline.normalize.raw import Row
from tachograph.schemas.batch import COLUMNS, TIME

Object = dict[str, Any]

UNITS_US: Final = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0, "ns": 0.001}
_encoded = msgspec.json.Encoder().encode
TIMES: Final = frozenset(name for name, dtype in COLUMNS.items() if dtype == TIME)
MAX_PATH: Final = 12
MAX_DURATION_CHARS: Final = 64
MAX_KEPT: Final = 64
MAX_KEPT_CHARS: Final = 2_000
_FIRST_FAILURE: Final = 400
_DENIED: Final = (401, 403)


# Names the service whose records these are, where nothing in them does.
SERVICE_HEADER: Final = "tacho-service"


class Context(msgspec.Struct, frozen=True):
    """What is known of a record beside its bytes."""

    # When the first hop of ours had it; None: nobody says.
    observed_us: int | None = None
    headers: Mapping[str, bytes] = {}

    @property
    def service(self) -> str | None:
        """The service whose records these are, as the endpoint or the producer names it."""
        named = self.headers.get(SERVICE_HEADER)
        return named.decode("utf-8", "replace") or None if named else None


def at(value: Any, path: str) -> Any:
    """The value at a dotted path, None where there is none. A key may have dots of its own; a
    number is a place in a list, and JSON text is what it says.
    """
    if value.__class__ is dict:
        found = value.get(path)
        if found is not None or "." not in path:
            return found
        heads, tail = _heads(path)
        if tail:
            inner = value.get(heads[0])
            if inner.__class__ is not list and inner.__class__ is not str:
                return inner.get(tail) if inner.__class__ is dict else None
        elif not any(map(value.__contains__, heads)):
            return None
    for names in _ways(path):
        found = value
        for name in names:
            if found.__class__ is dict:
                found = found.get(name)
            elif found.__class__ is list or (found.__class__ is str and found[:1] in _JSON):
                return _searched(value, path)
            else:
                found = None
                break
        if found is not None:
            return found
    return _searched(value, path) if path.count(".") >= MAX_DOTS else None


_JSON: Final = ("{", "[")
# Paths with more are searched for, a step at a time.
MAX_DOTS: Final = 4


@functools.lru_cache(maxsize=4_096)
def _heads(path: str) -> tuple[tuple[str, ...], str]:
    """Keys with which a path with dots may begin; and the other, where it is just two."""
    names = path.split(".")
    heads = tuple(".".join(names[:end]) for end in range(1, len(names)))
    return heads, names[1] if len(names) == 2 else ""


@functools.lru_cache(maxsize=4_096)
def _ways(path: str) -> tuple[tuple[str, ...], ...]:
    """The keys that a path may mean: each dot divides two, or is part of one. All divided first."""
    names = path.split(".")
    if len(names) > MAX_DOTS:
        return (tuple(names),)
    ways: list[tuple[str, ...]] = [(names[0],)]
    for name in names[1:]:
        ways = [(*way, name) for way in ways] + [(*way[:-1], f"{way[-1]}.{name}") for way in ways]
    return tuple(ways)


def _searched(value: Any, path: str, depth: int = 0) -> Any:
    """The same, whatever parts of the path are one key."""
    if not path or depth > MAX_PATH:
        return value if not path else None
    value = parsed(value)
    if value.__class__ is list:
        head, _, rest = path.partition(".")
        number = int(head) if head.isascii() and head.isdigit() and len(head) < MAX_PATH else -1
        return _searched(value[number], rest, depth + 1) if 0 <= number < len(value) else None
    if value.__class__ is not dict:
        return None
    if path in value:
        return value[path]
    dot = path.find(".")
    while dot > 0:
        if path[:dot] in value:
            found = _searched(value[path[:dot]], path[dot + 1 :], depth + 1)
            if found is not None:
                return found
        dot = path.find(".", dot + 1)
    return None


def first(value: Any, *paths: str) -> Any:
    """The first of these that is there and says something."""
    for path in paths:
        found = at(value, path)
        if found is not None and found not in NOTHING:
            return found
    return None


# What systems write where they have nothing to say.
NOTHING: Final = ("", "-")


def objects(value: Any) -> list[Object]:
    """The objects in a list, or the one that stands alone."""
    if value.__class__ is dict:
        return [value]
    return [one for one in value if one.__class__ is dict] if value.__class__ is list else []


def within(value: Any) -> Any:
    """The JSON inside a text; anything else as it is."""
    return parsed(value)


def said_in(content: Any) -> str | None:
    """The words of a result's content parts, and of the resources inside them. What is no text is
    named by what it is, so that nobody takes the result for empty.
    """
    if content.__class__ is list:
        content = [_part(one) for one in content]
    return words([{"content": content}])


def _part(part: Any) -> Any:
    if part.__class__ is not dict:
        return part
    inner = part.get("resource")
    held = inner if inner.__class__ is dict else part
    if part.get("type") == "resource_link":
        return str(held.get("uri") or held.get("name") or "")
    data = held.get("data", held.get("blob"))
    if data.__class__ is str and "text" not in held:
        of = held.get("mimeType") or held.get("mime_type") or part.get("type") or "data"
        where = f" {held['uri']}" if held.get("uri") else ""
        return f"[{of}{where}, {len(data)} characters of base64]"
    return held


def time_us(value: Any, unit: str | None = None) -> int | None:
    """Microseconds since 1970 of a number in that unit, or of RFC 3339 text; None where it is
    neither. A number without a unit is taken for seconds, ms, µs or ns by its size.
    """
    if value.__class__ is str:
        if value.isascii() and value.replace(".", "", 1).isdigit():
            return time_us(float(value), unit)
        return _iso_us(value)
    if value.__class__ not in (int, float) or not 0 < value < 1e20:
        return None
    return int(value * UNITS_US[unit or _unit(value)])


def _unit(value: float) -> str:
    for unit, below in (("s", 1e11), ("ms", 1e14), ("us", 1e17)):
        if value < below:
            return unit
    return "ns"


def ctime_us(text: str) -> int | None:
    """Microseconds of a time as C writes it, `Sun Nov 22 10:00:00 2026`, taken for UTC."""
    try:
        found = datetime.strptime(text, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
        return int(found.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        return None


def _iso_us(text: str) -> int | None:
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            return None
        return int(found.timestamp() * 1_000_000 + 0.5)
    except (ValueError, OverflowError):
        return None


_DURATION: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h)")
_UNITS_MS: Final = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}


def duration_ms(value: Any) -> Any:
    """Milliseconds of a duration as text with its unit, as `5870ms` or `1m2.5s`; anything else as
    it is.
    """
    if value.__class__ is not str or not _DURATION.match(value):
        return value
    parts = _DURATION.findall(value[:MAX_DURATION_CHARS])
    if sum(len(number) + len(unit) for number, unit in parts) != len(value):
        return value
    return sum(float(number) * _UNITS_MS[unit] for number, unit in parts)


def host_of(address: str) -> str:
    """The host of `host:port` or `[v6]:port`; an address without a port as it is."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, colon, port = address.rpartition(":")
    return host if colon and port.isdecimal() and ":" not in host else address


def trace_of(traceparent: Any) -> tuple[str, str] | None:
    """(trace id, span id) of a W3C traceparent."""
    parts = traceparent.split("-") if traceparent.__class__ is str else []
    if len(parts) >= 4 and hexadecimal(parts[1], 32) and hexadecimal(parts[2], 16):
        return parts[1].lower(), parts[2].lower()
    return None


def hexadecimal(text: Any, size: int) -> bool:
    """Whether a text is so many hex digits, as ids of traces and spans are."""
    if text.__class__ is not str or len(text) != size:
        return False
    return all(c in "0123456789abcdefABCDEF" for c in text)


def outcome_of_status(status: Any) -> str | None:
    """Outcome by an HTTP status."""
    code = status_code(status)
    if code is None:
        return None
    if code in _DENIED:
        return "denied"
    # 0: nothing answered.
    return "failed" if code >= _FIRST_FAILURE or code == 0 else "succeeded"


def status_code(status: Any) -> int | None:
    """An HTTP status as a number; of several tries, `502, 200`, the last."""
    if status.__class__ is str:
        status = status.rpartition(",")[2].strip()
    try:
        return int(status)
    except (TypeError, ValueError, OverflowError):
        return None


def filled(row: Row, **values: Any) -> Row:
    """Set fields that fit; what does not goes into attributes. In place."""
    extra: Row = {}
    for name, value in values.items():
        if value is not None and not set_field(row, name, value):
            extra[name] = value
    if extra:
        row["attributes"] = {**extra, **row.get("attributes", {})}
    return row


def set_field(row: Row, name: str, value: Any) -> bool:
    """Set one field; False when the value does not fit."""
    if value.__class__ is str and name in _OF_TEXT:
        if value:
            row[name] = value
        return True
    if name in TIMES:
        if value.__class__ is int:
            row[name] = value
        return value is None or value.__class__ is int
    return put(row, name, value)


_OF_TEXT: Final = frozenset(name for name, dtype in COLUMNS.items() if dtype == pl.String)


def spoken(item: Mapping[str, Any]) -> tuple[Row, Row]:
    """Keys that are names of OpenTelemetry's conventions, as fields; and all others."""
    row, extra = fields({name: v for name, v in item.items() if v is not None and v != "-"})
    kind = kind_of(row.get("operation"), row.get("mcp_method"))
    if kind:
        row["kind"] = kind
    return row, extra


def kind_of(operation: Any, method: Any = None) -> str | None:
    """Kind of action by a GenAI operation or an MCP method."""
    known = vocabulary.OPERATIONS.get(operation) if operation.__class__ is str else None
    if known is None and method.__class__ is str:
        return vocabulary.METHODS.get(method)
    return known


def rest(item: Mapping[str, Any], used: frozenset[str] = frozenset()) -> dict[str, str]:
    """What no field holds, by its path, within limits: kept as attributes. `used`: paths whose
    values, and all beneath them, are held already.
    """
    found: dict[str, str] = {}
    _gather(item, "", 0, used, found)
    return found


def _gather(
    value: Mapping[str, Any], path: str, depth: int, used: frozenset[str], found: dict[str, str]
) -> None:
    for key in _unused(tuple(value), path, used):
        inner = value[key]
        if inner is None or inner == "":
            continue
        kind = inner.__class__
        place = f"{path}.{key}" if path else key
        if kind is dict:
            if depth < MAX_PATH:
                _gather(inner, place, depth + 1, used, found)
            continue
        if len(found) >= MAX_KEPT:
            return
        if kind is list:
            inner = inner[:MAX_KEPT]
        text = inner if kind is str else _encoded(inner).decode()
        found[place] = text[:MAX_KEPT_CHARS]


def _unused(keys: tuple[str, ...], path: str, used: frozenset[str]) -> Sequence[str]:
    """Keys of an object at that path whose values are not held already."""
    known = _known_unused.get((keys, path, used))
    if known is not None:
        return known
    left = [key for key in keys if (f"{path}.{key}" if path else key) not in used]
    if len(_known_unused) < KNOWN_OBJECTS and sum(map(len, keys)) <= KNOWN_OBJECT_CHARS:
        _known_unused[keys, path, used] = left
    return left


# Of the keys of objects that were seen, as sources send the same ones again and again.
_known_unused: dict[tuple[tuple[str, ...], str, frozenset[str]], list[str]] = {}
KNOWN_OBJECTS: Final = 2_000
KNOWN_OBJECT_CHARS: Final = 4_000
