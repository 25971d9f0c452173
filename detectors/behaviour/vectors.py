"""Windows as models see them: what was measured, and how far that is from what is usual for the
agent, all features together.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour.baselines import WARM
from tachograph.detectors.behaviour.closed import Judged
from tachograph.detectors.behaviour.features import ADDED_UP, FEATURES, NAMES, SCALES
from tachograph.detectors.behaviour.levels import OCTAVE
from tachograph.schemas.identity import plain_id

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# The shortest windows are many, and say least together.
FIRST_SCALE: Final = 1
JUDGED_SCALES: Final = tuple(range(FIRST_SCALE, len(SCALES)))
# Beyond so many spreads it is no matter how many.
_MOST_SPREADS: Final = 8.0
WIDTH: Final = 2 * len(FEATURES)
COLUMNS: Final = (*(f"level_{name}" for name in NAMES), *(f"strayed_{name}" for name in NAMES))


def feature_hash() -> str:
    """A hash of what the columns mean: a model of another is of no use."""
    meant = [f"{one.name}/{one.unit}/{one.source}/{one.grain}" for one in FEATURES]
    return plain_id(*COLUMNS, *meant, str(_MOST_SPREADS))[:16]


def fit_for_models(judged: Judged) -> Bools:
    """Which windows models judge: those of agents that are known, but the shortest."""
    scales = judged.closed.scales
    known = judged.own >= WARM[scales]
    found: Bools = (scales >= FIRST_SCALE) & (judged.judgement != ADDED_UP) & known
    return found


def vectors_of(judged: Judged, rows: npt.NDArray[np.int64]) -> Floats:
    """Of some windows (rows, WIDTH), in doublings and in spreads."""
    levels = judged.closed.levels[rows]
    strayed = (levels - judged.known.centre[rows]) / judged.known.spread[rows]
    return np.hstack([levels / OCTAVE, np.clip(strayed, -_MOST_SPREADS, _MOST_SPREADS)])


def as_usual(vector: Floats, centre: npt.NDArray[np.int64]) -> Floats:
    """The same window with one feature as is usual for the agent: a row a feature."""
    rows = np.tile(vector, (len(FEATURES), 1))
    at = np.arange(len(FEATURES))
    rows[at, at] = centre / OCTAVE
    rows[at, at + len(FEATURES)] = 0.0
    return rows
