"""The features of closed windows, from what was added up in them."""

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.baselines import WARM, Known
from tachograph.detectors.behaviour.features import FEATURES
from tachograph.detectors.behaviour.levels import SKETCH_BITS, different, level_of
from tachograph.detectors.behaviour.rows import CALLS, TARGETS, TOOLS

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_GRAINS = np.array([feature.grain for feature in FEATURES])
_OWN = np.array([feature.own for feature in FEATURES])
_LEAST = np.array([feature.least for feature in FEATURES])
# A sketch with fewer free bits says too little of how many values there are.
_FREE_BITS = 16
KNOWN_WORDS = len(TARGETS) + len(TOOLS)
# Below all scores: what is too little to be out of line.
NO_SCORE = -(2**15)


def words_of(rows: pl.DataFrame, names: tuple[str, ...]) -> Words:
    """Sketches as (windows, words)."""
    return np.stack([rows[name].to_numpy() for name in names], axis=1)


def seen_words(rows: pl.DataFrame) -> Words:
    """Sketches of which earlier values are remembered: targets, then tools."""
    return words_of(rows, (*TARGETS, *TOOLS))


def amounts_of(rows: pl.DataFrame, before: Words) -> Ints:
    """(windows, features). `before`: the sketches of what each agent had met before."""
    targets, tools = words_of(rows, TARGETS), words_of(rows, TOOLS)
    known_targets, known_tools = before[:, : len(TARGETS)], before[:, len(TARGETS) :]
    calls, sketched = rows["calls"].to_numpy(), words_of(rows, CALLS)
    once = different(sketched)
    telling = np.bitwise_count(sketched).astype(np.int64).sum(axis=1) < SKETCH_BITS - _FREE_BITS
    repeats = np.where(telling & (2 * once < calls), calls - once, 0)
    columns = {
        **{name: rows[name].to_numpy() for name in
           ("acts", "failures", "bytes_out", "rows_read", "tokens")},
        "targets": different(targets),
        "new_targets": different(targets & ~known_targets),
        "tools": _bits(tools),
        "new_tools": _bits(tools & ~known_tools),
        "repeats": repeats,
    }  # fmt: skip
    return np.stack([columns[feature.name] for feature in FEATURES], axis=1).astype(np.int64)


def levels_of(amounts: Ints) -> Ints:
    """Levels in each feature's own grain."""
    return level_of(amounts // _GRAINS)


def scores_of(scale: int, amounts: Ints, levels: Ints, known: Known, windows: Ints) -> Ints:
    """How far above what is usual, in spreads of 256 steps; NO_SCORE where it is too little, or the
    agent's own `windows` are too few to tell.
    """
    scores = (levels - known.usual) * 256 // known.spread
    telling = (windows >= WARM[scale])[:, None] | ~_OWN
    return np.where((amounts >= _LEAST[:, scale]) & telling, scores, NO_SCORE)


def _bits(words: Words) -> Ints:
    bits: Ints = np.bitwise_count(words).astype(np.int64).sum(axis=1)
    return bits
