"""Lines of a file as batches: the second feeder of the one engine, beside the stream.

Actions and OTLP go through the same `normalize` core as in the stream; raw objects become frames
as they are.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import polars as pl

from tachograph.pipeline.scan.inputs import STDIN, Chunk, Format
from tachograph.pipeline.scan.raw_lines import RawLines
from tachograph.schemas.records import SessionLink

if TYPE_CHECKING:
    from tachograph.pipeline.normalize.formats.registry import Formats


class Fault(msgspec.Struct, frozen=True):
    """A line that could not be used: its number from 0, why in a word, and for a person."""

    line: int
    reason: str
    detail: str = ""


class Fed(msgspec.Struct):
    """A batch for the engine, and the lines that could not be used."""

    frame: pl.DataFrame
    links: list[SessionLink]
    faults: list[Fault]


class Feeder(Protocol):
    """Makes batches of chunks, in order."""

    def feed(self, chunk: Chunk) -> Fed:
        """The batch of a chunk; may be empty."""
        ...


class RawFeeder:
    """Any JSON objects, a row a line."""

    def __init__(self, time_field: str | None, asked: Collection[str] | None = None) -> None:
        """`asked`: names of the fields that are read; None: all."""
        self._lines = RawLines(time_field, asked)

    def feed(self, chunk: Chunk) -> Fed:
        """See Feeder."""
        frame = self._lines.frame(chunk.blocks, chunk.first, chunk.ends or None)
        # An oversized line comes empty and is none of the broken ones.
        faults = [Fault(line, "no JSON object") for line in self._lines.broken]
        faults += [Fault(line, "line too long") for line in chunk.oversized]
        return Fed(frame, [], faults)


def feeder(
    kind: Format,
    home: Path,
    tenant: str,
    time_field: str | None,
    asked: Collection[str] | None = None,
    *,
    formats: "Formats | None" = None,
    path: Path = STDIN,
) -> Feeder:
    """The feeder of a kind of lines. `asked`: names of the fields that rules read in raw objects;
    None: all. `formats`: of other systems; None: those that ship.
    """
    if kind == "raw":
        return RawFeeder(time_field, asked)
    from tachograph.pipeline.normalize.formats.registry import Formats
    from tachograph.pipeline.scan.action_feed import ActionFeeder

    return ActionFeeder(kind, home, tenant, formats or Formats(), path)


def batches(chunks: Iterator[Chunk], made_by: Feeder) -> Iterator[Fed]:
    """All chunks as batches."""
    for chunk in chunks:
        yield made_by.feed(chunk)
