"""One tree: leaves that the rows make, leaves as stored, and the signed heads that decide.

Each head holds the edge of its tree, so each stretch between two heads is judged by itself, from
what is signed. If the stored leaves make the next root they are right, and rows that make other
leaves were changed. If the rows do and the leaves do not, the leaves were. If neither does, both.
"""

from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any, NamedTuple, Protocol

from tachograph.pipeline.notarize.heads import edge_of
from tachograph.pipeline.notarize.leaves import Leaves
from tachograph.pipeline.notarize.merkle import Edge
from tachograph.pipeline.verify.ahead import Ahead
from tachograph.pipeline.verify.anchors import Deleted, id_of
from tachograph.pipeline.verify.findings import Report, TreeId
from tachograph.pipeline.verify.rows import StoredLeaf
from tachograph.schemas.records import TreeHead

# Rows of a stretch that are compared with each other, to see which were exchanged. Of more, only
# their ids are held.
MAX_EXCHANGED = 200
# Leaves that are judged at once, with their records in memory; larger stretches go leaf by leaf.
MAX_AT_ONCE = 10_000
MAX_AT_ONCE_BYTES = 64 << 20
_FEW = 50


class Odd(NamedTuple):
    """A leaf that its row does not make: there is none, or another, or another one beside it."""

    leaf: StoredLeaf
    made: bytes | None
    copies: list[bytes]  # records that make another leaf


class Stretch:
    """Leaves since the last head."""

    def __init__(self, edge: Edge, first: int) -> None:
        self.edge, self.first = edge, first
        self.stored: list[bytes] = []
        self.made: list[bytes | None] = []
        self.odd: list[Odd] = []

    def add(self, leaf: StoredLeaf, made: bytes | None, copies: list[bytes]) -> None:
        """Take in a leaf, what its row makes, and the records that make another."""
        self.stored.append(leaf.hash or made or b"")
        self.made.append(made)
        if copies or made != self.stored[-1]:
            kept = copies if len(self.odd) < MAX_EXCHANGED else [_named(copy) for copy in copies]
            self.odd.append(Odd(leaf, made, kept))

    def makes(self, root: str) -> str:
        """What makes a root: stored leaves, rows (`made`), or neither."""
        if _root(self.edge, self.stored) == root:
            return "stored"
        if self.made != self.stored and None not in self.made:
            return "made" if _root(self.edge, [made or b"" for made in self.made]) == root else ""
        return ""


def _some(records: Ahead[tuple[int, bytes]], count: int) -> list[tuple[int, bytes]]:
    """So many of the next records, fewer where they are too large."""
    found, size = list[tuple[int, bytes]](), 0
    while len(found) < count and size < MAX_AT_ONCE_BYTES:
        some = records.some(min(count - len(found), _FEW))
        if not some:
            break
        found += some
        size += sum(len(record) for _, record in some)
    return found


def _root(edge: Edge, leaves: list[bytes]) -> str:
    grown = edge.copy()
    grown.extend(leaves)
    return grown.root().hex()


def _named(record: bytes) -> bytes:
    """As little of a record as is needed to say which it is."""
    return b'{"alert_id":"%s"}' % id_of(record).encode()


class Source(Protocol):
    """What stands in ClickHouse of one tree."""

    tree: TreeId
    table: str

    def leaves(self, end: int) -> Iterator[list[StoredLeaf]]: ...

    def records(self, first: int, end: int) -> Iterator[tuple[int, bytes]]: ...


