"""Actions that wait to be measured: nothing is said of them before time goes on, and many together
cost little more than few.
"""

from typing import Final

import polars as pl

from tachograph.detectors.behaviour.features import PANE_US
from tachograph.detectors.behaviour.rows import ASKED
from tachograph.detectors.frames import times_us

MOST_ROWS: Final = 4_096
MOST_FRAMES: Final = 256
MOST_BYTES: Final = 4 * 2**20


class Waiting:
    """Frames of actions, up to a limit. Not thread-safe."""

    def __init__(self) -> None:
        self._frames: list[pl.DataFrame] = []
        self._rows = self._bytes = 0
        self._first_us: int | None = None

    def add(self, actions: pl.DataFrame) -> None:
        """Take actions in."""
        here = frozenset(actions.columns)
        asked = actions[[name for name in ASKED if name in here]]
        self._frames.append(asked)
        self._rows += asked.height
        self._bytes += int(asked.estimated_size())
        times = asked.get_column("event_time", default=None)
        first_us = times_us(times).min() if times is not None else None
        if isinstance(first_us, int):
            self._first_us = first_us if self._first_us is None else min(self._first_us, first_us)

    @property
    def full(self) -> bool:
        """Whether they are to be taken now."""
        many = self._rows >= MOST_ROWS or len(self._frames) >= MOST_FRAMES
        return many or self._bytes >= MOST_BYTES

    def take(self, before: int | None = None) -> pl.DataFrame | None:
        """All that waits; None: nothing does. `before`: only if some may belong to a base pane
        before this one.
        """
        if not self._frames:
            return None
        first_us = self._first_us
        if before is not None and (first_us is None or first_us // PANE_US >= before):
            return None
        frames, self._frames, self._rows, self._bytes = self._frames, [], 0, 0
        self._first_us = None
        return frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed")
