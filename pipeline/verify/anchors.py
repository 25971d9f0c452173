"""What is believed: heads and signed deletions from outside ClickHouse, each with its signature.

From a file and the topic; ClickHouse's own table of heads is only compared with them.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.kafka.reader import Place
from tachograph.pipeline.notarize.files import read_lines
from tachograph.pipeline.notarize.heads import edge_of, heads_in_file, heads_in_topic, read_head
from tachograph.pipeline.notarize.keys import Ring
from tachograph.pipeline.notarize.merkle import BadEdge
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.verify.findings import Report, TreeId
from tachograph.schemas import codec
from tachograph.schemas.records import Deletion, TreeHead

HEADS_TABLE = "tree_heads_log"
Trees = dict[TreeId, list[TreeHead]]


def tree_id(record: TreeHead | Deletion) -> TreeId:
    """Which tree a record is about."""
    return TreeId(record.cluster, record.topic, record.partition)


def anchors(heads_file: Path, settings: Settings | None, ring: Ring, report: Report) -> Trees:
    """Heads by tree, by size, each size once. `settings`: where the topic is, if it is asked."""
    found: Trees = {}
    heads = [*heads_in_file(heads_file)]
    if settings is not None:
        try:
            heads += heads_in_topic(settings)
        except TachoError as error:
            report.notes.append(f"the topic of tree heads was not read: {error}")
    seen: dict[tuple[TreeId, int], TreeHead] = {}
    for head in heads:
        tree = tree_id(head)
        known = seen.get((tree, head.size))
        if known is not None and known.root == head.root:
            continue
        if not _sound(head, ring):
            report.find("head", f"the head of {head.size} leaves is not signed by us", tree)
        elif known is not None:
            report.find("head", f"two signed heads of {head.size} leaves differ", tree)
        else:
            seen[tree, head.size] = head
            found.setdefault(tree, []).append(head)
    return {tree: sorted(mine, key=lambda head: head.size) for tree, mine in sorted(found.items())}


def _sound(head: TreeHead, ring: Ring) -> bool:
    try:
        edge_of(head)
    except BadEdge:
        return False
    return ring.holds(head)


def stored_heads(connection: Connection) -> list[tuple[TreeId, int, str, bytes]]:
    """The table of heads: tree, size, root, and the signed head itself."""
    rows = connection.rows(
        "SELECT DISTINCT log_cluster, log_topic, log_partition, size, root, hex(record)"
        " FROM tacho.tree_heads_log"
    )
    return [
        (TreeId(str(cluster), str(topic), int(partition)), int(size), str(root),
         bytes.fromhex(record))
        for cluster, topic, partition, size, root, record in rows
    ]  # fmt: skip


def compare_table(
    trees: Trees, copies: list[tuple[TreeId, int, str, bytes]], ring: Ring, report: Report
) -> None:
    """Hold ClickHouse's table of heads against those from outside."""
    known = {(tree, head.size): head.root for tree, heads in trees.items() for head in heads}
    there: set[tuple[TreeId, int]] = set()
    for tree, size, root, record in copies:
        head = read_head(record)
        if (
            head is None
            or (tree_id(head), head.size, head.root) != (tree, size, root)
            or known.get((tree, size), root) != root
            or not ring.holds(head)
        ):
            report.find("head", f"the head of {size} leaves is forged", tree, table=HEADS_TABLE)
        else:
            there.add((tree, size))
            if (tree, size) not in known:
                _unknown(head, trees, report)
    for tree, heads in trees.items():
        for head in heads[:-1]:  # the newest may be on its way
            if (tree, head.size) not in there:
                report.find("head", f"the head of {head.size} leaves is gone", tree,
                            table=HEADS_TABLE)  # fmt: skip


def _unknown(head: TreeHead, trees: Trees, report: Report) -> None:
    newest = trees.get(tree_id(head))
    if newest is None or head.size > newest[-1].size:
        report.find(
            "unproved",
            f"a signed head of {head.size} leaves stands in ClickHouse alone: give the notary's"
            " file (--heads), or the broker",
            tree_id(head),
        )


class Deleted:
    """Offsets that signed notes say were deleted."""

    def __init__(self, notes: Iterable[Deletion], ring: Ring, report: Report) -> None:
        self._stretches: dict[TreeId, list[tuple[int, int]]] = {}
        for note in notes:
            if ring.holds(note):
                mine = self._stretches.setdefault(tree_id(note), [])
                mine += [(first, last) for first, last in note.offsets]
            else:
                report.find("head", "a note of deletion is not signed by us", tree_id(note))

    def covers(self, tree: TreeId, offset: int) -> bool:
        """Whether what stood at an offset was deleted."""
        return any(first <= offset <= last for first, last in self._stretches.get(tree, ()))

    def covers_place(self, place: Place, offset: int) -> bool:
        """Whether what stood there was deleted, in the log of any cluster."""
        return any(tree.place == place and self.covers(tree, offset) for tree in self._stretches)


def read_deletions(path: Path) -> list[Deletion]:
    """The notes of a file."""
    found = []
    for line in read_lines(path):
        try:
            found.append(codec.decode(Deletion, line))
        except codec.InvalidRecord:
            continue
    return [note for note in found if all(len(pair) == 2 for pair in note.offsets)]


def id_of(record: bytes) -> str:
    """What a record says it is: the first of its ids, cut short. For a person to find it by."""
    try:
        told = msgspec.json.decode(record, type=dict[str, msgspec.Raw])
        for name in ("alert_id", "snapshot_id", "directive_id"):
            if name in told:
                return str(msgspec.json.decode(told[name], type=str))[:64]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return ""
