"""Amounts on a scale of doublings, in whole numbers: the same on every machine.

A level is the base-2 logarithm of the amount plus one in steps of 1/256, straight between powers of
two (off by less than a tenth of a doubling).
"""

import math

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

# Steps of a doubling.
OCTAVE = 256
# Bits of a sketch of different values.
SKETCH_BITS = 256


def level_of(amounts: Ints) -> Ints:
    """Levels of amounts from 0 to 2**52."""
    fraction, exponent = np.frexp((np.maximum(amounts, 0) + 1).astype(np.float64))
    steps = ((2.0 * fraction - 1.0) * OCTAVE).astype(np.int64)
    return (exponent.astype(np.int64) - 1) * OCTAVE + steps


def amount_of(level: float) -> float:
    """The amount at a level, which need not be whole."""
    whole, rest = divmod(max(level, 0.0), OCTAVE)
    return float(2.0**whole * (1.0 + rest / OCTAVE) - 1.0)


def _counting_table() -> Ints:
    """Number of different values by the number of set bits (linear counting); the full sketch says
    what half a free bit would.
    """
    free = [max(SKETCH_BITS - used, 0.5) for used in range(SKETCH_BITS + 1)]
    return np.array([round(-SKETCH_BITS * math.log(f / SKETCH_BITS)) for f in free], np.int64)


_COUNTED = _counting_table()
# One new bit stands for no more than four values: with fewer free bits it would be a guess.
LEAST_FREE_BITS = 64


def _new_table() -> Ints:
    """Number of new values by free bits before and bits that are new: a new value is seen as one
    only where its bit is free, so the fewer are free, the more values stand behind each.
    """
    free = np.arange(SKETCH_BITS + 1)[:, np.newaxis]
    new = np.arange(SKETCH_BITS + 1)
    room = np.maximum(free, LEAST_FREE_BITS)
    # None of them lies nearer to a half than a hundred-thousandth: all round it alike.
    found = np.rint(-SKETCH_BITS * np.log(np.maximum(room - new, 0.5) / room)).astype(np.int64)
    return np.where(new <= free, found, 0)


_NEW = _new_table()


def different(words: npt.NDArray[np.uint64]) -> Ints:
    """About how many different values are in sketches: rows of SKETCH_BITS / 64 words."""
    counted: Ints = _COUNTED[np.bitwise_count(words).astype(np.int64).sum(axis=1)]
    return counted


def different_new(words: npt.NDArray[np.uint64], before: npt.NDArray[np.uint64]) -> Ints:
    """About how many different values are in sketches that are not in those of before."""
    used = np.bitwise_count(before).astype(np.int64).sum(axis=1)
    new = np.bitwise_count(words & ~before).astype(np.int64).sum(axis=1)
    counted: Ints = _NEW[SKETCH_BITS - used, new]
    return counted


_FEW_BITS = 64
_COUNTED_FEW = np.array(
    [round(-_FEW_BITS * math.log(max(_FEW_BITS - n, 0.5) / _FEW_BITS)) for n in range(65)], np.int64
)


def different_few(words: npt.NDArray[np.uint64]) -> Ints:
    """About how many different values are in sketches of one word each, up to some 200."""
    counted: Ints = _COUNTED_FEW[np.bitwise_count(words).astype(np.int64)]
    return counted
