"""Who else reported an action: a second report under the same twin key.

The twin key says all: it is computed from the action alone, so nothing need be written to the log
for two reports to be known as one action. `detect` counts by it, and here the pairs are noted, so
that analysts see one row.
"""

from collections import OrderedDict
from datetime import datetime
from typing import Annotated

import polars as pl

from tachograph.pipeline.clock import Clock, system_us, to_datetime
from tachograph.pipeline.store.links import TraceKey
from tachograph.schemas.fields import Record, doc

MAX_TWIN_KEYS = 100_000
# An action is reported by an SDK, a gateway, a server …; more reports than this stay rows of their
# own.
MAX_REPORTS = 8


class SameAs(Record, frozen=True, kw_only=True):
    """Two event ids report one action: a row of tacho.same_as."""

    tenant: Annotated[str, doc("whose data this is")]
    partition_key: Annotated[str, doc("partition key of event_id")]
    twin_key: Annotated[str, doc("hash of tenant and call or response id")]
    event_id: Annotated[str, doc("one report")]
    same_as: Annotated[str, doc("the other report")]
    observed_time: Annotated[datetime, doc("when it was learned", "UTC")]


class Report(Record, frozen=True, kw_only=True):
    """One report of an action that may have others: a row of tacho.twin_reports_data."""

    tenant: Annotated[str, doc("whose data this is")]
    partition_key: Annotated[str, doc("partition key of the report")]
    twin_key: Annotated[str, doc("hash of tenant and call or response id")]
    event_id: Annotated[str, doc("the report")]
    source: Annotated[str, doc("who reported")]


class Twins:
    """Twin key → the reports seen, one a source: who repeats itself is no twin. One thread.

    So an agent that uses one call id again and again hides nothing behind the first. A client and
    a server, or an SDK and a gateway, are different services: their reports have different
    partition keys.
    """

    def __init__(self, clock: Clock = system_us, limit: int = MAX_TWIN_KEYS) -> None:
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], dict[str, tuple[str, str]]] = OrderedDict()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._seen)

    def forget(self) -> None:
        """After a change of partitions."""
        self._seen.clear()

    def pairs(self, frame: pl.DataFrame) -> list[SameAs]:
        """Pairs that these actions complete."""
        return [pair for row in reports(frame).iter_rows() for pair in self.see(*row)]

    def see(
        self, tenant: str, partition_key: str, twin_key: str, event_id: str, source: str
    ) -> list[SameAs]:
        """Take in one report; the pair it makes with the first one, if any."""
        key = (tenant, twin_key)
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = {source: (partition_key, event_id)}
            if len(self._seen) > self._limit:
                self._seen.popitem(last=False)
            return []
        if source in seen or len(seen) >= MAX_REPORTS:
            return []
        _, first = next(iter(seen.values()))
        seen[source] = (partition_key, event_id)
        pair = SameAs(
            tenant=tenant,
            partition_key=partition_key,
            twin_key=twin_key,
            event_id=event_id,
            same_as=first,
            observed_time=to_datetime(self._clock()),
        )
        return [pair]

    def places(self, pair: SameAs) -> list[TraceKey]:
        """Where the reports of an action stand: tenant, partition key and twin key of each."""
        seen = self._seen.get((pair.tenant, pair.twin_key), {})
        known = dict.fromkeys([pair.partition_key, *(place for place, _ in seen.values())])
        return [(pair.tenant, place, pair.twin_key) for place in known]


def reports(frame: pl.DataFrame) -> pl.DataFrame:
    """Of the actions that may have twins what a `Report` says, with its columns."""
    if "twin_key" not in frame.columns:
        return pl.DataFrame(schema=dict.fromkeys(Report.__struct_fields__, pl.String))
    return frame.filter(pl.col("twin_key").fill_null("") != "").select(
        "tenant", "partition_key", "twin_key", "event_id", source_of(frame)
    )


def source_of(frame: pl.DataFrame) -> pl.Expr:
    """Who reported: the source's id, else its kind."""
    names = [name for name in ("source_id", "source_kind") if name in frame.columns]
    return pl.coalesce([*names, pl.lit("")]).alias("source")
