"""Models in force, by time: a window belongs to the one that is in force at its end."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour.features import PANE_US
from tachograph.detectors.behaviour.model import Model
from tachograph.detectors.in_force import LONG_AGO_US

Ints = npt.NDArray[np.int64]


class Held(NamedTuple):
    """From this observed time on; None: no model."""

    from_us: int
    model: Model | None


class Models:
    """The model that speaks, and the one beside it in the shadow. Never changed once made."""

    def __init__(self, live: Iterable[Held] = (), shadow: Iterable[Held] = ()) -> None:
        """Each in the order of time; of several from one time the last holds."""
        self._held = {False: [*live], True: [*shadow]}

    @classmethod
    def always(cls, model: Model, *, shadow: bool = False) -> "Models":
        """This model, whatever the time."""
        held = [Held(LONG_AGO_US, model)]
        return cls(shadow=held) if shadow else cls(live=held)

    def __bool__(self) -> bool:
        return any(one.model is not None for held in self._held.values() for one in held)

    def judging(self, ends: Ints) -> Iterator[tuple[Model, bool, npt.NDArray[np.bool_]]]:
        """The models that judge some of the windows that end before these base panes: each with
        whether it stands in the shadow, and which windows are its own.
        """
        for shadow, held in self._held.items():
            starts = [one.from_us for one in held]
            for at in sorted({bisect_right(starts, end * PANE_US) for end in set(ends.tolist())}):
                model = held[at - 1].model if at else None
                if model is not None:
                    until = starts[at] if at < len(starts) else None
                    own = ends * PANE_US >= starts[at - 1]
                    yield model, shadow, own if until is None else own & (ends * PANE_US < until)


NO_MODELS = Models()
