"""Rows and columns out of frames, in the ways that cost least: of a few hundred rows, what a query
needs before it begins costs more than its answer.
"""

from typing import NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

Held = TypeVar("Held", pl.DataFrame, pl.Series)


def rows_at(held: Held, rows: npt.NDArray[np.integer]) -> Held:
    """The rows at these places, none of which is negative."""
    return held[pl.Series(rows.astype(np.uint32))]


def times_us(column: pl.Series) -> pl.Series:
    """Times as numbers."""
    return column.cast(pl.Int64)


class Some(NamedTuple):
    """Some rows of a frame, and which they are: ascending numbers."""

    rows: npt.NDArray[np.int64]
    frame: pl.DataFrame

    @classmethod
    def of(cls, whole: pl.DataFrame, mask: npt.NDArray[np.bool_]) -> Self:
        """The rows where it holds."""
        rows = np.flatnonzero(mask)
        return cls(rows, rows_at(whole, rows))

    def between(self, begin: int, end: int) -> Self:
        """Those of the frame's rows from `begin` to before `end`, counted from `begin`."""
        first, last = np.searchsorted(self.rows, (begin, end)).tolist()
        return self._replace(
            rows=self.rows[first:last] - begin, frame=self.frame.slice(first, last - first)
        )
