"""Evidence as store and notary leave it, and what somebody with every right may do to it."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from tachograph.pipeline.notarize.files import append_lines
from tachograph.pipeline.notarize.growing import Growing, Placed
from tachograph.pipeline.notarize.heads import heads_file, sign_head
from tachograph.pipeline.notarize.keys import Keys, SigningKey, read_ring
from tachograph.pipeline.notarize.leaves import LOGS, Leaves
from tachograph.pipeline.notarize.merkle import Edge
from tachograph.pipeline.notarize.records import HEADS_TABLE, LEAVES_TABLE, head_rows, leaf_rows
from tachograph.pipeline.retention.keeper import DELETIONS_FILE
from tachograph.pipeline.store import records
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.records import Origin
from tachograph.pipeline.store.sink import insert
from tachograph.pipeline.verify.anchors import (
    Deleted,
    anchors,
    compare_table,
    read_deletions,
    tree_id,
)
from tachograph.pipeline.verify.check import Sources, check, summary
from tachograph.pipeline.verify.findings import Report, TreeId
from tachograph.pipeline.verify.rows import StoredLeaf
from tachograph.pipeline.verify.trees import MAX_AT_ONCE, TreeCheck
from tachograph.schemas import codec
from tachograph.schemas.records import TreeHead
from tests.pipeline.notarize.evidence import record

CLUSTER = "cluster-one"
PLACE = ("agent.dispositions", 1)
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

Rows = list[tuple[int, bytes]]  # (offset, record)


class Notarized(NamedTuple):
    """A log as the notary saw it: what is true."""

    rows: Rows
    leaves: list[Placed]
    heads: list[TreeHead]


def notarized(key: SigningKey, values: Iterable[bytes | None], cuts: Iterable[int]) -> Notarized:
    """Leaves and heads of a log from offset 0 on; None was gone when the notary came."""
    tree = Growing(place=PLACE, leaves=Leaves(PLACE), edge=Edge(), next_offset=0, signed_us=0)
    found = Notarized([], [], [])
    wanted = set(cuts)
    for offset, value in enumerate(values):
        if value is None:
            continue
        tree.take(offset, value, 0)
        if value != b"{}":
            found.rows.append((offset, value))
        if tree.edge.size in wanted:
            found.heads.append(_head(key, tree))
    if not found.heads or found.heads[-1].size != tree.edge.size:
        found.heads.append(_head(key, tree))
    found.leaves.extend(tree.pending)
    return found


def _head(key: SigningKey, tree: Growing) -> TreeHead:
    return sign_head(key, CLUSTER, PLACE, tree.edge, next_offset=tree.next_offset, at=NOON)


def forged_leaves(rows: Rows, size: int) -> list[Placed]:
    """Leaves that fit the rows, as somebody writes them who knows how they are made."""
    made = Leaves(PLACE)
    leaves = [made.read(offset, value) for offset, value in rows]
    return [Placed(PLACE, number, leaf) for number, leaf in enumerate(leaves)][:size]


def empty(owner: Connection) -> None:
    """Empty every table of evidence."""
    for table in (*LOGS.values(), LEAVES_TABLE, HEADS_TABLE):
        owner.command(f"TRUNCATE TABLE tacho.{table}")


def stored(rows: Rows, cluster: str = CLUSTER, place: tuple[str, int] = PLACE) -> pa.Table:
    """Rows of the log's table."""
    table = LOGS[place[0]]
    made = [
        row
        for offset, value in rows
        for row in records.rows_of(Origin(place, offset, value, cluster), str)
        if row.table == table
    ]
    return records.table_of(table, made)


def put(owner: Connection, rows: Rows, leaves: list[Placed], heads: list[TreeHead]) -> None:
    """Write the tables."""
    empty(owner)
    if rows:
        insert(owner, LOGS[PLACE[0]], stored(rows))
    if leaves:
        insert(owner, LEAVES_TABLE, leaf_rows(CLUSTER, leaves))
    if heads:
        insert(owner, HEADS_TABLE, head_rows(heads))


def outside(home: Path, heads: list[TreeHead]) -> Sources:
    """What stands outside ClickHouse."""
    path = heads_file(home, {})
    path.unlink(missing_ok=True)
    append_lines(path, [codec.encode(head) for head in heads])
    ring = read_ring(home / "notary_keys.ndjson")
    return Sources(heads=path, deletions=home / DELETIONS_FILE, ring=ring)


def values(count: int, start: int = 0) -> list[bytes]:
    """So many records."""
    return [record(PLACE[0], number) for number in range(start, start + count)]


class Memory:
    """The tables of one tree, in memory."""

    def __init__(self, rows: Rows, leaves: list[Placed]) -> None:
        self.tree, self.table = TreeId(CLUSTER, *PLACE), LOGS[PLACE[0]]
        self._rows, self._leaves = sorted(set(rows)), leaves

    def leaves(self, end: int) -> Iterator[list[StoredLeaf]]:
        for one in self._leaves:
            if one.number < end:
                leaf = one.leaf
                yield [StoredLeaf(one.number, leaf.kind, leaf.offset, leaf.until, leaf.hash)]

    def records(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        return (row for row in self._rows if first <= row[0] < end)


def judged(
    sources: Sources,
    rows: Rows,
    leaves: list[Placed],
    heads: list[TreeHead],
    max_at_once: int = MAX_AT_ONCE,
) -> Report:
    """What a check says of tables in memory."""
    report = Report()
    trees = anchors(sources.heads, None, sources.ring, report)
    copies = [(tree_id(head), head.size, head.root, codec.encode(head)) for head in heads]
    compare_table(trees, copies, sources.ring, report)
    notes = Deleted(read_deletions(sources.deletions), sources.ring, report)
    for tree, found in trees.items():
        one = TreeCheck(Memory(rows, leaves), found, notes, report, max_at_once=max_at_once)
        one.run()
        report.trees.append(summary(tree, found))
    return report


def verified(reader: Connection, sources: Sources) -> Report:
    """What a check says."""
    return check(reader, sources)


def key_of(home: Path) -> SigningKey:
    """The notary's key."""
    return Keys(home, {}).signing()


def told(report: Report) -> set[tuple[str, int]]:
    """Kinds and offsets of what was found."""
    return {(finding.kind, finding.first) for finding in report.findings}
