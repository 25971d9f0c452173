"""What goes into the core and what comes out: raw records, actions as a frame, links, snapshots,
dead letters.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import polars as pl

from tachograph.pipeline.clock import to_datetime
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.records import DeadLetter, SessionLink

# Formats that are no module of `formats`; auto: by topic, header and content.
FORMATS = ("auto", "otlp_spans", "otlp_logs", "actions", "state")
# An action as a mapping of Action field → value, before it becomes a row of a frame.
Row = dict[str, Any]

STAGE = "normalize"
MAX_DETAIL_CHARS = 300
MAX_HEADERS = 32
HEADER_CHARS = 1_024  # what the door says of a record must hold when it is put back


class RawRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a raw-class topic, or one line of a file."""

    topic: str
    partition: int
    offset: int
    value: bytes
    headers: Mapping[str, bytes] = {}
    timestamp_us: int | None = None  # LogAppendTime; None: a file
    format: str = "auto"


class BadInput(Exception):
    """Input that cannot be used. `reason` is a class of fault, `detail` tells a person what and
    why.

    The detail never quotes the payload: it goes into logs and to people without the rights for raw
    data.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Item(msgspec.Struct, gc=False):
    """One decoded action on its way: the row, and what fixes its identity."""

    row: Row
    index: int  # place inside the raw record
    partition_key: str
    producer_id: str | None
    meaning: bytes  # canonical bytes of what the producer sent
    group: Any = None  # OTLP: the resource and scope it came under
    own_id: bool = True  # the producer's id is meant for this action only


class Fault(msgspec.Struct, frozen=True, gc=False):
    """One bad item inside a record whose other items are good."""

    index: int
    problem: BadInput
    original: bytes


class Decoded(msgspec.Struct):
    """What one raw record decoded to."""

    items: list[Item] = []
    faults: list[Fault] = []
    snapshots: list[StateSnapshot] = []
    foreign: int = 0  # spans and logs that tell nothing of an agent: counted, not kept
    naming: list[tuple[str, Row]] = []  # (partition key, row) of spans left out that name something

    @property
    def size(self) -> int:
        """Items of the record, good, bad or left out."""
        return len(self.items) + len(self.faults) + len(self.snapshots) + self.foreign


class Normalized(msgspec.Struct):
    """What some raw records became. `frame` has every column that holds a value, rows in input
    order.
    """

    frame: pl.DataFrame
    links: list[SessionLink]
    dead: list[DeadLetter]
    snapshots: list[StateSnapshot]
    foreign: int = 0
    redacted: dict[str, int] = {}
    usable: set[str] = set()  # topics of which a record could be used
    # (topic, principal the door named) → records of which nothing could be used
    refused: dict[tuple[str, str | None], int] = {}


def dead_letter(
    record: RawRecord,
    problem: BadInput,
    *,
    observed_us: int,
    tenant: str,
    source: str,
    fault: Fault | None = None,
) -> DeadLetter:
    """The dead letter of a record, or of one item of it.

    `original` is what was sent, byte for byte, where the record is bad as a whole or holds that one
    item. Of one item among several it is that item alone, in a form that can be put back: its own
    line of NDJSON, else encoded again (OTLP: as JSON with its resource and scope); `index` says
    which one, and topic, partition and offset where the record lies.
    """
    original = record.value if fault is None else fault.original
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        index=None if fault is None else fault.index,
        stage=STAGE,
        reason=problem.reason,
        detail=problem.detail[:MAX_DETAIL_CHARS],
        source=source,
        tenant=tenant,
        observed_time=to_datetime(observed_us),
        sha256=hashlib.sha256(original).hexdigest(),
        size_bytes=len(original),
        original=original,
        headers=_shown(record.headers),
    )


def _shown(headers: Mapping[str, bytes]) -> dict[str, str]:
    """Headers as text that JSON can carry; what is no UTF-8 is shown escaped, long ones are cut."""
    some = list(headers.items())[:MAX_HEADERS]
    return {
        name[:HEADER_CHARS]: value[:HEADER_CHARS].decode("utf-8", "backslashreplace")
        for name, value in some
    }
