"""Lines of a file as batches: the second feeder of the one engine, beside the stream.

Actions and OTLP go through the same `normalize` core as in the stream; raw objects become frames
as they are.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import polars as pl

from tachograph.pipeline import secrets
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.raw import RawRecord
from tachograph.pipeline.scan.inputs import Chunk, Format
from tachograph.pipeline.scan.raw_lines import RawLines
from tachograph.schemas.records import SessionLink

_TOPICS = {"actions": "agent.raw", "otlp": "otlp_spans"}


class Fed(msgspec.Struct):
    """A batch for the engine, and how many lines could not be used, by reason."""

    frame: pl.DataFrame
    links: list[SessionLink]
    faults: dict[str, int]


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
        frame = self._lines.frame(chunk.lines, chunk.first)
        broken = len(self._lines.broken)  # an oversized line comes empty and is none of these
        faults = {"no JSON object": broken} if broken else {}
        if chunk.oversized:
            faults["line too long"] = len(chunk.oversized)
        return Fed(frame, [], faults)


class ActionFeeder:
    """Native actions or OTLP exports, a record a line, through the core of `normalize`."""

    def __init__(self, kind: Format, home: Path, tenant: str) -> None:
        self._kind = kind
        self._core = Normalizer(secrets.operator_key(home), tenant=tenant, observed_from_event=True)

    def feed(self, chunk: Chunk) -> Fed:
        """See Feeder."""
        records = [
            RawRecord(topic=self._topic(line), partition=0, offset=number, value=line)
            for number, line in enumerate(chunk.lines, chunk.first)
            if line.strip()
        ]
        found = self._core.normalize(records)
        faults: dict[str, int] = {}
        for letter in found.dead:
            faults[letter.reason] = faults.get(letter.reason, 0) + 1
        return Fed(found.frame, found.links, faults)

    def _topic(self, line: bytes) -> str:
        # One file may hold traces and logs; a request says which it is by its first key.
        if self._kind == "otlp" and b'"resourceLogs"' in line[:64]:
            return "otlp_logs"
        return _TOPICS[self._kind]


def feeder(
    kind: Format,
    home: Path,
    tenant: str,
    time_field: str | None,
    asked: Collection[str] | None = None,
) -> Feeder:
    """The feeder of a kind of lines. `asked`: names of the fields that rules read in raw objects;
    None: all.
    """
    return RawFeeder(time_field, asked) if kind == "raw" else ActionFeeder(kind, home, tenant)


def batches(chunks: Iterator[Chunk], made_by: Feeder) -> Iterator[Fed]:
    """All chunks as batches."""
    for chunk in chunks:
        yield made_by.feed(chunk)
