"""What each agent had met before: sketches of its targets, tools and services.

What is met becomes known when its epoch is over. A window is held against what was known when it
began: the longest against the beginning of its hour, all others against that of their epoch; else
what was new in an hour's first minutes would be old by its end.

Of targets two generations are remembered: when a sketch is nearly half full it becomes the older
one, and a new one begins. So who meets much that is new can still be seen to do so, what is met
again and again is never forgotten, and what was not met for two generations is new again.
"""

import zlib
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour.baselines import EPOCH_PANES
from tachograph.detectors.behaviour.features import SCALES
from tachograph.detectors.behaviour.measures import KNOWN_WORDS
from tachograph.detectors.behaviour.rows import TARGETS

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

# Bits of a sketch of targets at which another one begins.
FULL_BITS: Final = 112
_LONGEST: Final = len(SCALES) - 1
_HOUR_EPOCHS: Final = SCALES[_LONGEST].panes // EPOCH_PANES
_MANY: Final = len(TARGETS)
# What is kept: the generation that is gathered, the one before it, what was met since the epoch
# began, and what was known when the hour began.
_GATHERED, _OLDER, _COMING, _OF_HOUR = range(4)


class MetState(msgspec.Struct, frozen=True, array_like=True):
    """As it is dumped, compressed."""

    words: bytes


class Met:
    """Sketches by slot. Not thread-safe."""

    def __init__(self) -> None:
        self._words: Words = np.zeros((4, 0, KNOWN_WORDS), np.uint64)

    def grow(self, size: int) -> None:
        """Room for slots below `size`."""
        count = self._words.shape[1]
        if size > count:
            more = np.zeros((4, max(size - count, count), KNOWN_WORDS), np.uint64)
            self._words = np.concatenate([self._words, more], axis=1)

    def forget(self, slots: list[int]) -> None:
        """These slots begin anew."""
        self._words[:, slots] = 0

    def before(self, slots: Ints, scales: Ints) -> Words:
        """What was known when windows of these slots and lengths began: (windows, words)."""
        known = self._words[_GATHERED, slots] | self._words[_OLDER, slots]
        longest = (scales == _LONGEST)[:, None]
        found: Words = np.where(longest, self._words[_OF_HOUR, slots], known)
        return found

    def note(self, slots: Ints, words: Words) -> None:
        """These were met; known from the next epoch on. A slot may occur several times."""
        np.bitwise_or.at(self._words[_COMING], slots, words)

    def fold(self, epoch: int, following: int) -> None:
        """An epoch is over, and another one begins."""
        gathered, older, coming, _ = self._words
        gathered |= coming
        coming[:] = 0
        full = np.bitwise_count(gathered[:, :_MANY]).astype(np.int64).sum(axis=1) >= FULL_BITS
        older[full, :_MANY] = gathered[full, :_MANY]
        gathered[full, :_MANY] = 0
        if following // _HOUR_EPOCHS > epoch // _HOUR_EPOCHS:
            self._words[_OF_HOUR] = gathered | older

    def state(self, size: int) -> MetState:
        """The slots below `size`."""
        return MetState(zlib.compress(self._words[:, :size].astype("<u8").tobytes(), 1))

    def restore(self, state: MetState, size: int) -> None:
        """Take up a state. Raises ValueError when it is of another shape."""
        flat = np.frombuffer(zlib.decompress(state.words), "<u8").astype(np.uint64)
        self._words = flat.reshape(4, size, KNOWN_WORDS).copy()
