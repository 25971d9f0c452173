"""Lines of any JSON objects as a frame. The event id is the line number: it leads back to it."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import polars as pl

from tachograph.detectors.collector import resting
from tachograph.pipeline.scan.raw_decode import Decoder
from tachograph.pipeline.scan.raw_frames import RawFrames

# Fields that logs usually keep their time in, asked in this order; dots lead into nested objects.
TIME_FIELDS = (
    "@timestamp", "timestamp", "event_time", "UtcTime", "SystemTime", "TimeCreated", "time", "ts",
    "_time",
)  # fmt: skip


# The upper half of an id of ours: there are fewer lines.
_HIGH = "0" * 16
# Lines decoded at a time: what is made of them is used while it is still in the cache.
BLOCK_LINES = 512


def event_id(line: int) -> str:
    """The id of the event on a line."""
    return f"{line:032x}"


def event_ids(lines: Sequence[int]) -> list[str]:
    """The ids of the events on some lines."""
    packed = np.array(lines, ">u8").tobytes().hex()
    return [f"{_HIGH}{packed[at : at + 16]}" for at in range(0, len(packed), 16)]


def line_of(identifier: str) -> int:
    """The line of an event id."""
    return int(identifier, 16)


class RawLines:
    """Makes frames of lines; `broken` names the lines of the last call that are no JSON object."""

    def __init__(self, time_field: str | None, asked: Collection[str] | None = None) -> None:
        """`asked`: names of the columns to make; None: all."""
        self._time_fields = (time_field,) if time_field else TIME_FIELDS
        self._frames = RawFrames(None if asked is None else {*asked, *self._time_fields})
        self._decoder = Decoder(self._frames.read)
        self.broken: list[int] = []

    def frame(self, lines: Sequence[bytes], first: int) -> pl.DataFrame:
        """A row for each line that holds a JSON object, in order."""
        self.broken = []
        ids: list[str] = []
        columns = self._frames.collecting()
        with resting():
            for start in range(0, len(lines), BLOCK_LINES):
                block = lines[start : start + BLOCK_LINES]
                numbers, objects = self._objects(block, first + start)
                if self._decoder.names is None:
                    columns.take(objects)
                else:
                    columns.take_asked(self._decoder.names, objects)
                ids += event_ids(numbers)
            return self._frames.collected(columns, ids, self._time_fields)

    def _objects(self, lines: Sequence[bytes], first: int) -> tuple[Sequence[int], list[Any]]:
        """The objects on some lines, with the numbers of their lines."""
        if all(line[:1] == b"{" and line[-1:] == b"}" for line in lines):
            objects = self._decoder.objects(lines)
            if objects is not None:
                return range(first, first + len(lines)), objects
        found = {}
        for number, line in enumerate(lines, first):
            if line.strip():
                item = self._decoder.object(line)
                if item is None:
                    self.broken.append(number)
                else:
                    found[number] = item
        return list(found), list(found.values())
