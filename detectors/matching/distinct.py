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
        self._every_row = bits.everything(height)
        # Rows asked for last, and the values that stand in them.
        self._held: tuple[int, int] = (0, 0)
        # Each row has a value of its own, in the order of the rows.
        self._one_to_one = self.count == height == len(self._codes) and (
            rows is None or bool((rows == np.arange(height)).all())
        )

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

    @cached_property
    def everything(self) -> int:
        """All values but the missing one, as a set (see `bits`)."""
        whole = bits.everything(self.count)
        return whole if self._missing is None else whole ^ (1 << self._missing)

    def where(self, values: int) -> int:
        """Rows that hold one of these values."""
        values &= self.everything
        if self._one_to_one:
            return values
        if values.bit_count() <= bits.FEW:
            return self._where_few(bits.places_of(values, self.count))
        return self._where_many(bits.mask_of(values, self.count))

    def where_any(self, values: Sequence[int] | Rows) -> int:
        """Rows that hold one of these values (places in `values`)."""
        if len(values) > bits.FEW:
            mask = np.zeros(self.count, np.bool_)
            mask[values] = True
            return self._where_many(mask)
        few = values.tolist() if isinstance(values, np.ndarray) else values
        if self._one_to_one:
            return bits.of_places(few, self.count) & self.everything
        return self._where_few(few)

    def held(self, values: int, rows: int) -> int:
        """Those of the values that stand in these rows."""
        if rows == self._every_row:
            return values & self.everything
        if self._one_to_one:
            return values & rows & self.everything
        if values.bit_count() <= bits.FEW:
            places = bits.places_of(values, self.count)
            here = [place for place in places if self._where_one(place) & rows]
            return bits.of_places(here, self.count)
        if self._held[0] != rows:
            mask = bits.mask_of(rows, self.height)
            standing = np.zeros(self.count, np.bool_)
            standing[self._codes[mask if self._rows is None else mask[self._rows]]] = True
            self._held = rows, bits.of_mask(standing) & self.everything
        return values & self._held[1]

    def _where_few(self, values: Sequence[int]) -> int:
        found = 0
        for value in values:
            found |= self._where_one(value)
        return found

    def _where_one(self, value: int) -> int:
        if value == self._missing:
            return 0
        found = self._own_rows.get(value)
        if found is not None:
            return found
        if self.count <= FEW_VALUES:
            found = self._own_rows[value] = self._spread(self._codes == value)
            return found
        entries, starts = self._by_value
        own = entries[starts[value] : starts[value + 1]]
        return bits.of_places(own if self._rows is None else self._rows[own], self.height)

    @cached_property
    def _by_value(self) -> tuple[Rows, list[int]]:
        """The entries, value by value, and where those of each value begin."""
        ends = np.cumsum(np.bincount(self._codes, minlength=self.count)).tolist()
        return np.argsort(self._codes, kind="stable"), [0, *ends]

    def _where_many(self, values: Mask) -> int:
        if self._missing is not None and values[self._missing]:
            values = values.copy()
            values[self._missing] = False
        return self._spread(values[self._codes])

    def _spread(self, entries: Mask) -> int:
        """Rows of the entries in which something is true."""
        if self._rows is None:
            return bits.of_mask(entries)
        rows = np.zeros(self.height, np.bool_)
        rows[self._rows[entries]] = True
        return bits.of_mask(rows)

    def codes(self, rows: Rows) -> Codes | None:
        """The places in `values` of what stands in these rows; None where lists were taken apart,
        and several may.
        """
        return self._codes[rows] if self._rows is None else None


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
