"""Lines of native actions, OTLP exports or records of other systems as batches, by the core of
`normalize`.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from tachograph.pipeline import secrets
from tachograph.pipeline.normalize import limits, personal
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.formats.registry import Formats
from tachograph.pipeline.normalize.raw import RawRecord
from tachograph.pipeline.normalize.sources import Sources
from tachograph.pipeline.scan.feed import Fault, Fed
from tachograph.pipeline.scan.inputs import STDIN, Chunk, Format

_TOPICS = {"actions": "agent.raw", "otlp": "otlp_spans"}
# Lines of other systems that are read together, since one may complete another.
TOGETHER_LINES = 500
_ROOM_BYTES = limits.RECORD_BYTES // 2


class ActionFeeder:
    """Native actions or OTLP exports, a record a line, and records of other systems, some lines
    together.
    """

    def __init__(
        self, kind: Format, home: Path, tenant: str, formats: Formats, path: Path = STDIN
    ) -> None:
        """`path`: of the file; what has no time of its own is of when it was written."""
        self._kind = kind
        self._formats = formats
        written_s = time.time() if path == STDIN else path.stat().st_mtime
        key = secrets.operator_key(home)
        self._core = Normalizer(
            key,
            tenant=tenant,
            redactors=personal.redactors(key),
            observed_from_event=True,
            undated_us=int(written_s * 1_000_000),
            sources=Sources(formats=formats),
        )

    def feed(self, chunk: Chunk) -> Fed:
        """See Feeder."""
        records = self._together(chunk) if self._kind in self._formats else self._each(chunk)
        found = self._core.normalize(list(records))
        faults = [Fault(one.offset, one.reason, one.detail) for one in found.dead]
        return Fed(found.frame, found.links, faults)

    def _each(self, chunk: Chunk) -> Iterator[RawRecord]:
        for number, line in enumerate(chunk.lines, chunk.first):
            if line.strip():
                yield RawRecord(self._topic(line), 0, number, line)

    def _together(self, chunk: Chunk) -> Iterator[RawRecord]:
        held: list[bytes] = []
        size = first = 0
        for number, line in enumerate(chunk.lines, chunk.first):
            if held and (len(held) == TOGETHER_LINES or size + len(line) > _ROOM_BYTES):
                yield RawRecord("agent.raw", 0, first, b"\n".join(held), format=self._kind)
                held, size = [], 0
            if line.strip():
                first = first if held else number
                held.append(line)
                size += len(line)
        if held:
            yield RawRecord("agent.raw", 0, first, b"\n".join(held), format=self._kind)

    def _topic(self, line: bytes) -> str:
        # One file may hold traces and logs; a request says which it is by its first key.
        if self._kind == "otlp" and b'"resourceLogs"' in line[:64]:
            return "otlp_logs"
        return _TOPICS[self._kind]
