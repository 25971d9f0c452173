"""Rows and columns out of frames, in the ways that cost least: of a few hundred rows, what a query
needs before it begins costs more than its answer.
"""

from typing import TypeVar

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
