"""Any JSON objects as a frame: nested keys flattened with dots, a column a key.

Our own columns (event_id, event_time …) carry the prefix of the RAW field map, so that no key of
a foreign log can be taken for one of them. The event id is the line's number: it leads back to
the line.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl

from tachograph.detectors.fields import RAW
from tachograph.schemas.batch import TIME

Json = dict[str, Any]
MAX_DEPTH = 32
MAX_KEYS = 2_000
# Fields that logs usually keep their time in, asked in this order.
TIME_FIELDS = (
    "@timestamp",
    "timestamp",
    "event_time",
    "UtcTime",
    "TimeCreated",
    "time",
    "ts",
    "_time",
)
# An epoch number this large counts in units of which a second has so many.
_EPOCH_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))


def event_id(line: int) -> str:
    """The id of the event on a line."""
    return f"{line:032x}"


def line_of(identifier: str) -> int:
    """The line of an event id."""
    return int(identifier, 16)


def flat(value: Json, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every leaf; of a list of objects each name holds the list of its
    values.
    """
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, dict) and inner and depth < MAX_DEPTH:
            yield from flat(inner, f"{name}.", depth + 1)
        elif isinstance(inner, list):
            yield from _list(name, inner, depth)
        elif inner is not None:
            yield name, inner


def _list(name: str, items: list[Any], depth: int) -> Iterator[tuple[str, Any]]:
    plain = [item for item in items if item is not None and not isinstance(item, dict)]
    if plain or not items:
        yield name, [_text(item) for item in plain]
    grouped: dict[str, list[str]] = {}
    for item in items:
        if isinstance(item, dict) and depth < MAX_DEPTH:
            for inner, value in flat(item, f"{name}.", depth + 1):
                values = value if isinstance(value, list) else [_text(value)]
                grouped.setdefault(inner, []).extend(values)
    yield from grouped.items()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _series(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {str}:
        return pl.Series(name, values, pl.String)
    if kinds == {bool}:
        return pl.Series(name, values, pl.Boolean)
    if kinds == {int} and all(v is None or -(2**63) <= v < 2**63 for v in values):
        return pl.Series(name, values, pl.Int64)
    if kinds <= {int, float}:
        return pl.Series(name, [None if v is None else float(v) for v in values], pl.Float64)
    if list in kinds:
        lists = [v if v is None or isinstance(v, list) else [_text(v)] for v in values]
        return pl.Series(name, lists, pl.List(pl.String))
    return pl.Series(name, [None if v is None else _text(v) for v in values], pl.String)


def parse_time(value: Any) -> datetime | None:
    """A time as logs write it: RFC 3339 and its relatives (UTC without an offset), or an epoch
    number.
    """
    if isinstance(value, str):
        text = value.strip()
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            return parse_time(float(text)) if text.replace(".", "", 1).isdigit() else None
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        per_second = next((unit for floor, unit in _EPOCH_UNITS if value >= floor), 1.0)
        try:
            return datetime.fromtimestamp(value / per_second, UTC)
        except (OverflowError, OSError, ValueError):
            return None
    return None


class RawFrames:
    """Turns lines of JSON objects into frames; counts what is no JSON object."""

    def __init__(self, time_field: str | None, tenant: str) -> None:
        self._time_fields = (time_field,) if time_field else TIME_FIELDS
        self._tenant = tenant
        self.broken: list[int] = []

    def frame(self, lines: Sequence[bytes], first: int) -> pl.DataFrame:
        """The frame of the lines that are JSON objects, in order."""
        numbers, rows = self._rows(lines, first)
        names: dict[str, None] = {}
        for row in rows:
            names.update(dict.fromkeys(row))
        kept = list(names)[:MAX_KEYS]
        columns = [_series(name, [row.get(name) for row in rows]) for name in kept]
        return pl.DataFrame([*columns, *self._own(numbers, rows)])

    def _rows(self, lines: Sequence[bytes], first: int) -> tuple[list[int], list[Json]]:
        numbers, rows = [], []
        for number, line in enumerate(lines, first):
            if not line.strip():
                continue
            try:
                value = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                value = None
            if isinstance(value, dict):
                numbers.append(number)
                rows.append(dict(flat(value)))
            else:
                self.broken.append(number)
        return numbers, rows

    def _own(self, numbers: list[int], rows: list[Json]) -> list[pl.Series]:
        times = [self._time(row) for row in rows]
        ids = [event_id(number) for number in numbers]
        return [
            pl.Series(RAW.own("event_id"), ids, pl.String),
            pl.Series(RAW.own("event_time"), times, TIME),
            pl.Series(RAW.own("observed_time"), times, TIME),
            pl.Series(RAW.own("tenant"), [self._tenant] * len(ids), pl.String),
            pl.Series(RAW.own("partition_key"), ["file"] * len(ids), pl.String),
        ]

    def _time(self, row: Json) -> datetime:
        found = (parse_time(row[name]) for name in self._time_fields if name in row)
        return next((at for at in found if at is not None), datetime.fromtimestamp(0, UTC))
