"""The Merkle tree of RFC 6962 (SHA-256): leaves, roots, proofs. Pure.

A tree of n leaves splits at the largest power of two below n. What is kept to go on with it is its
right edge: the roots of its full subtrees, largest first, as many as n has ones in binary.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
_LEAF, _NODE = b"\x00", b"\x01"


class BadEdge(ValueError):
    """The hashes are not the right edge of a tree of that size."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash of a leaf."""
    return sha256(_LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return sha256(_NODE + left + right).digest()


class Edge:
    """The right edge of a growing tree: at most 64 hashes, however many leaves there were."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """Raises BadEdge when there are not as many hashes as subtrees."""
        self.size, self.hashes = size, list(hashes)
        fit = all(len(found) == HASH_BYTES for found in self.hashes)
        if len(self.hashes) != size.bit_count() or not fit:
            raise BadEdge(f"{len(self.hashes)} hashes are no edge of a tree of {size} leaves")

    def append(self, leaf: bytes) -> None:
        """Add the hash of one more leaf."""
        size, hashes = self.size, self.hashes
        while size & 1:
            leaf = sha256(_NODE + hashes.pop() + leaf).digest()
            size >>= 1
        hashes.append(leaf)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add the hashes of more leaves."""
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        """Root of the tree as it is now."""
        return _folded(self.hashes)

    def copy(self) -> "Edge":
        """An edge that grows on its own."""
        return Edge(self.size, self.hashes)


def _folded(hashes: Sequence[bytes]) -> bytes:
    """Root over full subtrees, largest first."""
    if not hashes:
        return EMPTY_ROOT
    found = hashes[-1]
    for left in reversed(hashes[:-1]):
        found = node_hash(left, found)
    return found


class Tree:
    """A whole tree, for proofs: 64 bytes a leaf."""

    def __init__(self, leaves: Iterable[bytes]) -> None:
        self._levels = [b"".join(leaves)]
        while len(below := self._levels[-1]) >= 2 * HASH_BYTES:
            pairs = range(0, len(below) - 2 * HASH_BYTES + 1, 2 * HASH_BYTES)
            self._levels.append(
                b"".join(sha256(_NODE + below[at : at + 2 * HASH_BYTES]).digest() for at in pairs)
            )
        self.size = len(self._levels[0]) // HASH_BYTES

    def leaf(self, number: int) -> bytes:
        """The hash of a leaf."""
        return self._levels[0][number * HASH_BYTES : (number + 1) * HASH_BYTES]

    def root(self, size: int | None = None) -> bytes:
        """Root of the first `size` leaves, or of all."""
        return self._root(0, self.size if size is None else size)

    def _root(self, begin: int, end: int) -> bytes:
        """Root of the leaves from `begin`, a multiple of a power of two not below their number."""
        hashes = []
        while begin < end:
            level = (end - begin).bit_length() - 1
            at = (begin >> level) * HASH_BYTES
            hashes.append(self._levels[level][at : at + HASH_BYTES])
            begin += 1 << level
        return _folded(hashes)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The audit path of a leaf in the tree of the first `size` leaves, nearest first."""
        begin, end, path = 0, size, []
        while end - begin > 1:
            middle = begin + _split(end - begin)
            if index < middle:
                path.append(self._root(middle, end))
                end = middle
            else:
                path.append(self._root(begin, middle))
                begin = middle
        return path[::-1]

    def consistency(self, old: int, size: int) -> list[bytes]:
        """Proof that the tree of the first `size` leaves continues that of the first `old`."""
        if old in (0, size):
            return []
        begin, end, path, whole = 0, size, [], True
        while old != end:
            middle = begin + _split(end - begin)
            if old <= middle:
                path.append(self._root(middle, end))
                end = middle
            else:
                path.append(self._root(begin, middle))
                begin, whole = middle, False
        return path[::-1] if whole else [self._root(begin, end), *path[::-1]]


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def root_of_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that an audit path leads to; None when it cannot be one of such a tree."""
    at, last, found = index, size - 1, leaf
    if not 0 <= index < size:
        return None
    for other in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            found = node_hash(other, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, other)
        at, last = at >> 1, last >> 1
    return found if last == 0 else None


def consistent(old: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether a consistency proof holds (RFC 9162, 2.1.4.2)."""
    if old in {0, size}:
        return not path and (old_root == root if old else old_root == EMPTY_ROOT)
    steps = list(path) if old & (old - 1) else [old_root, *path]
    if not 0 < old < size or not steps:
        return False
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = steps[0]
    for other in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            before, after = node_hash(other, before), node_hash(other, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, other)
        at, last = at >> 1, last >> 1
    return before == old_root and after == root and last == 0
