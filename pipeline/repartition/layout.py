"""Where the records of agent.actions lie once it has another number of partitions.

An agent's records keep their order: all of them lay in one partition and do so again. A tick says
that everything observed before it is there, so it is said again when every old partition has said
it, and everything before it was laid.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import polars as pl

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.errors import Refused
from tachograph.pipeline.log import get
from tachograph.pipeline.normalize.batches import Batches
from tachograph.schemas import batch, codec
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.records import SessionLink, Tick

log = get("repartition")

_KINDS = frozenset({b"action_batch", b"session_link", b"state_snapshot", b"tick"})


class Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record as it lay in the old generation."""

    value: bytes
    headers: dict[str, bytes]
    at_ms: int  # Kafka's time of it


class Laid(msgspec.Struct, frozen=True, gc=False):
    """A record as it lies in the new one."""

    partition: int
    value: bytes
    headers: Mapping[str, bytes]
    at_ms: int


def known(record: Kept) -> Kept:
    """The record, of a kind that can be laid. Raises Refused for another: it is asked before
    anything is taken away.
    """
    kind = record.headers.get(RECORD_HEADER, b"")
    if kind not in _KINDS:
        raise Refused(
            f"agent.actions holds a record of kind {kind.decode('ascii', 'replace')!r},"
            " which this version does not know: a newer one has to move it"
        )
    return record


def laid(olds: Sequence[Iterable[Kept]], partitions: int) -> Iterator[Laid]:
    """The records of all old partitions, each in its order, for so many new ones. One that cannot
    be read is left out and told, as every reader passes it over. Raises Refused as `known` does.
    """
    layout = _Layout(len(olds), partitions)
    # By Kafka's time, so that ticks of one partition do not wait long for those of the others.
    timed = (_timed(old, kept) for old, kept in enumerate(olds))
    for _, old, record in heapq.merge(*timed, key=lambda of: of[0]):
        try:
            found = list(layout.lay(old, known(record)))
        except (pl.exceptions.PolarsError, OSError, codec.InvalidRecord) as error:
            log.warning("record cannot be read and is left out", partition=old, error=str(error))
            continue
        yield from found


def _timed(old: int, records: Iterable[Kept]) -> Iterator[tuple[int, int, Kept]]:
    """With a time that never goes back, as merging needs it."""
    reached = 0
    for record in records:
        reached = max(reached, record.at_ms)
        yield reached, old, record


class _Layout:
    def __init__(self, olds: int, partitions: int) -> None:
        self._olds, self._partitions = olds, partitions
        self._batches = Batches(partitions)
        # Of each raw partition: the newest tick in each old partition, and what was told of it, µs.
        self._ticks: dict[tuple[str, int], dict[int, Tick]] = {}
        self._told: dict[tuple[str, int], int] = {}

    def lay(self, old: int, record: Kept) -> Iterator[Laid]:
        kind = record.headers.get(RECORD_HEADER, b"")
        match kind:
            case b"action_batch":
                yield from self._actions(record)
            case b"session_link":
                link = codec.decode(SessionLink, record.value)
                yield self._whole(record, link.tenant, link.partition_key)
            case b"state_snapshot":
                snapshot = codec.decode(StateSnapshot, record.value)
                yield self._whole(record, snapshot.tenant, snapshot.agent_id or "")
            case b"tick":
                yield from self._tick(old, record)

    def _actions(self, record: Kept) -> Iterator[Laid]:
        frame = batch.decode(record.value)
        for part in self._batches.records(frame):
            yield Laid(part.partition, part.value, part.headers, record.at_ms)

    def _whole(self, record: Kept, tenant: str, partition_key: str) -> Laid:
        partition = self._batches.partition(tenant, partition_key)
        return Laid(partition, record.value, record.headers, record.at_ms)

    def _tick(self, old: int, record: Kept) -> Iterator[Laid]:
        tick = codec.decode(Tick, record.value)
        place = (tick.raw_topic, tick.raw_partition)
        ticks = self._ticks.setdefault(place, {})
        before = ticks.get(old)
        if before is None or before.observed_time < tick.observed_time:
            ticks[old] = tick
        if len(ticks) < self._olds:
            return
        reached = min(ticks.values(), key=lambda one: one.observed_time)
        reached_us = to_us(reached.observed_time)
        if reached_us <= self._told.get(place, -1):
            return
        self._told[place] = reached_us
        value = codec.encode(reached)
        for partition in range(self._partitions):
            yield Laid(partition, value, record.headers, record.at_ms)
