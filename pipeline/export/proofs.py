"""Proofs of the records of one tree: that each is in it, and that its heads are of one history."""

import bisect
from collections.abc import Iterable
from typing import Any

from tachograph.pipeline.errors import Refused
from tachograph.pipeline.export.select import Chosen
from tachograph.pipeline.notarize.leaves import LOGS, Leaves
from tachograph.pipeline.notarize.merkle import Tree
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.verify.findings import TreeId
from tachograph.pipeline.verify.rows import Rows
from tachograph.schemas.records import TreeHead


class TreeProofs:
    """A tree as its newest head says it is, held in memory: about a hundred bytes a leaf."""

    def __init__(self, connection: Connection, tree: TreeId, heads: list[TreeHead]) -> None:
        """Raises Refused when the stored leaves do not make what was signed."""
        self.tree, self.heads, self.newest = tree, heads, heads[-1]
        self._leaves = Leaves(tree.place)
        rows = Rows(connection, tree, LOGS[tree.topic])
        self._offsets: list[int] = []
        hashes = []
        for some in rows.leaves(self.newest.size):
            self._offsets += [leaf.offset for leaf in some]
            hashes += [leaf.hash for leaf in some]
        self._tree = Tree(hashes)
        if self._tree.size != self.newest.size or self._tree.root().hex() != self.newest.root:
            raise Refused(
                f"the leaves of {tree} do not make the root that was signed: `tacho verify` says"
                " what is wrong"
            )

    def covers(self, offset: int) -> bool:
        """Whether the newest head covers an offset."""
        return offset < self.newest.next_offset

    def inclusion(self, chosen: Chosen) -> dict[str, Any]:
        """A record with the proof that it is in the tree. Raises Refused when it is not."""
        number = bisect.bisect_left(self._offsets, chosen.offset)
        leaf = self._leaves.of_record(chosen.offset, chosen.record)
        there = number < self._tree.size and self._offsets[number] == chosen.offset
        if not there or leaf != self._tree.leaf(number):
            raise Refused(
                f"the record of {self.tree} at offset {chosen.offset} is not what was notarized:"
                " `tacho verify` says more"
            )
        path = self._tree.inclusion(number, self.newest.size)
        return {
            **_named(self.tree),
            "offset": chosen.offset,
            "record": chosen.record.decode(),
            "leaf_index": number,
            "tree_size": self.newest.size,
            "inclusion": [found.hex() for found in path],
        }

    def first_covering(self, offsets: Iterable[int]) -> list[TreeHead]:
        """The earliest signed heads that cover these offsets, each once, and the newest."""
        ends = [head.next_offset for head in self.heads]
        wanted = {bisect.bisect_right(ends, offset) for offset in offsets}
        return [head for at, head in enumerate(self.heads) if at in wanted | {len(ends) - 1}]

    def consistency(self, head: TreeHead) -> dict[str, Any]:
        """The proof that the newest tree continues that of an earlier head."""
        path = self._tree.consistency(head.size, self.newest.size)
        return {
            **_named(self.tree),
            "old_size": head.size,
            "tree_size": self.newest.size,
            "consistency": [found.hex() for found in path],
        }


def _named(tree: TreeId) -> dict[str, Any]:
    return {"cluster": tree.cluster, "topic": tree.topic, "partition": tree.partition}
