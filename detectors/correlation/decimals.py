"""Numbers as two whole ones, so that sums do not depend on their order: the floor, and billionths
above it.
"""

from fractions import Fraction

import numpy as np
import polars as pl

from tachograph.detectors.correlation.arrays import Array, Bools, Ints
from tachograph.detectors.language.bounds import MAX_FIGURE

PLACES = 1_000_000_000
Decimal = tuple[int, int]


def decimal(number: float) -> Decimal:
    """A number, rounded to nine places."""
    scaled = round(Fraction(number) * PLACES)
    return scaled // PLACES, scaled % PLACES


def decimals(numbers: pl.Series) -> tuple[Ints, Ints, Bools]:
    """Floors and billionths of a column of floats; and which of them are numbers: not null, not
    NaN. Beyond ±MAX_FIGURE they count as that, so that sums stay whole numbers, and so that nobody
    stays below a threshold by exceeding it beyond measure.
    """
    values = numbers.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    usable = ~np.isnan(values)
    values = np.clip(np.where(usable, values, 0.0), -MAX_FIGURE, MAX_FIGURE)
    whole = np.floor(values)
    part = np.rint((values - whole) * PLACES).astype(np.int64)
    return whole.astype(np.int64) + part // PLACES, part % PLACES, usable


def compared(op: str, whole: Array, part: Array, edge: Array | int, fraction: Array | int) -> Bools:
    """Compare numbers with others, both as floors and billionths."""
    same: Bools = (whole == edge) & (part == fraction)
    below: Bools = (whole < edge) | ((whole == edge) & (part < fraction))
    match op:
        case "lt":
            return below
        case "lte":
            return below | same
        case "gt":
            return ~(below | same)
        case "gte":
            return ~below
        case "eq":
            return same
    return ~same
