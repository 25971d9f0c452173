"""Rows of ClickHouse in pieces that fit: leaves, and the records that they are about."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa

from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.notarize.leaves import LOGS
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.columns import quoted
from tachograph.pipeline.verify.findings import TreeId

LEAVES_AT_ONCE = 100_000
# Of records: a reader's results are limited, and so is memory here.
AIM_BYTES = 16 << 20
MAX_RECORDS = 50_000
FIRST_RECORDS = 500


class StoredLeaf(NamedTuple):
    """A row of the table of leaves."""

    number: int
    kind: str
    offset: int
    until: int
    hash: bytes


class Rows:
    """Reads what stands in ClickHouse of one tree."""

    def __init__(self, connection: Connection, tree: TreeId, table: str) -> None:
        self._connection, self.tree, self.table = connection, tree, table
        self._of = (
            f"log_cluster = {quoted(tree.cluster)} AND log_topic = {quoted(tree.topic)}"
            f" AND log_partition = {tree.partition}"
        )
        self._width = FIRST_RECORDS

    def leaves(self, end: int) -> Iterator[list[StoredLeaf]]:
        """Leaves below `end`, in order, some at a time."""
        for first in range(0, end, LEAVES_AT_ONCE):
            last = min(end, first + LEAVES_AT_ONCE)
            found = self._connection.arrow(
                "SELECT leaf_index, kind, log_offset, log_until, unhex(leaf) AS hash"  # noqa: S608
                f" FROM tacho.leaves_log FINAL WHERE {self._of}"
                f" AND leaf_index >= {first} AND leaf_index < {last} ORDER BY leaf_index"
            )
            columns = [found.column(name) for name in ("leaf_index", "log_offset", "log_until")]
            numbers, offsets, untils = (column.to_pylist() for column in columns)
            kinds = found.column("kind").cast(pa.string()).to_pylist()
            hashes = found.column("hash").cast(pa.binary()).to_pylist()
            yield [
                StoredLeaf(*row)
                for row in zip(numbers, kinds, offsets, untils, hashes, strict=True)
            ]

    def records(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """(offset, record) of every copy that differs, offsets [first, end), in order."""
        at = first
        while at < end:
            until = min(end, at + self._width)
            try:
                found = self._records(at, until)
            except TachoError:
                if until - at == 1:
                    raise
                self._width = max(1, (until - at) // 4)
                continue
            size = found.nbytes
            offsets = found.column("log_offset").to_pylist()
            records = found.column("record").cast(pa.binary()).to_pylist()
            yield from _once(zip(offsets, records, strict=True))
            wider = self._width * 2 if size < AIM_BYTES // 2 else self._width
            self._width = min(MAX_RECORDS, max(1, self._width // 2) if size > AIM_BYTES else wider)
            at = until

    def _records(self, first: int, end: int) -> pa.Table:
        return self._connection.arrow(
            f"SELECT log_offset, record FROM tacho.{self.table}"  # noqa: S608 - quoted
            f" WHERE {self._of} AND log_offset >= {first} AND log_offset < {end}"
            " ORDER BY log_offset"
        )

    def beyond(self, offset: int, limit: int) -> list[tuple[int, bytes]]:
        """Rows at or after an offset, and below 0, some of them: (offset, record)."""
        rows = self._connection.arrow(
            f"SELECT DISTINCT log_offset, record FROM tacho.{self.table}"  # noqa: S608 - quoted
            f" WHERE {self._of} AND (log_offset >= {offset} OR log_offset < 0)"
            f" ORDER BY log_offset LIMIT {limit}"
        )
        return list(
            zip(
                rows.column("log_offset").to_pylist(),
                rows.column("record").cast(pa.binary()).to_pylist(),
                strict=True,
            )
        )


def _once(rows: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Rows in order of offsets without copies of the same. Of few rows that is cheap here, where
    the server would have to hash them all.
    """
    offset, known = -1, set[bytes]()
    for row in rows:
        if row[0] != offset:
            offset, known = row[0], {row[1]}
        elif row[1] in known:
            continue
        else:
            known.add(row[1])
        yield row


class Claimed(NamedTuple):
    """A place that rows of a log claim."""

    tree: TreeId
    table: str


def places(connection: Connection) -> Iterator[Claimed]:
    """Every place that rows of the logs claim."""
    for table in LOGS.values():
        rows = connection.rows(
            f"SELECT DISTINCT log_cluster, log_topic, log_partition FROM tacho.{table}"  # noqa: S608
        )
        for cluster, topic, partition in rows:
            yield Claimed(TreeId(str(cluster), str(topic), int(partition)), table)
