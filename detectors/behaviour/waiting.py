"""Actions that wait to be measured: nothing is said of them before time goes on, and many together
cost little more than few.
"""

from typing import Final

import polars as pl

from tachograph.detectors.behaviour.rows import ASKED

MOST_ROWS: Final = 4_096
MOST_FRAMES: Final = 256
MOST_BYTES: Final = 4 * 2**20


class Waiting:
    """Frames of actions, up to a limit. Not thread-safe."""

    def __init__(self) -> None:
        self._frames: list[pl.DataFrame] = []
        self._rows = self._bytes = 0

    def add(self, actions: pl.DataFrame) -> None:
        """Take actions in."""
        asked = actions.select([name for name in ASKED if name in actions.columns])
        self._frames.append(asked)
        self._rows += asked.height
        self._bytes += int(asked.estimated_size())

    @property
    def full(self) -> bool:
        """Whether they are to be taken now."""
        many = self._rows >= MOST_ROWS or len(self._frames) >= MOST_FRAMES
        return many or self._bytes >= MOST_BYTES

    def take(self) -> pl.DataFrame | None:
        """All that waits; None: nothing does."""
        if not self._frames:
            return None
        frames, self._frames, self._rows, self._bytes = self._frames, [], 0, 0
        return frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed")
