"""The core of `normalize`: raw records in, actions out. No Kafka, no clock, no I/O: `scan` uses it
as it is.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import polars as pl

from tachograph.pipeline.door_headers import DoorFacts, verify
from tachograph.pipeline.normalize import derive, identity, rows, times, unpack
from tachograph.pipeline.normalize.assurance import Assured, Sender
from tachograph.pipeline.normalize.columns import Redaction, cut
from tachograph.pipeline.normalize.decode import decode, rewrapped
from tachograph.pipeline.normalize.raw import (
    BadInput,
    Decoded,
    Fault,
    Format,
    Item,
    Normalized,
    RawRecord,
    Row,
    dead_letter,
)  # fmt: skip
from tachograph.pipeline.normalize.redact import Secrets
from tachograph.pipeline.secrets import derive as sub_key
from tachograph.schemas.batch import COLUMNS, TIME
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.identity import Key
from tachograph.schemas.records import SessionLink

_FORMATS: Final[dict[str, Format]] = {"otlp_spans": "otlp_spans", "otlp_logs": "otlp_logs"}
US: Final = pl.Int64


class _Origin(msgspec.Struct, gc=False):
    """What every action of one raw record has in common."""

    record: RawRecord
    tenant: str
    observed_us: int | None
    principal: str | None
    door: bool = False  # the door signed it
    lone: bool = False  # the record holds exactly one item

    @property
    def place(self) -> str:
        """Where the record is in the log."""
        return f"{self.record.topic}/{self.record.partition}/{self.record.offset}"

    @property
    def sender(self) -> Sender:
        """How it came, as far as that is proved."""
        return Sender(self.record.topic, self.tenant, self.door, self.principal)

    @property
    def source(self) -> str:
        """Whose dead letters are counted together: the principal the door named, else the place."""
        topic = self.record.topic
        return f"{topic}/{self.principal}" if self.principal else f"{topic}/{self.record.partition}"


class Normalizer:
    """Turns raw records into actions. One thread; keeps nothing but the links it has announced.

    `secret` is the operator's key. `observed_from_event`: for files, where no hop of ours saw the
    record: observed time is what the file says, else the event's own time. `assured`: what the
    operator says of senders and agents.
    """

    def __init__(
        self,
        secret: bytes,
        tenant: str,
        *,
        observed_from_event: bool = False,
        assured: Assured | None = None,
    ) -> None:
        self._secret, self._tenant = secret, tenant
        self._ids = identity.Ids(Key(sub_key(secret, "ids")))
        self._hashes = Key(sub_key(secret, "content"))
        self._from_event = observed_from_event
        self._redaction = Redaction([Secrets(Key(sub_key(secret, "redaction")))])
        self._links = identity.LinkBook()
        self._assured = assured or Assured()

    def normalize(self, records: Sequence[RawRecord]) -> Normalized:
        """Actions, links, snapshots and dead letters of the records. Never raises on any bytes."""
        out = Normalized(pl.DataFrame(), [], [], [])
        items: list[Item] = []
        origins: list[_Origin] = []
        for record in records:
            origin = self._origin(record)
            decoded = self._decoded(record, origin, out)
            if decoded is None:
                continue
            self._names(decoded, origin, out)
            if decoded.snapshots:
                self._snapshots(decoded, origin, out)
            items.extend(decoded.items)
            origins.extend([origin] * len(decoded.items))
        if out.links:
            out.links = self._redacted_links(out.links)
        if items:
            out.frame = self._frame(items, origins, out)
        return out

    @property
    def links_evicted(self) -> int:
        """Links forgotten at the limit, since the start."""
        return self._links.evicted

    # --- one record ---

    def _origin(self, record: RawRecord) -> _Origin:
        headers = record.headers
        door: DoorFacts | None = verify(self._secret, record.value, headers) if headers else None
        return _Origin(
            record,
            (door.tenant if door else None) or self._tenant,
            times.observed_us(record, door),
            door.principal if door else None,
            door is not None,
        )

    def _decoded(self, record: RawRecord, origin: _Origin, out: Normalized) -> Decoded | None:
        try:
            value = unpack.bounded(record.value)
            decoded = decode(value, _format(record))
        except BadInput as problem:
            out.dead.append(_dead(origin, problem))
            _count(out, origin, usable=False)
            return None
        _count(out, origin, usable=not 0 < decoded.size == len(decoded.faults))
        origin.lone = decoded.size == 1
        if decoded.faults:
            out.dead += [_dead(origin, fault.problem, fault) for fault in decoded.faults]
        out.foreign += decoded.foreign
        return decoded

    def _names(self, decoded: Decoded, origin: _Origin, out: Normalized) -> None:
        pairs = identity.join_spans(decoded.items, decoded.naming)
        observed = origin.observed_us or (_newest(decoded.items) if pairs else 0)
        for named in pairs:
            link = self._links.fresh(origin.tenant, named, observed)
            if link:
                out.links.append(link)

    def _redacted_links(self, links: list[SessionLink]) -> list[SessionLink]:
        """One text everywhere: links name things as the actions do."""
        texts = self._redaction.texts([getattr(link, n) for link in links for n in _LINK_TEXTS])
        rows_of_texts = zip(*[iter(texts)] * len(_LINK_TEXTS), strict=True)
        return [
            msgspec.structs.replace(link, **dict(zip(_LINK_TEXTS, named, strict=True)))
            for link, named in zip(links, rows_of_texts, strict=True)
        ]

    def _snapshots(self, decoded: Decoded, origin: _Origin, out: Normalized) -> None:
        for snapshot in decoded.snapshots:
            owned = msgspec.structs.replace(
                snapshot, tenant=origin.tenant, source="agent", alert_id=None
            )
            out.snapshots.append(self._redaction.snapshot(owned))

    # --- all actions of a batch, a column at a time ---

    def _frame(self, items: list[Item], origins: list[_Origin], out: Normalized) -> pl.DataFrame:
        table = [self._derived(item.row) for item in items]
        frame, faults = rows.frame(table)
        frame = self._timed(frame, origins)
        _missing_times(frame, faults)
        frame = self._identified(frame, items, origins)
        if faults:
            self._refuse(faults, items, origins, out)
            good = [at for at in range(len(items)) if at not in faults]
            frame = frame[good]
        frame = derive.content_urls(frame)
        frame = self._hashed(frame)
        frame, out.redacted = self._redaction.frame(frame)
        return cut(frame)

    def _derived(self, row: Row) -> Row:
        if "tool_args" in row:
            derive.arguments(row, self._hashes)
        if "target_url" in row or "recipients" in row:
            derive.destination(row)
        return row

    def _timed(self, frame: pl.DataFrame, origins: list[_Origin]) -> pl.DataFrame:
        observed = pl.Series("_seen", [origin.observed_us for origin in origins], US)
        frame = frame.with_columns(observed.cast(TIME))
        known = [pl.col("_seen")]
        if self._from_event:
            known += [pl.col(n) for n in ("observed_time", "event_time") if n in frame.columns]
        frame = frame.with_columns(pl.coalesce(known).alias("observed_time")).drop("_seen")
        extra = times.marks()
        if "start_time" in frame.columns and "duration_ms" not in frame.columns:
            extra += times.spans()
        return frame.with_columns(extra)

    def _identified(
        self, frame: pl.DataFrame, items: list[Item], origins: list[_Origin]
    ) -> pl.DataFrame:
        moments = frame["event_time"].cast(US).to_list()
        ids, twins = [], []
        event_id, twin_key = self._ids.event_id, self._ids.twin_key
        for item, origin, moment in zip(items, origins, moments, strict=True):
            producer = item.producer_id or f"{origin.place}/{item.index}"
            ids.append(event_id(origin.tenant, item, producer, moment or 0))
            twins.append(twin_key(origin.tenant, item.row))
        own: dict[str, list[Any]] = {
            "event_id": ids,
            "twin_key": twins,
            "partition_key": [item.partition_key for item in items],
            "raw_index": [item.index for item in items],
        }
        made = [pl.Series(name, values, COLUMNS[name]) for name, values in own.items()]
        frame = _fallbacks(frame.with_columns(*made, *_of_records(origins)))
        if self._assured.silent:
            return frame
        distinct, at = _distinct(origins)
        senders = [origin.sender for origin in distinct]
        return self._assured.frame(frame, [senders[place] for place in at])

    def _hashed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Keyed hashes and sizes of contents as they came, where the producer gave none."""
        made = []
        for text, name, size in _HASHED:
            if text not in frame.columns:
                continue
            if name not in frame.columns:
                hashed = derive.hashes(frame[text].to_list(), self._hashes)
                made.append(pl.Series(name, hashed, pl.String))
            if size not in frame.columns:
                made.append(frame[text].str.len_bytes().cast(US).alias(size))
        return frame.with_columns(made)

    def _refuse(
        self, faults: rows.Faults, items: list[Item], origins: list[_Origin], out: Normalized
    ) -> None:
        for at, problem in sorted(faults.items()):
            item, origin = items[at], origins[at]
            original = b"" if origin.lone else rewrapped(item)
            out.dead.append(_dead(origin, problem, Fault(item.index, problem, original)))


