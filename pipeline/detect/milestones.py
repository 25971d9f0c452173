"""Where in a partition's log a time of observation begins, so that a stretch can be read again.

The times of Kafka's records are our stages' own and say nothing of that.
"""

from bisect import bisect_left

# One milestone in so many microseconds of observed time, for as long as the longest window and the
# records beside it may reach back.
EVERY_US = 10_000_000
MAX_MILESTONES = 20_000


class Milestones:
    """(newest time observed so far, next offset), both ascending; the newest MAX_MILESTONES."""

    def __init__(self) -> None:
        # The newest time observed so far; None: nothing was.
        self.newest_us: int | None = None
        self._reached: list[int] = []
        self._offsets: list[int] = []

    def __len__(self) -> int:
        return len(self._reached)

    def note(self, observed_us: int, next_offset: int) -> None:
        """Among the records before `next_offset` are some observed as late as this."""
        newest = max(observed_us, observed_us if self.newest_us is None else self.newest_us)
        self.newest_us = newest
        if len(self._reached) > 1 and newest < self._reached[-2] + EVERY_US:
            self._reached[-1], self._offsets[-1] = newest, next_offset
            return
        self._reached.append(newest)
        self._offsets.append(next_offset)
        if len(self._reached) > 2 * MAX_MILESTONES:
            del self._reached[:MAX_MILESTONES], self._offsets[:MAX_MILESTONES]

    def before(self, observed_us: int) -> int | None:
        """An offset before which every record was observed earlier than this; None: none is known
        of.
        """
        at = bisect_left(self._reached, observed_us)
        return self._offsets[at - 1] if at else None

    def state(self) -> tuple[int | None, list[tuple[int, int]]]:
        return self.newest_us, list(zip(self._reached, self._offsets, strict=True))

    def restore(self, state: tuple[int | None, list[tuple[int, int]]]) -> None:
        self.newest_us, pairs = state
        self._reached = [reached for reached, _ in pairs]
        self._offsets = [offset for _, offset in pairs]