class TreeCheck:
    """Checks one tree against its heads."""

    def __init__(
        self,
        rows: Source,
        heads: list[TreeHead],
        deleted: Deleted,
        report: Report,
        *,
        max_at_once: int = MAX_AT_ONCE,
    ) -> None:
        self._max_at_once = max_at_once
        self._rows, self._heads, self._deleted, self._report = rows, heads, deleted, report
        self._tree, self._leaves = rows.tree, Leaves(rows.tree.place)
        self._wrong: list[tuple[StoredLeaf, bytes]] = []  # rows that make no leaf of theirs

    def run(self) -> None:
        """Check every leaf and row that the heads cover. Raises RetryLater, Refused."""
        newest = self._heads[-1]
        leaves = Ahead(chain.from_iterable(self._rows.leaves(newest.size)))
        records = Ahead(self._rows.records(0, newest.next_offset))
        edge, offset = Edge(), 0
        for head in self._heads:
            if not self._holds(edge, offset, head, leaves, records):
                self._look_closely(edge, offset, head, StoredLeaves(leaves), Records(records))
            edge, offset = edge_of(head), head.next_offset
        self._tell_wrong()

    def _holds(
        self,
        edge: Edge,
        offset: int,
        head: TreeHead,
        leaves: Ahead[StoredLeaf],
        records: Ahead[tuple[int, bytes]],
    ) -> bool:
        """Whether the stretch up to a head is as it should be: one record at every offset, and what
        they make is stored and makes the root. Nearly all are; of others nothing is taken.
        """
        count = head.size - edge.size
        if count > self._max_at_once or head.next_offset - offset != count:
            return False
        stored, rows = leaves.some(count), _some(records, count)
        numbers, offsets = range(edge.size, head.size), range(offset, head.next_offset)
        untils, after = range(offset + 1, head.next_offset + 1), records.peek()
        if (
            [leaf[:4] for leaf in stored]
            == list(zip(numbers, repeat("record"), offsets, untils, strict=False))
            and [at for at, _ in rows] == [*offsets]
            and (after is None or after[0] >= head.next_offset)
        ):
            of_record = self._leaves.of_record
            made = [of_record(at, record) for at, record in rows]
            if made == [leaf.hash for leaf in stored] and _root(edge, made) == head.root:
                self._report.rows += count
                return True
        leaves.back(stored)
        records.back(rows)
        return False

    def _look_closely(
        self, edge: Edge, offset: int, head: TreeHead, stored: "StoredLeaves", records: "Records"
    ) -> None:
        """Take the stretch leaf by leaf, and tell what of it is wrong."""
        stretch = Stretch(edge, offset)
        for number in range(edge.size, head.size):
            leaf, fault = stored.take(number, offset, head.next_offset)
            if fault:
                self._report.find("leaf", fault, self._tree, table="leaves_log", first=offset)
            stretch.add(leaf, *self._from_row(leaf, records))
            offset = leaf.until
        self._decide(stretch, head)

    def _from_row(self, leaf: StoredLeaf, records: "Records") -> tuple[bytes | None, list[bytes]]:
        """The leaf that the row makes, if there is a row, and the records that make another."""
        copies = records.between(leaf.offset, leaf.until)
        self._report.rows += len(copies)
        if leaf.kind == "record":
            made = [self._leaves.of_record(leaf.offset, copy) for copy in copies]
            if not made:
                return None, []
            right = leaf.hash if leaf.hash in made else made[0]
            if leaf.hash in (b"", right):
                pairs = zip(copies, made, strict=True)
                return right, [copy for copy, each in pairs if each != right]
            return right, copies
        if leaf.kind == "gone":
            if copies:
                said = f"{len(copies)} row(s) were gone from the log when they were to be notarized"
                self._find("unproved", said, leaf)
            return self._leaves.of_none("gone", leaf.offset, leaf.until), []
        return self._leaves.of_none("refused", leaf.offset, leaf.until), copies

    def _decide(self, stretch: Stretch, head: TreeHead) -> None:
        """The stretch ends at a head: tell what of it is wrong."""
        match stretch.makes(head.root):
            case "stored":
                self._rows_are_wrong(stretch)
            case "made":
                self._leaves_are_wrong(stretch)
            case _:
                self._report.find(
                    "changed",
                    f"neither rows nor leaves make the root signed for {head.size} leaves: of these"
                    " rows some were changed, removed or added, and their leaves with them",
                    self._tree, first=stretch.first, last=head.next_offset - 1,
                    table=self._rows.table,
                )  # fmt: skip
                self._rows_are_wrong(stretch)

    def _rows_are_wrong(self, stretch: Stretch) -> None:
        """The stored leaves are those that were signed, as far as is known."""
        for odd in stretch.odd:
            if odd.leaf.kind == "record" and odd.made is None:
                self._row_is_gone(odd.leaf)
            elif odd.leaf.kind != "record" and odd.made != odd.leaf.hash:
                self._find("leaf", "the leaf is not what it is said to be", odd.leaf)
            for copy in odd.copies:
                self._row_is_wrong(odd.leaf, copy)

    def _row_is_gone(self, leaf: StoredLeaf) -> None:
        if self._deleted.covers(self._tree, leaf.offset):
            self._report.deleted += 1
        else:
            self._find("removed", "the row is gone", leaf)

    def _row_is_wrong(self, leaf: StoredLeaf, copy: bytes) -> None:
        if leaf.kind != "record":
            self._find("added", "no record was here when it was notarized", leaf, id=id_of(copy))
        elif len(self._wrong) < MAX_EXCHANGED:
            self._wrong.append((leaf, copy))
        else:
            self._find("changed", "the row is not what was notarized", leaf, id=id_of(copy))

    def _tell_wrong(self) -> None:
        """Tell the rows that are wrong, and of those that were exchanged whose they are."""
        offsets = {leaf.hash: leaf.offset for leaf, _ in self._wrong}
        for leaf, copy in self._wrong:
            came = next(
                (at for made, at in offsets.items() if self._leaves.of_record(at, copy) == made),
                None,
            )
            if came is None:
                self._find("changed", "the row is not what was notarized", leaf, id=id_of(copy))
            else:
                self._find("moved", f"the row is that of offset {came}", leaf, id=id_of(copy))

    def _leaves_are_wrong(self, stretch: Stretch) -> None:
        """The rows make the leaves that were signed: the first copy of each is right."""
        for odd in stretch.odd:
            if odd.made != odd.leaf.hash and odd.leaf.hash:
                said = "the leaf was changed; the row is what was notarized"
                self._find("leaf", said, odd.leaf, table="leaves_log")
            for copy in odd.copies:
                if self._made(odd.leaf, copy) != odd.made:
                    self._row_is_wrong(odd.leaf, copy)

    def _made(self, leaf: StoredLeaf, copy: bytes) -> bytes:
        return self._leaves.of_record(leaf.offset, copy)

    def _find(self, kind: Any, said: str, leaf: StoredLeaf, **more: Any) -> None:
        where = {"first": leaf.offset, "last": leaf.until - 1, "table": self._rows.table, **more}
        self._report.find(kind, said, self._tree, **where)