_LINK_TEXTS: Final = ("partition_key", "session_id", "agent_id", "agent_name", "principal_id")
_HASHED: Final = (
    ("content_text", "content_hash", "content_bytes"),
    ("tool_result", "tool_result_hash", "tool_result_bytes"),
)


_FALLEN: Final = ("agent_id", "session_id")


def _distinct(origins: list[_Origin]) -> tuple[list[_Origin], list[int]]:
    """The records, and for each action which of them it came in."""
    distinct: list[_Origin] = []
    at: list[int] = []
    for origin in origins:
        if not distinct or distinct[-1] is not origin:
            distinct.append(origin)
        at.append(len(distinct) - 1)
    return distinct, at


def _of_records(origins: list[_Origin]) -> pl.DataFrame:
    """Columns that are the same for all actions of a record: made once a record."""
    distinct, at = _distinct(origins)
    of_record = {
        "tenant": [origin.tenant for origin in distinct],
        "raw_topic": [origin.record.topic for origin in distinct],
        "raw_partition": [origin.record.partition for origin in distinct],
        "raw_offset": [origin.record.offset for origin in distinct],
        "authenticated_as": [origin.principal for origin in distinct],
        "assurance": ["authenticated" if o.principal else "asserted" for o in distinct],
    }
    schema = {name: COLUMNS[name] for name in of_record}
    return pl.DataFrame(of_record, schema)[at]


