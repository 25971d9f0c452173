"""One tree as it grows: leaves that are not stored yet, and where the log goes on. Pure."""

from typing import NamedTuple

import msgspec

from tachograph.pipeline.kafka.reader import Place
from tachograph.pipeline.notarize.leaves import Leaf, Leaves
from tachograph.pipeline.notarize.merkle import Edge


class Placed(NamedTuple):
    """A leaf and its place in the tree."""

    place: Place
    number: int  # from 0
    leaf: Leaf


class Growing(msgspec.Struct, kw_only=True):
    """The tree of one place. `next_offset` is the first offset that no leaf covers."""

    place: Place
    leaves: Leaves
    edge: Edge
    next_offset: int
    signed_us: int  # when its newest head was signed, or the tree taken up
    pending: list[Placed] = msgspec.field(default_factory=list)
    oldest_us: int = 0  # since when there are leaves without a head

    def take(self, offset: int, value: bytes | None, now_us: int) -> None:
        """Take in what was read at an offset; what is known already changes nothing."""
        if offset < self.next_offset:
            return
        self.skip_to(offset, now_us)
        self._grow(self.leaves.read(offset, value), now_us)

    def skip_to(self, offset: int, now_us: int) -> None:
        """Say of the offsets before this one that they were gone."""
        if offset > self.next_offset:
            self._grow(self.leaves.none("gone", self.next_offset, offset), now_us)

    def _grow(self, leaf: Leaf, now_us: int) -> None:
        if not self.pending:
            self.oldest_us = now_us
        self.pending.append(Placed(self.place, self.edge.size, leaf))
        self.edge.append(leaf.hash)
        self.next_offset = leaf.until

    def due(self, now_us: int, *, every_us: int, anew_us: int) -> bool:
        """Whether it needs a head: leaves have waited for one, or the newest one is old."""
        waited = bool(self.pending) and now_us - self.oldest_us >= every_us
        return waited or (self.edge.size > 0 and now_us - self.signed_us >= anew_us)
