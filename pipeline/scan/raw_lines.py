"""Lines of any JSON objects as a frame. The event id is the line number: it leads back to it."""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tachograph.detectors.collector import resting
from tachograph.pipeline.scan.inputs import ends_of
from tachograph.pipeline.scan.raw_decode import Decoder
from tachograph.pipeline.scan.raw_frames import RawFrames

# Fields that logs usually keep their time in, asked in this order; dots lead into nested objects.
TIME_FIELDS = (
    "@timestamp", "timestamp", "event_time", "UtcTime", "SystemTime", "TimeCreated", "time", "ts",
    "_time",
)  # fmt: skip


# The upper half of an id of ours: there are fewer lines.
_HIGH = "0" * 16
# The last digits of an id.
_LOW = [f"{low:03x}" for low in range(1 << 12)]
# Lines decoded at a time: what is made of them is used while it is still in the cache.
BLOCK_LINES = 2_048
_OPEN, _CLOSE = b"{}"


def event_id(line: int) -> str:
    """The id of the event on a line."""
    return f"{line:032x}"


def event_ids(lines: Sequence[int]) -> list[str]:
    """The ids of the events on some lines."""
    if isinstance(lines, range) and lines.step == 1:
        return _ids_of(lines)
    packed = np.array(lines, ">u8").tobytes().hex()
    return [f"{_HIGH}{packed[at : at + 16]}" for at in range(0, len(packed), 16)]


def _ids_of(lines: range) -> list[str]:
    """Lines one after the other share all of their ids but the last digits."""
    found: list[str] = []
    at = lines.start
    while at < lines.stop:
        high, low = divmod(at, len(_LOW))
        shared, some = f"{high:029x}", _LOW[low : low + lines.stop - at]
        found += [shared + last for last in some]
        at += len(some)
    return found


def line_of(identifier: str) -> int:
    """The line of an event id."""
    return int(identifier, 16)


def lines_of(identifiers: pl.Series) -> pl.Series:
    """The lines of event ids."""
    return identifiers.str.to_integer(base=16)


class RawLines:
    """Makes frames of lines; `broken` names the lines of the last call that are no JSON object."""

    def __init__(self, time_field: str | None, asked: Collection[str] | None = None) -> None:
        """`asked`: names of the columns to make; None: all."""
        self._time_fields = (time_field,) if time_field else TIME_FIELDS
        self._frames = RawFrames(None if asked is None else {*asked, *self._time_fields})
        self._decoder = Decoder(self._frames.read)
        self.broken: list[int] = []

    def frame(
        self, blocks: Sequence[bytes], first: int, ends: Sequence[Sequence[int]] | None = None
    ) -> pl.DataFrame:
        """A row for each line that holds a JSON object, in order. `blocks`: lines, without the end
        of the last; `first`: the number of the first line; `ends`: of each block where its lines
        end, if that is known.
        """
        self.broken = []
        ids: list[str] = []
        columns = self._frames.collecting()
        with resting():
            known = ends or map(ends_of, blocks)
            for part in chain.from_iterable(map(_parts, blocks, known)):
                names = self._decoder.ready(part.text)
                numbers, objects = self._objects(part, first)
                first += part.lines
                if names is None:
                    columns.take(objects)
                else:
                    columns.take_asked(names, objects)
                ids += event_ids(numbers)
            return self._frames.collected(columns, ids, self._time_fields)

    def _objects(self, part: "_Part", first: int) -> tuple[Sequence[int], list[Any]]:
        """The objects on some lines, with the numbers of their lines."""
        if part.whole:
            objects = self._decoder.objects(part.text)
            # No object spans these lines: as many objects as lines are one on each.
            if objects is not None and len(objects) == part.lines:
                return range(first, first + part.lines), objects
        found = {}
        for number, line in enumerate(bytes(part.text).split(b"\n"), first):
            if line.strip():
                item = self._decoder.object(line)
                if item is None:
                    self.broken.append(number)
                else:
                    found[number] = item
        return list(found), list(found.values())


class _Part(NamedTuple):
    """Some lines of a block."""

    text: memoryview
    lines: int
    # Each begins and ends as an object does.
    whole: bool


def _parts(block: bytes, ends: Sequence[int]) -> Iterator[_Part]:
    """The lines of a block, some at a time. `ends`: where they end, the last excepted."""
    text, view = np.frombuffer(block, np.uint8), memoryview(block)
    found = np.array(ends, np.int64)
    closed = text[found - 1] == _CLOSE
    opened = text[np.minimum(found + 1, len(text) - 1)] == _OPEN
    odd = np.flatnonzero(~(closed & opened))
    for start in range(0, len(found) + 1, BLOCK_LINES):
        stop = min(start + BLOCK_LINES, len(found) + 1)
        begin = int(found[start - 1]) + 1 if start else 0
        end = int(found[stop - 1]) if stop <= len(found) else len(block)
        inner = np.searchsorted(odd, [start, stop - 1])
        whole = inner[0] == inner[1] and end > begin
        whole = whole and text[begin] == _OPEN and text[end - 1] == _CLOSE
        yield _Part(view[begin:end], stop - start, bool(whole))