def _fallbacks(frame: pl.DataFrame) -> pl.DataFrame:
    """Session and agent where nothing named them: the trace, and who reported.

    An action of a trace whose agent nobody named keeps none: a session link may still name it, and
    what reads the action falls back to the partition key until then.
    """
    asked = ("agent_id", "agent_name", "service_name", "session_id", "trace_id")
    absent = [name for name in asked if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in absent)
    # An empty name is none.
    frame = frame.with_columns(
        pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in asked
    )
    named = pl.concat_str(["service_name", "agent_name"], separator="/")
    untraced = pl.coalesce("service_name", "partition_key")
    reporter = pl.when(pl.col("trace_id").is_null()).then(untraced)
    frame = frame.with_columns(
        pl.coalesce("session_id", "trace_id").alias("session_id"),
        pl.coalesce("agent_id", named, "agent_name", reporter).alias("agent_id"),
    )
    return frame.select(name for name in frame.columns if name not in absent or name in _FALLEN)


def _missing_times(frame: pl.DataFrame, faults: rows.Faults) -> None:
    absent = frame["event_time"].is_null() | frame["observed_time"].is_null()
    for at in absent.arg_true():
        faults.setdefault(at, BadInput("missing", "an action has an event_time"))
    for at in times.impossible(frame).fill_null(value=False).arg_true():
        faults.setdefault(at, BadInput("impossible_time", times.IMPOSSIBLE))


def _newest(items: list[Item]) -> int:
    """Newest event time in µs, where no hop of ours saw the record; 0 when times are texts."""
    times_us = [item.row["event_time"] for item in items]
    return max((at for at in times_us if at.__class__ is int), default=0)


def _dead(origin: _Origin, problem: BadInput, fault: Fault | None = None) -> Any:
    if fault and origin.lone:
        fault = Fault(fault.index, problem, origin.record.value)
    return dead_letter(
        origin.record,
        problem,
        observed_us=origin.observed_us or 0,
        tenant=origin.tenant,
        source=origin.source,
        fault=fault,
    )


def _count(out: Normalized, origin: _Origin, *, usable: bool) -> None:
    topic = origin.record.topic
    if usable:
        out.usable.add(topic)
    else:
        source = topic, origin.principal
        out.refused[source] = out.refused.get(source, 0) + 1


def _format(record: RawRecord) -> Format:
    if record.format != "auto":
        return record.format
    if record.headers.get(RECORD_HEADER) == b"state_snapshot":
        return "state"
    return _FORMATS.get(record.topic, "actions")
