"""How long a stage gathers records before it works on them.

A round has a cost of its own, whatever it holds. A stage that begins one as soon as anything is
there spends a whole core on pieces of a few records, and on a small machine keeps all others from
running. So a round that cost much is followed by one that gathers for longer, the more it had to
wait for a core: then others need it too. Where little comes, nothing waits for anything.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# Time spent gathering to processor time, where others wait for a core. With 3 a stage whose rounds
# are small takes a quarter of a core at most, and a record waits for three times what the round
# before it took.
REST: Final = 3.0
# The same where nobody waits: half a core at most.
IDLE_REST: Final = 1.0
LONGEST_S: Final = 0.3
# So much of a round spent waiting for a core, and others need it.
BUSY_SHARE: Final = 0.25
# Of this thread: nanoseconds on a core, nanoseconds it waited for one, and how often. Linux.
_SCHEDULED: Final = Path("/proc/thread-self/schedstat")


def waited_s() -> float | None:
    """How long this thread has waited for a core so far; None where nobody knows."""
    try:
        return int(_SCHEDULED.read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None


class Pace:
    """The rounds of one stage. Used by one thread."""

    def __init__(
        self,
        *,
        rest: float = REST,
        idle_rest: float | None = None,
        longest_s: float = LONGEST_S,
        now_s: Callable[[], float] = time.monotonic,
        spent_s: Callable[[], float] = time.process_time,
        waited_s: Callable[[], float | None] = waited_s,
    ) -> None:
        """`rest`: how many times what a round has cost is gathered before the next; no longer than
        `longest_s`. `idle_rest`: so many times where it did not wait for a core. `spent_s`:
        processor time so far; `waited_s`: what this thread has waited for a core so far.
        """
        self._rest, self._longest_s = rest, longest_s
        self._idle_rest = rest if idle_rest is None else idle_rest
        self._now_s, self._spent_s, self._waited_s = now_s, spent_s, waited_s
        self._until_s = now_s()

    def left_s(self) -> float:
        """So long from now on the stage should go on gathering; 0: it may work at once."""
        return max(0.0, self._until_s - self._now_s())

    @contextmanager
    def working(self) -> Iterator[None]:
        """A round's work: what it costs says how long the next one gathers."""
        begin_s, waited_s = self._spent_s(), self._waited_s()
        try:
            yield
        finally:
            self.worked(self._spent_s() - begin_s, _between(waited_s, self._waited_s()))

    def worked(self, cost_s: float, waited_s: float | None = None) -> None:
        """A round has ended that cost so much, and waited so long for a core (None: not known)."""
        busy = 1.0
        if waited_s is not None:
            busy = min(1.0, waited_s / (BUSY_SHARE * max(cost_s + waited_s, 1e-9)))
        rest = self._idle_rest + (self._rest - self._idle_rest) * busy
        self._until_s = self._now_s() + min(rest * cost_s, self._longest_s)


def _between(begin_s: float | None, end_s: float | None) -> float | None:
    return None if begin_s is None or end_s is None else end_s - begin_s
