"""The distinct values of a column: what is asked of a text is asked once, however many rows hold
it.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.matching import bits
from tachograph.detectors.matching.bits import Mask, Rows

Codes = npt.NDArray[np.int64]
# Values few enough that the rows of each are worth keeping.
FEW_VALUES = 256


class Distinct:
    """A column of a frame, or the lists in it, as values that differ and where they stand.

    `seed` is this process's own: nobody outside can make two values that are taken for one.
    """

    def __init__(self, column: pl.Series, seed: int) -> None:
        self.height = len(column)
        self._rows: Rows | None = None
        if isinstance(column.dtype, pl.List):
            lengths = column.list.len().fill_null(0).to_numpy()
            self._rows = np.repeat(np.arange(self.height), lengths)
            column = column.filter(column.list.len() > 0).explode()
        first, self._codes = _coded(column.hash(seed).to_numpy())
        self.values = column.gather(first)
        self.count = len(self.values)
        # The code of the missing value, which nothing is true of.
        self._missing = self._code_of_null()
        self._own_rows: dict[int, int] = {}

    def _code_of_null(self) -> int | None:
        return int(self.values.is_null().arg_max() or 0) if self.values.null_count() else None

    @cached_property
    def texts(self) -> list[str]:
        """The values as text."""
        values = self.values
        if isinstance(values.dtype, pl.Datetime):
            values = values.dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
        elif values.dtype != pl.String:
            values = values.cast(pl.String)
        return values.fill_null("").to_list()

    @cached_property
    def lowered(self) -> list[str]:
        """The values as text in lower case."""
        return [text.lower() for text in self.texts]

    @cached_property
    def numbers(self) -> npt.NDArray[np.float64]:
        """The values as numbers; NaN where they are none."""
        values = self.values.cast(pl.Float64, strict=False)
        return values.fill_null(float("nan")).to_numpy()

    def where(self, values: Mask) -> int:
        """Rows that hold one of these values (a mask over `values`)."""
        if self._missing is not None and values[self._missing]:
            values = values.copy()
            values[self._missing] = False
        return self._spread(values[self._codes])

    def where_any(self, values: Sequence[int] | Rows) -> int:
        """Rows that hold one of these values (places in `values`)."""
        if self.count <= FEW_VALUES and len(values) <= FEW_VALUES // 8:
            found = 0
            for value in values:
                found |= self._where_one(int(value))
            return found
        mask = np.zeros(self.count, np.bool_)
        mask[values] = True
        return self.where(mask)

    def _where_one(self, value: int) -> int:
        if value == self._missing:
            return 0
        found = self._own_rows.get(value)
        if found is None:
            found = self._own_rows[value] = self._spread(self._codes == value)
        return found

    def _spread(self, entries: Mask) -> int:
        """Rows of the entries in which something is true."""
        if self._rows is None:
            return bits.of_mask(entries)
        mask = np.zeros(self.height, np.bool_)
        mask[self._rows[entries]] = True
        return bits.of_mask(mask)

    def held(self, rows: int) -> Mask:
        """Which values stand in these rows, as a mask over `values`."""
        mask = bits.mask_of(rows, self.height)
        codes = self._codes[mask if self._rows is None else mask[self._rows]]
        held = np.zeros(self.count, np.bool_)
        held[codes] = True
        if self._missing is not None:
            held[self._missing] = False
        return held


def _coded(hashes: npt.NDArray[np.uint64]) -> tuple[Rows, Codes]:
    """First rows of the distinct hashes, and for each row which of them is its.

    A table with a slot for each beginning of a hash: whoever writes last owns it, the others with
    another hash try again. That takes a third of the time of sorting.
    """
    count = len(hashes)
    width = max(count.bit_length() + 2, 8)
    slots = (hashes >> np.uint64(64 - width)).astype(np.int64)
    table = np.zeros(1 << width, np.int64)
    owner = np.empty(count, np.int64)
    left = np.arange(count)
    while len(left):
        own = slots[left]
        table[own] = left
        owner[left] = table[own]
        left = left[hashes[owner[left]] != hashes[left]]
    first = np.flatnonzero(owner == np.arange(count))
    number = np.empty(count, np.int64)
    number[first] = np.arange(len(first))
    return first, number[owner]
