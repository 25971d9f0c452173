"""Small tools on arrays that hold many groups' rows one group after the other."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


class Spans(NamedTuple):
    """Ranges of places, laid out one after the other."""

    # Every place of every range.
    places: Ints
    # Which range each is of.
    owner: Ints
    # Where each range begins among them.
    starts: Ints


def spans(begin: Ints, end: Ints) -> Spans:
    """The ranges [begin, end)."""
    sizes = end - begin
    starts = np.cumsum(sizes) - sizes
    owner = np.repeat(np.arange(len(sizes)), sizes)
    places = np.arange(len(owner)) + np.repeat(begin - starts, sizes)
    return Spans(places, owner, starts)


def bisect(values: Array, begin: Ints, end: Ints, wanted: Array, *, right: bool = False) -> Ints:
    """In each range [begin, end) of ascending values the first place not below the wanted value
    (`right`: above it); `end` where there is none.
    """
    low, high = begin.copy(), end.copy()
    open_ = np.flatnonzero(low < high)
    while len(open_):
        middle = (low[open_] + high[open_]) >> 1
        found = values[middle]
        below = found <= wanted[open_] if right else found < wanted[open_]
        low[open_[below]] = middle[below] + 1
        high[open_[~below]] = middle[~below]
        open_ = open_[low[open_] < high[open_]]
    return low


def firsts(*columns: Array) -> Bools:
    """Rows that differ from the row before in any of the columns."""
    size = len(columns[0])
    new = np.zeros(size, np.bool_)
    new[:1] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return new


def lasts(first: Ints, size: int) -> Ints:
    """The last place of each of the parts that begin at these places and fill `size` places."""
    return np.append(first[1:], size)[: len(first)] - 1


class Growing:
    """Columns that grow together; of each one knows the kind of number and, if it is wide, how
    many make a row.
    """

    def __init__(self, kinds: dict[str, tuple[str, int]], capacity: int) -> None:
        self.kinds = kinds
        self.columns: dict[str, Array] = {
            name: np.zeros(self._shape(name, capacity), kind) for name, (kind, _) in kinds.items()
        }
        self.capacity = capacity

    def _shape(self, name: str, rows: int) -> tuple[int, ...]:
        width = self.kinds[name][1]
        return (rows, width) if width else (rows,)

    def grow(self, need: int) -> None:
        """Have room for so many rows; new ones are zero."""
        if need <= self.capacity:
            return
        capacity = max(need, 2 * self.capacity)
        for name, old in self.columns.items():
            new = np.zeros(self._shape(name, capacity), old.dtype)
            new[: self.capacity] = old
            self.columns[name] = new
        self.capacity = capacity
