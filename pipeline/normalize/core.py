"""The core of `normalize`: raw records in, actions out. No Kafka, no clock, no I/O: `scan` uses it
as it is.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from tachograph.pipeline.door_headers import DoorFacts, sign, verify
from tachograph.pipeline.normalize import derive, identity, rows, times, unpack, who
from tachograph.pipeline.normalize.assurance import Assured
from tachograph.pipeline.normalize.columns import Redaction, cut
from tachograph.pipeline.normalize.decode import decode, rewrapped
from tachograph.pipeline.normalize.escapes import readable
from tachograph.pipeline.normalize.formats.reading import Context
from tachograph.pipeline.normalize.origins import Origin
from tachograph.pipeline.normalize.parts import Part
from tachograph.pipeline.normalize.raw import (
    BadInput,
    Decoded,
    Fault,
    Item,
    Normalized,
    RawRecord,
    Row,
    dead_letter,
)  # fmt: skip
from tachograph.pipeline.normalize.redact import Redactor, Secrets
from tachograph.pipeline.normalize.sources import Sources
from tachograph.pipeline.normalize.span_batch import SpanDecoder
from tachograph.pipeline.normalize.wire import Ints
from tachograph.pipeline.secrets import derive as sub_key
from tachograph.schemas.batch import COLUMNS, TIME
from tachograph.schemas.identity import Key
from tachograph.schemas.records import DeadLetter, SessionLink

US: Final = pl.Int64
Columns = dict[str, pl.Series]


class Normalizer:
    """Turns raw records into actions. One thread; keeps nothing but the links it has announced.

    `secret` is the operator's key. `observed_from_event`: for files, where no hop of ours saw the
    record: observed time is what the file says, else the event's own time; `undated_us`: when what
    has no time at all happened. `assured`: what the operator says of senders and agents. `sources`:
    formats of other systems.
    """

    def __init__(
        self,
        secret: bytes,
        tenant: str,
        *,
        observed_from_event: bool = False,
        assured: Assured | None = None,
        redactors: Sequence[Redactor] = (),
        sources: Sources | None = None,
        undated_us: int | None = None,
    ) -> None:
        self._secret, self._tenant = secret, tenant
        self._ids = identity.Ids(Key(sub_key(secret, "ids")))
        self._hashes = Key(sub_key(secret, "content"))
        self._from_event = observed_from_event
        self._redaction = Redaction(redactors or [Secrets(Key(sub_key(secret, "redaction")))])
        self._links = identity.LinkBook()
        self._spans = SpanDecoder()
        self._assured = assured or Assured()
        self._sources = sources or Sources()
        self._undated_us = undated_us

    def normalize(self, records: Sequence[RawRecord]) -> Normalized:
        """Actions, links, snapshots and dead letters of the records. Never raises on any bytes."""
        out = Normalized(pl.DataFrame(), [], [], [])
        origins = [self._origin(record) for record in records]
        items: list[tuple[int, Item]] = []
        spans: list[tuple[int, bytes]] = []
        for number, origin in enumerate(origins):
            form = self._sources.format_of(origin.record)
            value = self._unpacked(origin, out)
            if value is None:
                continue
            if form == "otlp_spans":
                spans.append((number, value))
                continue
            decoded = self._decoded(value, form, origin, out)
            if decoded is not None:
                items.extend((number, item) for item in decoded.items)
        parts = [self._of_items(items)] if items else []
        parts += self._of_spans(spans, origins, out)
        if out.links:
            out.links = self._redacted_links(out.links)
        frames = [self._identified(part, origins, out) for part in parts]
        if frames:
            out.frame = self._finished(frames, out)
        return out

    @property
    def links_evicted(self) -> int:
        """Links forgotten at the limit, since the start."""
        return self._links.evicted

    # --- one record ---

    def _origin(self, record: RawRecord) -> Origin:
        headers = record.headers
        door: DoorFacts | None = verify(self._secret, record.value, headers) if headers else None
        return Origin(
            record,
            (door.tenant if door else None) or self._tenant,
            times.observed_us(record, door),
            door.principal if door else None,
            door is not None,
        )

    def _unpacked(self, origin: Origin, out: Normalized) -> bytes | None:
        try:
            return unpack.bounded(origin.record.value)
        except BadInput as problem:
            self._refused(origin, problem, out)
            return None

    def _refused(self, origin: Origin, problem: BadInput, out: Normalized) -> None:
        out.dead.append(self._dead(origin, problem))
        _count(out, origin, usable=False)

    def _decoded(self, value: bytes, form: str, origin: Origin, out: Normalized) -> Decoded | None:
        context = Context(self._when(origin), origin.record.headers)
        try:
            decoded = decode(value, form, self._sources.formats, context)
        except BadInput as problem:
            self._refused(origin, problem, out)
            return None
        self._took(origin, decoded.size, decoded.faults, out)
        out.foreign += decoded.foreign
        pairs = identity.join_spans(decoded.items, decoded.naming)
        self._announce(origin, pairs, _newest(decoded.items) if pairs else 0, out)
        self._snapshots(decoded, origin, out)
        return decoded

    def _when(self, origin: Origin) -> int | None:
        """When what says nothing of its time is taken to be."""
        if origin.observed_us is None and self._undated_us is not None:
            return self._undated_us + origin.record.offset
        return origin.observed_us

    def _took(self, origin: Origin, size: int, faults: Sequence[Fault], out: Normalized) -> None:
        """A record that could be read, with so many items, some of them bad."""
        _count(out, origin, usable=not 0 < size == len(faults))
        origin.lone = size == 1
        out.dead += [self._dead(origin, fault.problem, fault) for fault in faults]

    def _dead(self, origin: Origin, problem: BadInput, fault: Fault | None = None) -> DeadLetter:
        record = origin.record
        if fault and origin.lone:
            fault = Fault(fault.index, problem, record.value)
        elif fault and origin.door:
            # The door's word is of the whole record; what is put back is one item of it.
            word = sign(
                self._secret, fault.original, origin.principal, origin.observed_us or 0,
                origin.tenant,
            )  # fmt: skip
            record = msgspec.structs.replace(record, headers={**record.headers, **word})
        return dead_letter(
            record,
            problem,
            observed_us=origin.observed_us or 0,
            tenant=origin.tenant,
            source=origin.source,
            fault=fault,
        )

    def _announce(
        self, origin: Origin, pairs: Sequence[identity.Named], newest_us: int, out: Normalized
    ) -> None:
        for named in pairs:
            link = self._links.fresh(origin.tenant, named, origin.observed_us or newest_us)
            if link:
                out.links.append(link)

    def _of_items(self, items: list[tuple[int, Item]]) -> Part:
        """Items that were decoded one by one, as columns."""
        twins = [identity.twin_call(item.row) for _, item in items]
        frame, faults = rows.frame([self._derived(item.row) for _, item in items])
        return Part(
            frame=frame,
            faults=faults,
            record=np.array([number for number, _ in items]),
            index=np.array([item.index for _, item in items]),
            place=pl.Series([item.partition_key for _, item in items], dtype=pl.String),
            producers=[item.producer_id for _, item in items],
            meanings=[item.meaning for _, item in items],
            own_ids=[item.own_id for _, item in items],
            twin_kind=pl.Series([kind for kind, _ in twins], dtype=pl.String),
            twin_call=pl.Series([call for _, call in twins], dtype=pl.String),
            original=lambda at: rewrapped(items[at][1]),
        )

    def _of_spans(
        self, spans: list[tuple[int, bytes]], origins: list[Origin], out: Normalized
    ) -> list[Part]:
        """The spans of all records, as columns."""
        if not spans:
            return []
        parts, verdicts = self._spans.decode([value for _, value in spans])
        for (number, _), verdict in zip(spans, verdicts, strict=True):
            origin = origins[number]
            if verdict.refused:
                self._refused(origin, verdict.refused, out)
                continue
            self._took(origin, verdict.items, verdict.faults, out)
            out.foreign += verdict.foreign
            self._announce(origin, verdict.named, verdict.newest_us, out)
        numbers = np.array([number for number, _ in spans])
        for part in parts:
            part.record = numbers[part.record]
            frame = derive.columns(part.frame, self._hashes)
            part.frame = derive.destinations(frame)
        return parts

    def _redacted_links(self, links: list[SessionLink]) -> list[SessionLink]:
        """One text everywhere: links name things as the actions do."""
        texts = self._redaction.texts([getattr(link, n) for link in links for n in _LINK_TEXTS])
        rows_of_texts = zip(*[iter(texts)] * len(_LINK_TEXTS), strict=True)
        return [
            msgspec.structs.replace(link, **dict(zip(_LINK_TEXTS, named, strict=True)))
            for link, named in zip(links, rows_of_texts, strict=True)
        ]

    def _snapshots(self, decoded: Decoded, origin: Origin, out: Normalized) -> None:
        for snapshot in decoded.snapshots:
            owned = msgspec.structs.replace(
                snapshot, tenant=origin.tenant, source="agent", alert_id=None
            )
            out.snapshots.append(self._redaction.snapshot(owned))

    # --- all actions of a batch, a column at a time ---

    def _derived(self, row: Row) -> Row:
        if "tool_args" in row:
            derive.arguments(row, self._hashes)
        if "target_url" in row or "recipients" in row:
            derive.destination(row)
        return row

    def _identified(self, part: Part, origins: list[Origin], out: Normalized) -> pl.DataFrame:
        """The actions of a part that can be used, with their times, ids and places."""
        columns = {series.name: series for series in part.frame}
        shared = _of_records(origins, part.record)
        self._timed(columns, shared.pop("observed_time"), part.faults)
        columns[_RECORD] = pl.Series(_RECORD, part.record)
        columns["raw_index"] = pl.Series("raw_index", part.index)
        columns["partition_key"] = part.place.alias("partition_key")
        columns |= shared
        ids = self._event_ids(columns, part, origins)
        columns["event_id"] = pl.Series("event_id", ids, pl.String)
        frame = pl.DataFrame(list(columns.values()))
        twins = self._ids.twin_keys(frame, part.twin_kind, part.twin_call)
        columns["twin_key"] = twins.alias("twin_key")
        frame = self._assured_of(who.named(columns), part, origins)
        return self._usable(frame, part, origins, out) if part.faults else frame

    def _usable(
        self, frame: pl.DataFrame, part: Part, origins: list[Origin], out: Normalized
    ) -> pl.DataFrame:
        """The rows without a fault; of the others a dead letter each."""
        for at, problem in sorted(part.faults.items()):
            origin = origins[part.record[at]]
            original = b"" if origin.lone else part.original(at)
            fault = Fault(int(part.index[at]), problem, original)
            out.dead.append(self._dead(origin, problem, fault))
        return frame[[at for at in range(frame.height) if at not in part.faults]]

    def _timed(self, columns: Columns, seen: pl.Series, faults: rows.Faults) -> None:
        """Observed time, and what follows from the times of an action. In place."""
        if self._from_event:
            known = [columns[n] for n in ("observed_time", "event_time") if n in columns]
            seen = pl.DataFrame([seen.alias("_seen"), *known]).select(pl.coalesce(pl.all()))[
                "_seen"
            ]
        columns["observed_time"] = seen.alias("observed_time")
        event, has_event = times.micros(columns["event_time"])
        observed, has_observed = times.micros(seen)
        late, far = times.marks(event, observed)
        known_both = has_event & has_observed
        for name, flags in (("late", late), ("far", far)):
            columns[name] = pl.Series(name, flags)
        for at in np.flatnonzero(~known_both).tolist():
            faults.setdefault(at, BadInput("missing", "an action has an event_time"))
        for at in np.flatnonzero(times.beyond(event, observed) & known_both).tolist():
            faults.setdefault(at, BadInput("impossible_time", times.IMPOSSIBLE))
        if "start_time" in columns and "duration_ms" not in columns:
            columns["duration_ms"] = times.took(columns["start_time"], columns["event_time"])

    def _event_ids(self, columns: Columns, part: Part, origins: list[Origin]) -> list[str]:
        producers = [
            producer or origins[record].place_of(index)
            for producer, record, index in zip(
                part.producers, part.record.tolist(), part.index.tolist(), strict=True
            )
        ]
        told = zip(
            columns["tenant"].to_list(), part.place.to_list(), producers,
            columns["event_time"].cast(US).to_list(), part.meanings, part.own_ids,
            strict=True,
        )  # fmt: skip
        return self._ids.event_ids(told)

    def _assured_of(self, named: who.Named, part: Part, origins: list[Origin]) -> pl.DataFrame:
        frame = named.frame
        if not self._assured.silent:
            senders = [origin.sender for origin in origins]
            told = [senders[number] for number in part.record.tolist()]
            frame = self._assured.frame(frame, told)
        if named.unnamed is None:
            return frame
        guessed = pl.lit(named.unnamed) & (pl.col("assurance") == "asserted")
        if "identity_mismatch" in frame.columns:
            guessed &= pl.col("identity_mismatch").is_null()
        inferred = pl.when(guessed).then(pl.lit("inferred")).otherwise("assurance")
        return frame.with_columns(inferred.alias("assurance"))

    def _finished(self, frames: list[pl.DataFrame], out: Normalized) -> pl.DataFrame:
        """All actions in the order in which they came, hashed, redacted and cut."""
        frame = frames[0]
        if len(frames) > 1:
            frame = pl.concat(frames, how="diagonal").sort(
                _RECORD, "raw_index", maintain_order=True
            )
        frame = derive.content_urls(frame.drop(_RECORD))
        frame = readable(self._hashed(frame))
        frame, out.redacted = self._redaction.frame(frame)
        return cut(frame)

    def _hashed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Keyed hashes and sizes of contents as they came, where the producer gave none."""
        made: list[pl.Series] = []
        for text, name, size in _HASHED:
            if text not in frame.columns or {name, size} <= set(frame.columns):
                continue
            hashes, sizes = derive.hashes(frame[text].to_list(), self._hashes)
            if name not in frame.columns:
                made.append(pl.Series(name, hashes, pl.String))
            if size not in frame.columns:
                made.append(pl.Series(size, sizes, US))
        return frame.hstack(made) if made else frame


