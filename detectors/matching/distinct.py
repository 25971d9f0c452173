"""The distinct values of a column: what is asked of a text is asked once, however many rows hold
it.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.frames import rows_at
from tachograph.detectors.matching import bits
from tachograph.detectors.matching.bits import Mask, Rows

Codes = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
# Values few enough that the rows of each are worth keeping.
FEW_VALUES = 256


class Distinct:
    """A column of a frame, or the lists in it, as values that differ and where they stand."""

    def __init__(self, column: pl.Series, hashes: Hashes, rows: Rows | None, height: int) -> None:
        """`hashes`: of the values; `rows`: of the entries, where lists were taken apart."""
        self.height, self._rows = height, rows
        first, self._codes = _coded(hashes)
        self.count = len(first)
        self.values = column if self.count == len(column) else rows_at(column, first)
        # The code of the missing value, which nothing is true of.
        self._missing: int | None = None
        if self.values.null_count():
            self._missing = self.values.to_list().index(None)
        self._own_rows: dict[int, int] = {}

    @cached_property
    def texts(self) -> list[str]:
        """The values as text."""
        values = self.values
        if isinstance(values.dtype, pl.Datetime):
            values = values.dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
        elif values.dtype != pl.String:
            values = values.cast(pl.String)
        texts = values.to_list()
        if self._missing is not None:
            texts[self._missing] = ""
        return texts

    @cached_property
    def lowered(self) -> list[str]:
        """The values as text in lower case."""
        return list(map(str.lower, self.texts))

    @cached_property
    def numbers(self) -> npt.NDArray[np.float64]:
        """The values, or the texts, as numbers; NaN where they are none."""
        values = self.values if self.values.dtype.is_numeric() else pl.Series(self.texts)
        return values.cast(pl.Float64, strict=False).to_numpy()

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

    def entries(self, places: Rows) -> tuple[Codes, Rows]:
        """The values, by their places in `values`, that stand in these rows, and their rows."""
        if self._rows is None:
            codes, rows = self._codes[places], places
        else:
            mask = np.zeros(self.height, np.bool_)
            mask[places] = True
            held = mask[self._rows]
            codes, rows = self._codes[held], self._rows[held]
        if self._missing is None:
            return codes, rows
        there = codes != self._missing
        return codes[there], rows[there]

    def codes(self, rows: Rows) -> Codes | None:
        """The places in `values` of what stands in these rows; None where lists were taken apart,
        and several may.
        """
        return self._codes[rows] if self._rows is None else None

    def among(self, rows: Rows) -> int:
        """Rows as a set of all rows."""
        if not len(rows):
            return 0
        mask = np.zeros(self.height, np.bool_)
        mask[rows] = True
        return bits.of_mask(mask)


def distinct(frame: pl.DataFrame, seed: int) -> dict[str, Distinct]:
    """The distinct values of each column. `seed` is this process's own: nobody outside can make two
    values that are taken for one.
    """
    found: dict[str, Distinct] = {}
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    for name in lists:
        column = frame.get_column(name)
        lengths = column.list.len().fill_null(0)
        rows = np.repeat(np.arange(frame.height), lengths.to_numpy())
        entries = column.filter(lengths > 0).explode()
        found[name] = Distinct(entries, entries.hash(seed).to_numpy(), rows, frame.height)
    plain = frame.select(pl.exclude(lists)) if lists else frame
    hashes = plain.select(pl.all().hash(seed))
    for name, column in zip(plain.columns, plain, strict=True):
        found[name] = Distinct(column, hashes.get_column(name).to_numpy(), None, frame.height)
    return found


def _coded(hashes: Hashes) -> tuple[Rows, Codes]:
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
