"""What was said of an agent and comes again at the same time of day: a nightly run, a morning's
report. It is said once; not again at that time, unless it is much more.

Few things are said, so few are kept: of each agent, judgement and feature the newest, with how far
it was above the bar. It is known for some days after it came last.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour.features import ADDED_UP

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
# A slot, a judgement, a feature; how far above its bar (256ths of a spread), and in which epoch.
Place = tuple[int, int, int]
Was = tuple[int, int]

_DAY_EPOCHS: Final = 144
# So far from the time of day at which it came it is the same, and so long it is known: a week and
# a day.
_NEAR_EPOCHS: Final = 6
_KNOWN_EPOCHS: Final = 8 * _DAY_EPOCHS
# It may come higher by so much: two spreads.
_HIGHER: Final = 2 * 256


class DailyState(msgspec.Struct, frozen=True, array_like=True):
    """As it is dumped."""

    known: list[tuple[Place, Was]]
    coming: list[tuple[Place, Was]]


class Daily:
    """By slot. What an epoch brings is known from its end on. Not thread-safe."""

    def __init__(self) -> None:
        self._known: dict[int, dict[Place, Was]] = {}
        self._coming: dict[Place, Was] = {}

    def expects(self, place: Place, above: int, epoch: int) -> bool:
        """Whether so much came at this time of day before. What was added up has no time."""
        was = self._known.get(place[0], {}).get(place)
        if was is None or place[1] == ADDED_UP or above > was[0] + _HIGHER:
            return False
        since = epoch - was[1]
        off = (since + _NEAR_EPOCHS) % _DAY_EPOCHS
        return _NEAR_EPOCHS < since <= _KNOWN_EPOCHS and off <= 2 * _NEAR_EPOCHS

    def note(self, at: tuple[Ints, Ints, Ints], above: Ints, epoch: int) -> Bools:
        """These slots, judgements and features are so far above their bars in an epoch. Which of
        them were expected; what was is no higher for it, so that nobody is led up.
        """
        places: list[Place] = list(zip(*(column.tolist() for column in at), strict=True))
        found = np.zeros(len(places), np.bool_)
        for number, (place, one) in enumerate(zip(places, above.tolist(), strict=True)):
            found[number] = self.expects(place, one, epoch)
            height = self._known[place[0]][place][0] if found[number] else one
            self._coming[place] = max(self._coming.get(place, (0, 0)), (height, epoch))
        return found

    def fold(self) -> None:
        """The epoch is over."""
        for place, was in self._coming.items():
            self._known.setdefault(place[0], {})[place] = was
        self._coming = {}

    def forget(self, slots: Iterable[int]) -> None:
        """These slots begin anew."""
        gone = set(slots)
        for slot in gone:
            self._known.pop(slot, None)
        self._coming = {place: was for place, was in self._coming.items() if place[0] not in gone}

    def state(self) -> DailyState:
        """All of it."""
        return DailyState(sorted(self._all()), sorted(self._coming.items()))

    def _all(self) -> Iterator[tuple[Place, Was]]:
        for own in self._known.values():
            yield from own.items()

    def restore(self, state: DailyState) -> None:
        """Take up a state."""
        self._known, self._coming = {}, dict(state.coming)
        for place, was in state.known:
            self._known.setdefault(place[0], {})[place] = was
