"""What was read and is not stored yet: rows and the offsets they stand for travel together."""

import hashlib
from collections import Counter
from collections.abc import Iterable

import msgspec
import polars as pl

from tachograph.pipeline import metrics
from tachograph.pipeline.clock import Clock, to_datetime
from tachograph.pipeline.errors import Refused
from tachograph.pipeline.kafka.reader import Place
from tachograph.pipeline.store import frames
from tachograph.pipeline.store.links import TraceKey
from tachograph.pipeline.store.records import (
    ACTIONS_TOPIC,
    LETTERS_TOPIC,
    Origin,
    Redact,
    Row,
    control_record,
    rows_of,
    unreadable_letter,
)
from tachograph.schemas.records import DeadLetter, SessionLink

STAGE = "store"
# A batch goes to ClickHouse when the first of these is reached.
# Few large parts: each costs the server a write of every column, and one more to merge it away.
MAX_ROWS = 50_000
MAX_BYTES = 32 << 20
MAX_AGE_S = 1.0
MAX_DETAIL_CHARS = 500
# Of a broken batch of actions the whole record is kept; of a broken row the row.
MAX_ORIGINAL_BYTES = 900_000
# A record of agent.actions without a header is a batch.
BATCH = "action_batch"


class Pending:
    """A batch being filled by the polling thread, then handed to the sink as a whole.

    `offsets` are the next offsets to commit once everything here is acknowledged.
    """

    def __init__(self, *, clock: Clock, redact: Redact, tenant: str) -> None:
        self._clock, self._redact, self._tenant = clock, redact, tenant
        self.offsets: dict[Place, int] = {}
        self.records: Counter[str] = Counter()  # by topic
        self.newest_ms = 0  # Kafka's time of the newest record
        self.frames: list[pl.DataFrame] = []
        self.rows: dict[str, list[Row]] = {}
        self.links: list[SessionLink] = []
        self.letters: list[DeadLetter] = []
        self.row_count = 0
        self.size_bytes = 0
        self.oldest_s: float | None = None
        # What the sink has done with it: a repetition passes over tables that hold it already.
        self.stored: set[str] = set()
        # Where the reports stand of actions that turned out to have several.
        self.twins: dict[tuple[str, str], list[TraceKey]] = {}

    @property
    def full(self) -> bool:
        """No more may be added."""
        return self.row_count >= MAX_ROWS or self.size_bytes >= MAX_BYTES

    def due(self, now_s: float) -> bool:
        """Full, or old enough to be stored."""
        aged = self.oldest_s is not None and now_s - self.oldest_s >= MAX_AGE_S
        return bool(self.offsets) and (self.full or aged)

    def add(self, origin: Origin, kind: str, now_s: float) -> None:
        """Take in one record; what cannot be stored ever becomes a dead letter."""
        self.oldest_s = now_s if self.oldest_s is None else self.oldest_s
        self.size_bytes += len(origin.value)
        self.row_count += 1  # bounds what makes no row, too
        self.offsets[origin.place] = origin.offset + 1
        self.records[origin.place[0]] += 1
        try:
            if origin.place[0] == ACTIONS_TOPIC:
                self._add_actions(kind, origin)
            elif origin.value:
                self.put(rows_of(origin, self._redact))
        except Refused as problem:
            self._refuse(origin, str(problem))

    def _add_actions(self, kind: str, origin: Origin) -> None:
        if kind not in (BATCH, ""):
            self._control(kind, origin)
            return
        good, bad = frames.sound(frames.read(origin.value))
        if len(good):
            self.frames.append(good)
            self.row_count += len(good)
            self.size_bytes += int(good.estimated_size())
        for at, row in enumerate(bad.iter_rows(named=True)):
            lacking = "an action without what fixes its identity"
            self.refuse_row(origin, at, row, lacking)

    def _control(self, kind: str, origin: Origin) -> None:
        said, row = control_record(kind, origin)
        if row is None:
            return
        if said is not None:
            self.links.append(said)
        self.put([row])

    def put(self, rows: Iterable[Row]) -> None:
        """Add rows."""
        for row in rows:
            self.rows.setdefault(row.table, []).append(row)
            self.row_count += 1

    def _refuse(self, origin: Origin, detail: str) -> None:
        if origin.place[0] == LETTERS_TOPIC:
            at = to_datetime(self._clock())
            self.put([unreadable_letter(origin, at, self._tenant)])
            return
        self.refuse(origin, detail, origin.value)

    def refuse_row(self, origin: Origin, index: int, row: dict[str, object], detail: str) -> None:
        """A dead letter for one row of a record; the row itself as JSON is what is kept of it."""
        present = {name: value for name, value in row.items() if value is not None}
        self.refuse(origin, detail, msgspec.json.encode(present), index)

    def refuse(
        self, origin: Origin, detail: str, original: bytes, index: int | None = None
    ) -> None:
        """A dead letter for what can never be stored."""
        metrics.DEAD_LETTERS.labels(STAGE, "mistyped").inc()
        (topic, partition), offset = origin.place, origin.offset
        letter = DeadLetter(
            topic=topic,
            partition=partition,
            offset=offset,
            index=index,
            stage=STAGE,
            reason="mistyped",
            detail=detail[:MAX_DETAIL_CHARS],
            source=f"{topic}/{partition}",
            tenant=self._tenant,
            observed_time=to_datetime(self._clock()),
            sha256=hashlib.sha256(original).hexdigest(),
            size_bytes=len(original),
            original=original if len(original) <= MAX_ORIGINAL_BYTES else None,
        )
        self.letters.append(letter)

    def disown(self, places: Iterable[Place]) -> None:
        """Forget the offsets of partitions that are another member's now; the rows do no harm."""
        for place in places:
            self.offsets.pop(place, None)

    def linked_traces(self) -> list[TraceKey]:
        """Traces that links of this batch speak of."""
        found = {(link.tenant, link.partition_key, link.trace_id) for link in self.links}
        return sorted(found)
