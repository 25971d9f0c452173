"""The values that groups are known to have had, and when they last had them."""

import msgspec
import numpy as np

from tachograph.detectors.correlation.arrays import Bools, Growing, Ints, Words
from tachograph.detectors.correlation.hashmap import HashMap
from tachograph.detectors.correlation.stretch import LONG_AGO

_KINDS: dict[str, tuple[str, int]] = {
    "key": ("<u8", 0),  # group and value
    "gid": ("<u8", 0),
    "settled": ("<i8", 0),  # last time before the floor; LONG_AGO: never
    "latest": ("<i8", 0),  # last time at all
}


class KnownState(msgspec.Struct, frozen=True, array_like=True):
    """What is known, as it is dumped."""

    size: int
    columns: dict[str, bytes]
    evicted_until: int


class Known:
    """Bounded by value and group: what was not seen for longest goes first.

    Two times are kept of a value: one that nothing to come changes, to begin from when events come
    out of order, and one of all events.
    """

    def __init__(self, most: int, most_of_group: int) -> None:
        self._most, self._most_of_group = most, most_of_group
        self._map = HashMap()
        self._data = Growing(dict(_KINDS), 256)
        self._size = 0
        self.evicted = 0
        # Values that were last seen before this may have been forgotten to make room.
        self.evicted_until = LONG_AGO

    def __len__(self) -> int:
        return self._size

    def times(self, keys: Words, *, settled: bool) -> Ints:
        """When each value was last seen; LONG_AGO: never."""
        at = self._map.get(keys)
        found: Ints = self._data.columns["settled" if settled else "latest"][at]
        return np.where(at >= 0, found, LONG_AGO)

    def see(self, keys: Words, gids: Words, times: Ints, *, settled: bool) -> None:
        """These values, each given once, were seen last at these times."""
        at = self._map.get(keys)
        new = np.flatnonzero(at < 0)
        columns = self._data.columns
        if len(new):
            self._data.grow(self._size + len(new))
            columns = self._data.columns
            at[new] = np.arange(self._size, self._size + len(new))
            self._size += len(new)
            self._map.put(keys[new], at[new])
            columns["key"][at[new]], columns["gid"][at[new]] = keys[new], gids[new]
            columns["settled"][at[new]] = columns["latest"][at[new]] = LONG_AGO
        name = "settled" if settled else "latest"
        columns[name][at] = times
        if settled:
            columns["latest"][at] = np.maximum(columns["latest"][at], times)

    def unsee(self, keys: Words) -> None:
        """What was seen of these values after the floor was not."""
        at = self._map.get(keys)
        at = at[at >= 0]
        self._data.columns["latest"][at] = self._data.columns["settled"][at]

    def forget(self, before_us: int) -> None:
        """Values last seen before this time are new again; hold to the limits."""
        data = {name: column[: self._size] for name, column in self._data.columns.items()}
        kept = data["latest"] >= before_us
        over = self._over(data["gid"], data["latest"], kept)
        if over.any():
            self.evicted += int(over.sum())
            self.evicted_until = max(self.evicted_until, int(data["latest"][over].max()))
            kept &= ~over
        if kept.all():
            return
        self._size = int(kept.sum())
        for name, column in data.items():
            self._data.columns[name][: self._size] = column[kept]
        self._map.clear()
        self._map.put(self._data.columns["key"][: self._size], np.arange(self._size))

    def full(self) -> bool:
        """There is more than may be."""
        return self._size > self._most

    def _over(self, gids: Words, latest: Ints, kept: Bools) -> Bools:
        """Values that are beyond a limit: of a group, or of the rule; a tenth less than may."""
        over = np.zeros(len(gids), np.bool_)
        at = np.flatnonzero(kept)
        order = at[np.lexsort((-latest[at], gids[at]))]
        new = np.ones(len(order), np.bool_)
        new[1:] = gids[order[1:]] != gids[order[:-1]]
        begins = np.flatnonzero(new)
        sizes = np.diff(np.append(begins, len(order)))
        rank = np.arange(len(order)) - np.repeat(begins, sizes)
        most = self._most_of_group
        crowded = np.repeat(sizes > most, sizes)
        over[order[crowded & (rank >= most - most // 10)]] = True
        left = np.flatnonzero(kept & ~over)
        if len(left) > self._most:
            oldest = np.argsort(latest[left], kind="stable")
            over[left[oldest[: len(left) - self._most * 9 // 10]]] = True
        return over

    def state(self) -> KnownState:
        columns = {name: c[: self._size].tobytes() for name, c in self._data.columns.items()}
        return KnownState(self._size, columns, self.evicted_until)

    def restore(self, state: KnownState) -> None:
        self._size = state.size
        self._data.grow(state.size)
        for name, kept in state.columns.items():
            self._data.columns[name][: state.size] = np.frombuffer(kept, _KINDS[name][0])
        self._map.clear()
        self._map.put(self._data.columns["key"][: state.size], np.arange(state.size))
        self.evicted_until = state.evicted_until
