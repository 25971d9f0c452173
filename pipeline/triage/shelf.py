"""How long entries stay: bounded in age, number and bytes, the longest untouched leaving first."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

# An entry whose bucket is this long untouched gets no more records in the ordinary course.
KEEP_MS = 6 * 3_600_000
MAX_ENTRIES = 100_000
MAX_BYTES = 256 * 1_048_576


class Shelf:
    """Keys of one process's entries by the time they were touched. Holds no entries itself."""

    def __init__(
        self, *, keep_ms: int = KEEP_MS, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES
    ) -> None:
        self._keep_ms, self._max_entries, self._max_bytes = keep_ms, max_entries, max_bytes
        self._order: OrderedDict[bytes, tuple[int, int, int]] = OrderedDict()
        self._bytes = 0
        self._now_ms = 0

    def __len__(self) -> int:
        return len(self._order)

    def touch(self, key: bytes, partition: int, at_ms: int, size_bytes: int) -> None:
        """An entry was written at `at_ms` by Kafka's clock."""
        self.forget(key)
        self._order[key] = (partition, at_ms, size_bytes)
        self._bytes += size_bytes
        self._now_ms = max(self._now_ms, at_ms)

    def forget(self, key: bytes) -> None:
        """An entry is gone."""
        held = self._order.pop(key, None)
        if held:
            self._bytes -= held[2]

    def rebuild(self, entries: Iterable[tuple[bytes, int, int, int]]) -> None:
        """Start again from (key, partition, at_ms, size_bytes) in any order."""
        self._order.clear()
        self._bytes = 0
        for key, partition, at_ms, size_bytes in sorted(entries, key=lambda item: item[2]):
            self.touch(key, partition, at_ms, size_bytes)

    def leaving(self) -> Iterator[tuple[bytes, int, str]]:
        """Take out what is too old or too much: (key, partition, why)."""
        while self._order:
            key, (partition, at_ms, _) = next(iter(self._order.items()))
            if at_ms + self._keep_ms < self._now_ms:
                why = "expired"
            elif len(self._order) > self._max_entries or self._bytes > self._max_bytes:
                why = "evicted"
            else:
                return
            self.forget(key)
            yield key, partition, why
