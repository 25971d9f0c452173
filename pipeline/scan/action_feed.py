"""Lines of native actions or OTLP exports as batches, by the core of `normalize`."""

from pathlib import Path

from tachograph.pipeline import secrets
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.raw import RawRecord
from tachograph.pipeline.scan.feed import Fed
from tachograph.pipeline.scan.inputs import Chunk, Format

_TOPICS = {"actions": "agent.raw", "otlp": "otlp_spans"}


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
