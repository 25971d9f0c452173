"""Windows as models see them: what was measured, and how far that is above what is usual for the
agent, all features together. What is below it counts as usual: nobody is told of less.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour.baselines import WARM
from tachograph.detectors.behaviour.closed import Judged
from tachograph.detectors.behaviour.features import (
    ADDED_UP,
    FEATURE_SET,
    FEATURES,
    NAMES,
    SCALES,
)
from tachograph.detectors.behaviour.levels import OCTAVE
from tachograph.schemas.identity import plain_id

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# The shortest windows are many, and say least together.
FIRST_SCALE: Final = 1
JUDGED_SCALES: Final = tuple(range(FIRST_SCALE, len(SCALES)))
# Beyond so many spreads it is no matter how many.
_MOST_SPREADS: Final = 8.0
# Below half of it a feature alone makes no window worth a word, by length.
_LEAST: Final = np.array([feature.least for feature in FEATURES]).T
WIDTH: Final = 2 * len(FEATURES)
COLUMNS: Final = (*(f"level_{name}" for name in NAMES), *(f"strayed_{name}" for name in NAMES))


def feature_hash() -> str:
    """A hash of what the columns mean: a model of another is of no use."""
    meant = [f"{one.name}/{one.unit}/{one.source}/{one.grain}" for one in FEATURES]
    of = (str(FEATURE_SET), str(_MOST_SPREADS), "above what is usual")
    return plain_id(*COLUMNS, *meant, *of)[:16]


def fit_for_models(judged: Judged) -> Bools:
    """Which windows models judge: those of agents that are known, but the shortest."""
    scales = judged.closed.scales
    known = judged.own >= WARM[scales]
    found: Bools = (scales >= FIRST_SCALE) & (judged.judgement != ADDED_UP) & known
    return found


def matters(judged: Judged, rows: npt.NDArray[np.int64]) -> Bools:
    """Of some windows those with at least one feature of which there is more than usual, and not
    next to nothing.
    """
    closed = judged.closed
    enough = 2 * closed.amounts[rows] >= _LEAST[closed.scales[rows]]
    more = closed.levels[rows] > judged.known.centre[rows]
    found: Bools = np.any(enough & more, axis=1)
    return found


def vectors_of(judged: Judged, rows: npt.NDArray[np.int64]) -> Floats:
    """Of some windows (rows, WIDTH), in doublings and in spreads."""
    centre = judged.known.centre[rows]
    levels = np.maximum(judged.closed.levels[rows], centre)
    strayed = (levels - centre) / judged.known.spread[rows]
    return np.hstack([levels / OCTAVE, np.minimum(strayed, _MOST_SPREADS)])


def as_usual(vector: Floats, centre: npt.NDArray[np.int64]) -> Floats:
    """The same window with one feature as is usual for the agent: a row a feature."""
    rows = np.tile(vector, (len(FEATURES), 1))
    at = np.arange(len(FEATURES))
    rows[at, at] = centre / OCTAVE
    rows[at, at + len(FEATURES)] = 0.0
    return rows
