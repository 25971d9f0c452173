"""Features of windows that are out of line."""

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour.closed import Judged
from tachograph.detectors.behaviour.features import FEATURES
from tachograph.detectors.behaviour.model import Model

# Beside the features: what is said of hands, and by models.
HAND, CLOCK, UNLIKE, SHADOW = range(len(FEATURES), len(FEATURES) + 4)
WAYS = SHADOW + 1

Ints = npt.NDArray[np.int64]


class Peers(NamedTuple):
    """How many there are, of what kind, and the level that is usual for half of them."""

    agents: int
    kind: str
    centre: int


class Crossing(msgspec.Struct, frozen=True, array_like=True):
    """A feature (or a hand) of a window is out of line; ordered as they are said. `bar`: the score
    from which it is, higher for who is not known or was out of line lately.
    """

    end: int
    judgement: int
    slot: int
    feature: int
    judged: Judged
    place: int
    bar: int = 0
    model: Model | None = None
    peers: Peers | None = None


def crossings_of(
    judged: Judged, places: Ints, features: Ints, bars: Ints | None = None
) -> list[Crossing]:
    """Features of windows, in pairs, with the bar of each where there is one."""
    closed = judged.closed
    if bars is None:
        bars = np.zeros(len(places), np.int64)
    return [
        Crossing(
            int(closed.ends[place]),
            int(judged.judgement[place]),
            int(closed.slots[place]),
            feature,
            judged,
            place,
            bar,
        )
        for place, feature, bar in zip(
            places.tolist(), features.tolist(), bars.tolist(), strict=True
        )
    ]