class StoredLeaves:
    """The table of leaves in order, with what should be where a row is missing or cannot be."""

    def __init__(self, rows: Ahead[StoredLeaf]) -> None:
        self._rows = rows

    def take(self, number: int, offset: int, end: int) -> tuple[StoredLeaf, str]:
        """The leaf of a number, which begins at `offset`, and what is wrong with it. The stretch
        ends at offset `end`.
        """
        while (leaf := self._rows.peek()) is not None and leaf.number < number:
            self._rows.pop()
        if leaf is None or leaf.number != number:
            until = leaf.offset if leaf is not None and leaf.number == number + 1 else offset + 1
            return _guess(number, offset, until, end, b""), f"leaf {number} is gone"
        self._rows.pop()
        if leaf.offset == offset < leaf.until <= end:
            return leaf, ""
        return (
            _guess(number, offset, leaf.until, end, leaf.hash),
            f"leaf {number} claims offsets that cannot be",
        )


def _guess(number: int, offset: int, until: int, end: int, found: bytes) -> StoredLeaf:
    """A leaf that begins where it must: of a record, or of a stretch without any."""
    last = until if offset < until <= end else offset + 1
    return StoredLeaf(number, "record" if last == offset + 1 else "gone", offset, last, found)


class Records:
    """Records by offset, taken once and in order."""

    def __init__(self, records: Ahead[tuple[int, bytes]]) -> None:
        self._records = records

    def between(self, first: int, end: int) -> list[bytes]:
        """Records at offsets [first, end); what is before them is passed over."""
        found = []
        while (ahead := self._records.peek()) is not None and ahead[0] < end:
            if ahead[0] >= first:
                found.append(ahead[1])
            self._records.pop()
        return found
