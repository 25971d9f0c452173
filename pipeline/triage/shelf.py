"""How long entries stay: bounded in age, number and bytes, the longest untouched leaving first. One
whose bucket is not over is not too old, or what comes next would begin its alert anew.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

# An entry whose bucket is this long untouched gets no more records in the ordinary course.
KEEP_MS = 6 * 3_600_000
# A bucket is waited for so long at most: its times may be anything that an agent says.
MOST_MS = 24 * 3_600_000
MAX_ENTRIES = 100_000
MAX_BYTES = 256 * 1_048_576


class Shelf:
    """Keys of one process's entries by the time they were touched. Holds no entries itself."""

    def __init__(
        self, *, keep_ms: int = KEEP_MS, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES
    ) -> None:
        self._keep_ms, self._max_entries, self._max_bytes = keep_ms, max_entries, max_bytes
        self._order: OrderedDict[bytes, tuple[int, int, int, int]] = OrderedDict()
        self._bytes = 0
        self._now_ms = 0

    def __len__(self) -> int:
        return len(self._order)

    def touch(
        self, key: bytes, partition: int, at_ms: int, size_bytes: int, over_ms: int = 0
    ) -> None:
        """An entry was written at `at_ms` by Kafka's clock; its bucket is over at `over_ms`."""
        self.forget(key)
        self._order[key] = (partition, at_ms, size_bytes, min(over_ms, at_ms + MOST_MS))
        self._bytes += size_bytes
        self._now_ms = max(self._now_ms, at_ms)

    def forget(self, key: bytes) -> None:
        """An entry is gone."""
        held = self._order.pop(key, None)
        if held:
            self._bytes -= held[2]

    def rebuild(self, entries: Iterable[tuple[bytes, int, int, int, int]]) -> None:
        """Start again from (key, partition, at_ms, size_bytes, over_ms) in any order."""
        self._order.clear()
        self._bytes = 0
        for key, partition, at_ms, size_bytes, over_ms in sorted(entries, key=lambda one: one[2]):
            self.touch(key, partition, at_ms, size_bytes, over_ms)

    def leaving(self) -> Iterator[tuple[bytes, int, str]]:
        """Take out what is too old or too much: (key, partition, why)."""
        while self._order:
            key, (partition, at_ms, size_bytes, over_ms) = next(iter(self._order.items()))
            old = at_ms + self._keep_ms < self._now_ms
            if old and over_ms > self._now_ms:
                # As if touched now: nobody waits behind it.
                self._order[key] = (partition, self._now_ms, size_bytes, over_ms)
                self._order.move_to_end(key)
                continue
            if old:
                why = "expired"
            elif len(self._order) > self._max_entries or self._bytes > self._max_bytes:
                why = "evicted"
            else:
                return
            self.forget(key)
            yield key, partition, why
