"""From hashes to numbers, many at a time."""

import numpy as np

from tachograph.detectors.correlation.arrays import Ints, Words

_FIRST_CAPACITY = 256
# Odd and with its bits well spread: the top bits of a product depend on all of a key.
_ODD = np.uint64(0x9E3779B97F4A7C15)


class HashMap:
    """Keys are hashes under a secret seed, so none can be made to collide; 0 is no key."""

    def __init__(self) -> None:
        self._size = 0
        self._make(_FIRST_CAPACITY)

    def __len__(self) -> int:
        return self._size

    def _make(self, capacity: int) -> None:
        self._mask = capacity - 1
        self._shift = np.uint64(64 - (capacity.bit_length() - 1))
        self._keys = np.zeros(capacity, np.uint64)
        self._values = np.zeros(capacity, np.int64)

    def get(self, keys: Words) -> Ints:
        """The number of each key; -1 where there is none."""
        at = self._find(keys)
        found = self._values[at]
        found[(self._keys[at] != keys) | (keys == 0)] = -1
        return found

    def put(self, keys: Words, values: Ints) -> None:
        """Keep these numbers, in place of what was there; each key is given once."""
        known = keys != 0
        if not known.all():
            keys, values = keys[known], values[known]
        if 2 * (self._size + len(keys)) > self._mask:
            self._grow(self._size + len(keys))
        todo = np.arange(len(keys))
        while len(todo):
            at = self._find(keys[todo])
            fresh = self._keys[at] == 0
            # Of several keys that want one free place the last gets it; the others look on.
            self._keys[at] = keys[todo]
            won = self._keys[at] == keys[todo]
            self._size += int((fresh & won).sum())
            self._values[at[won]] = values[todo[won]]
            todo = todo[~won]

    def clear(self) -> None:
        """Forget all."""
        self.__init__()  # type: ignore[misc]

    def _find(self, keys: Words) -> Ints:
        """Where each key is, or could be put."""
        at = ((keys * _ODD) >> self._shift).astype(np.int64)
        todo = np.arange(len(keys))
        while len(todo):
            held = self._keys[at[todo]]
            todo = todo[(held != 0) & (held != keys[todo])]
            at[todo] = (at[todo] + 1) & self._mask
        return at

    def _grow(self, need: int) -> None:
        used = self._keys != 0
        keys, values = self._keys[used], self._values[used]
        self._make(1 << (4 * need).bit_length())
        self._size = 0
        self.put(keys, values)
