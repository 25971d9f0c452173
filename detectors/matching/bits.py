"""Sets of rows as whole numbers: bit i stands for row i.

Python's numbers are as long as they need to be, and one `and` of two of them asks thousands of rows
in a tenth of a microsecond: cheaper than any call into an array library.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
# So few rows are taken one by one more quickly than by a call into an array library.
FEW = 32


def of_mask(mask: Mask) -> int:
    """The rows where the mask is true."""
    return int.from_bytes(np.packbits(mask, bitorder="little").tobytes(), "little")


def of_masks(table: npt.NDArray[np.bool_]) -> list[int]:
    """Of each of some masks, one below the other, the rows where it is true."""
    width = (table.shape[1] + 7) // 8
    packed = np.packbits(table, axis=1, bitorder="little").tobytes()
    return [
        int.from_bytes(packed[at : at + width], "little") for at in range(0, len(packed), width)
    ]


def of_places(places: Sequence[int] | Rows, height: int) -> int:
    """These rows, out of so many."""
    if len(places) > FEW:
        mask = np.zeros(height, np.bool_)
        mask[places] = True
        return of_mask(mask)
    found = 0
    for place in places.tolist() if isinstance(places, np.ndarray) else places:
        found |= 1 << place
    return found


def places_of(bits: int, height: int) -> list[int]:
    """As `rows_of`, as a list."""
    found: list[int] = []
    if bits.bit_count() > FEW:
        found += rows_of(bits, height).tolist()
        return found
    while bits:
        lowest = bits & -bits
        found.append(lowest.bit_length() - 1)
        bits ^= lowest
    return found


def mask_of(bits: int, height: int) -> Mask:
    """A mask of so many rows."""
    packed = np.frombuffer(bits.to_bytes((height + 7) // 8, "little"), np.uint8)
    return np.unpackbits(packed, count=height, bitorder="little").view(np.bool_)


def rows_of(bits: int, height: int) -> Rows:
    """Row numbers, ascending, out of so many rows."""
    return np.flatnonzero(mask_of(bits, height))


class Runs(NamedTuple):
    """Numbers that ascend, as runs of the same: each number once, and where its run begins."""

    numbers: Rows
    first: Rows

    @classmethod
    def of(cls, ascending: Rows) -> Self:
        """The runs of some numbers. (NumPy's `unique` loads its masked arrays first.)"""
        begins = np.ones(len(ascending), np.bool_)
        np.not_equal(ascending[1:], ascending[:-1], out=begins[1:])
        first = np.flatnonzero(begins)
        return cls(ascending[first], first)

    def slices(self, stop: int) -> Iterator[tuple[int, slice]]:
        """Each number and where it stands; `stop`: how many there are in all."""
        ends = [*self.first.tolist(), stop][1:] if len(self.first) else []
        for number, begin, end in zip(
            self.numbers.tolist(), self.first.tolist(), ends, strict=True
        ):
            yield number, slice(begin, end)


def everything(height: int) -> int:
    """All of so many rows."""
    return (1 << height) - 1
