"""Lines of any JSON objects as a frame. The event id is the line number: it leads back to it."""

from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl

from tachograph.detectors.matching.times import micros_of
from tachograph.pipeline.scan.raw_frames import RawFrames

# Fields that logs usually keep their time in, asked in this order; dots lead into nested objects.
TIME_FIELDS = (
    "@timestamp", "timestamp", "event_time", "UtcTime", "SystemTime", "TimeCreated", "time", "ts",
    "_time",
)  # fmt: skip


def event_id(line: int) -> str:
    """The id of the event on a line."""
    return f"{line:032x}"


def line_of(identifier: str) -> int:
    """The line of an event id."""
    return int(identifier, 16)


class RawLines:
    """Makes frames of lines; `broken` names the lines of the last call that are no JSON object."""

    def __init__(self, time_field: str | None) -> None:
        self._time_fields = (time_field,) if time_field else TIME_FIELDS
        self._frames = RawFrames()
        self.broken: list[int] = []

    def frame(self, lines: Sequence[bytes], first: int) -> pl.DataFrame:
        """A row for each line that holds a JSON object, in order."""
        self.broken = []
        ids, objects, times_us = [], [], []
        for number, line in enumerate(lines, first):
            if not line.strip():
                continue
            item = _object(line)
            if item is None:
                self.broken.append(number)
                continue
            ids.append(event_id(number))
            objects.append(item)
            times_us.append(self._time(item))
        return self._frames.frame(objects, ids, times_us)

    def _time(self, item: dict[str, Any]) -> int:
        """Its time in microseconds; 0 where it has none, so that windows see it at one moment."""
        for name in self._time_fields:
            at = micros_of(_member(item, name))
            if at is not None:
                return at
        return 0


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _member(item: dict[str, Any], name: str) -> Any:
    if name in item:
        return item[name]
    head, _, rest = name.partition(".")
    inner = item.get(head)
    return _member(inner, rest) if rest and isinstance(inner, dict) else None
