"""How long a stage gathers records before it works on them.

A round has a cost of its own, whatever it holds. A stage that begins one as soon as anything is
there spends a whole core on pieces of a few records, and on a small machine keeps all others from
running. So a round that cost much is followed by one that gathers for longer; where little comes,
nothing waits for anything.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

# Time spent gathering to processor time. With 3 a stage whose rounds are small takes a quarter of a
# core at most, and a record waits for three times what the round before it took.
REST: Final = 3.0
LONGEST_S: Final = 0.3


class Pace:
    """The rounds of one stage. Used by one thread."""

    def __init__(
        self,
        *,
        rest: float = REST,
        longest_s: float = LONGEST_S,
        now_s: Callable[[], float] = time.monotonic,
        spent_s: Callable[[], float] = time.process_time,
    ) -> None:
        """`rest`: how many times what a round has cost is gathered before the next; no longer than
        `longest_s`. `spent_s`: processor time so far.
        """
        self._rest, self._longest_s = rest, longest_s
        self._now_s, self._spent_s = now_s, spent_s
        self._until_s = now_s()

    def left_s(self) -> float:
        """So long from now on the stage should go on gathering; 0: it may work at once."""
        return max(0.0, self._until_s - self._now_s())

    @contextmanager
    def working(self) -> Iterator[None]:
        """A round's work: what it costs says how long the next one gathers."""
        begin_s = self._spent_s()
        try:
            yield
        finally:
            self.worked(self._spent_s() - begin_s)

    def worked(self, cost_s: float) -> None:
        """A round has ended that cost so much."""
        self._until_s = self._now_s() + min(self._rest * cost_s, self._longest_s)