_LINK_TEXTS: Final = (
    "partition_key", "trace_id", "session_id", "agent_id", "agent_name", "principal_id",
)  # fmt: skip
_HASHED: Final = (
    ("content_text", "content_hash", "content_bytes"),
    ("tool_result", "tool_result_hash", "tool_result_bytes"),
)


_RECORD: Final = "_record"


def _of_records(origins: list[Origin], record: Ints) -> Columns:
    """Columns that are the same for all actions of a record: made once a record."""
    of_record: dict[str, list[Any]] = {
        "tenant": [origin.tenant for origin in origins],
        "raw_topic": [origin.record.topic for origin in origins],
        "raw_partition": [origin.record.partition for origin in origins],
        "raw_offset": [origin.record.offset for origin in origins],
        "authenticated_as": [origin.principal for origin in origins],
        "assurance": ["authenticated" if o.principal else "asserted" for o in origins],
    }
    seen = pl.Series("observed_time", [origin.observed_us for origin in origins], US).cast(TIME)
    made = [pl.Series(name, values, COLUMNS[name]) for name, values in of_record.items()]
    places = pl.Series(record.astype(np.uint32))
    return {series.name: series[places] for series in (*made, seen)}


def _newest(items: list[Item]) -> int:
    """Newest event time in µs, where no hop of ours saw the record; 0 when times are texts."""
    times_us = [item.row["event_time"] for item in items]
    return max((at for at in times_us if at.__class__ is int), default=0)


def _count(out: Normalized, origin: Origin, *, usable: bool) -> None:
    topic = origin.record.topic
    if usable:
        out.usable.add(topic)
    else:
        source = topic, origin.principal
        out.refused[source] = out.refused.get(source, 0) + 1
