"""All trees, and the rows that no head covers."""

from pathlib import Path

import msgspec

from tachograph.pipeline.notarize.keys import Ring
from tachograph.pipeline.notarize.leaves import LOGS
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.verify.anchors import (
    Deleted,
    Trees,
    anchors,
    compare_table,
    id_of,
    read_deletions,
    stored_heads,
)
from tachograph.pipeline.verify.findings import Report, TreeId, TreeSummary
from tachograph.pipeline.verify.kafka import KafkaLog
from tachograph.pipeline.verify.rows import Claimed, Rows, places
from tachograph.pipeline.verify.trees import TreeCheck
from tachograph.pipeline.verify.views import check_shown
from tachograph.schemas.records import TreeHead

# Rows that no head covers: more are not held against the log one by one.
MAX_NEWER = 10_000


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """What a check believes: files, and the broker if it is asked."""

    heads: Path
    deletions: Path
    ring: Ring
    kafka: Settings | None = None
    shown: bool = True  # what the views show is checked, too


def check(connection: Connection, sources: Sources) -> Report:
    """Check everything that stands in ClickHouse. Raises RetryLater, Refused."""
    report = Report()
    # Heads go to the file first: read the other way round, the table has none that the file lacks.
    copies = stored_heads(connection)
    trees = anchors(sources.heads, sources.kafka, sources.ring, report)
    compare_table(trees, copies, sources.ring, report)
    deleted = Deleted(read_deletions(sources.deletions), sources.ring, report)
    for tree, heads in trees.items():
        if tree.topic in LOGS:
            TreeCheck(Rows(connection, tree, LOGS[tree.topic]), heads, deleted, report).run()
            report.trees.append(summary(tree, heads))
    log = KafkaLog(sources.kafka) if sources.kafka else None
    for claimed in places(connection):
        _newer(Rows(connection, claimed.tree, claimed.table), claimed, trees, log, report)
    if sources.shown and report.trees:
        check_shown(connection, deleted, report)
    return report


def summary(tree: TreeId, heads: list[TreeHead]) -> TreeSummary:
    """How far a tree goes."""
    newest = heads[-1]
    return TreeSummary(
        cluster=tree.cluster, topic=tree.topic, partition=tree.partition, leaves=newest.size,
        heads=len(heads), next_offset=newest.next_offset, signed_at=newest.signed_at,
        key_id=newest.key_id,
    )  # fmt: skip


def _newer(
    rows: Rows, claimed: Claimed, trees: Trees, log: KafkaLog | None, report: Report
) -> None:
    """Rows that no head covers: on their way to one, or never in the log."""
    tree, table = claimed
    if LOGS.get(tree.topic) != table:
        report.find(
            "added", f"no record of {tree.topic} belongs into this table", tree, table=table
        )
        return
    start = trees[tree][-1].next_offset if tree in trees else 0
    found = rows.beyond(start, MAX_NEWER)
    known = log.records(tree, start, MAX_NEWER) if found and log is not None else None
    unproved = []
    for offset, record in found:
        where = {"first": offset, "last": offset, "table": table, "id": id_of(record)}
        if offset < 0 or (known is not None and known.lacks(offset)):
            report.find("added", "the log has no such record", tree, **where)
        elif known is None or known.holds(offset) is None:
            unproved.append(offset)
        elif known.holds(offset) != record:
            report.find("changed", "the row is not what stands in the log", tree, **where)
        else:
            report.newer += 1
    if unproved:
        report.find(
            "unproved", f"{len(unproved)} row(s) are newer than the newest head, or have none",
            tree, first=unproved[0], last=unproved[-1], table=table,
        )  # fmt: skip
