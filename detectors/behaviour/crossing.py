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
    """A feature (or a hand) of a window is out of line; ordered as they are said."""

    end: int
    judgement: int
    slot: int
    feature: int
    judged: Judged
    place: int
    model: Model | None = None
    peers: Peers | None = None


def crossings_of(judged: Judged, places: Ints, features: Ints) -> list[Crossing]:
    """Features of windows, in pairs."""
    closed = judged.closed
    return [
        Crossing(
            int(closed.ends[place]),
            int(judged.judgement[place]),
            int(closed.slots[place]),
            feature,
            judged,
            place,
        )
        for place, feature in zip(places.tolist(), features.tolist(), strict=True)
    ]
