"""Which records belong to a bundle: alerts, and what was said, told and captured for them."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa

from tachograph.pipeline.errors import Refused
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.columns import quoted
from tachograph.pipeline.verify.findings import TreeId

# A bundle is for people: more alerts than this are several bundles.
MAX_ALERTS = 10_000
IDS_AT_ONCE = 200
ROWS_AT_ONCE = 200
# Log → which of its records belong to alerts, `{ids}` being their ids.
_BELONGS = {
    "alerts_log": "alert_id IN ({ids})",
    "dispositions_log": "alert_id IN ({ids})",
    "snapshots_log": "JSONExtractString(record, 'alert_id') IN ({ids})",
    "directives_log": "alert_id IN ({ids})",
    "acks_log": "directive_id IN"
    " (SELECT directive_id FROM tacho.directives_log WHERE alert_id IN ({ids}))",
    "audit_log": "name IN ({ids})",
}


class Chosen(NamedTuple):
    """A record of a bundle."""

    tree: TreeId
    offset: int
    record: bytes


def alerts_since(connection: Connection, since: datetime, until: datetime | None) -> list[str]:
    """Ids of alerts that were updated then. Raises Refused for too many."""
    ends = f" AND updated_at < {_moment(until)}" if until else ""
    rows = connection.rows(
        f"SELECT DISTINCT alert_id FROM tacho.alerts_log"  # noqa: S608
        f" WHERE updated_at >= {_moment(since)}{ends}"
        f" ORDER BY alert_id LIMIT {MAX_ALERTS + 1}"
    )
    if len(rows) > MAX_ALERTS:
        raise Refused(f"more than {MAX_ALERTS:,} alerts: choose a shorter time")
    return [str(alert) for (alert,) in rows]


def _moment(at: datetime) -> str:
    return f"parseDateTime64BestEffort({quoted(at.isoformat())}, 6, 'UTC')"


def records_of(connection: Connection, alerts: Sequence[str]) -> Iterator[Chosen]:
    """Every record that belongs to the alerts, log by log, in the order of the log."""
    for table, belongs in _BELONGS.items():
        for first in range(0, len(alerts), IDS_AT_ONCE):
            some = alerts[first : first + IDS_AT_ONCE]
            ids = ", ".join(quoted(alert) for alert in some)
            yield from _rows(connection, table, belongs.format(ids=ids))


def _rows(connection: Connection, table: str, belongs: str) -> Iterator[Chosen]:
    """In pieces: one place after the other, so that a piece that was read is not read again."""
    after = ("", "", -1, -1)
    while True:
        found = connection.arrow(
            "SELECT DISTINCT log_cluster, log_topic, log_partition, log_offset, record"  # noqa: S608
            f" FROM tacho.{table} WHERE {belongs}"
            " AND (log_cluster, log_topic, log_partition, log_offset)"
            f" > ({quoted(after[0])}, {quoted(after[1])}, {after[2]}, {after[3]})"
            " ORDER BY log_cluster, log_topic, log_partition, log_offset"
            f" LIMIT {ROWS_AT_ONCE}"
        )
        if not len(found):
            return
        names = ("log_cluster", "log_topic")
        clusters, topics = (found.column(n).cast(pa.string()).to_pylist() for n in names)
        partitions = found.column("log_partition").to_pylist()
        offsets = found.column("log_offset").to_pylist()
        payloads = found.column("record").cast(pa.binary()).to_pylist()
        rows = zip(clusters, topics, partitions, offsets, payloads, strict=True)
        for cluster, topic, partition, offset, record in rows:
            yield Chosen(TreeId(cluster, topic, partition), offset, record)
            after = (cluster, topic, partition, offset)
