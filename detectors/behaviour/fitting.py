"""A calibration made of honest windows."""

from typing import NamedTuple

import numpy as np

from tachograph.detectors.behaviour.calibration import Calibration, Honest
from tachograph.detectors.behaviour.closed import Judged
from tachograph.detectors.behaviour.features import (
    AMOUNTS,
    FEATURE_SET,
    FEATURES,
    JUDGEMENTS,
    PANE_US,
    SCALES,
)
from tachograph.detectors.behaviour.levels import OCTAVE, Ints
from tachograph.detectors.behaviour.measures import NO_SCORE

_HOUR_PANES = 3_600_000_000 // PANE_US
_DAY_PANES = 24 * _HOUR_PANES
# More hours than there are since 1970.
_SLOT_HOURS = 1 << 24
_FLEET_SLOTS = 1 << 20
_PANES = np.array([scale.panes for scale in SCALES])
# Scores that are kept of each feature and length: enough for every budget an operator would set.
KEPT = 400


def blank() -> Calibration:
    """Before anything was measured: quiet agents with wide habits, and no score is high."""
    wide, some = (
        np.full((len(SCALES), count), 2 * OCTAVE).tolist()
        for count in (len(FEATURES), len(AMOUNTS))
    )
    return Calibration(
        FEATURE_SET,
        wide,
        wide,
        some,
        some,
        1.0,
        [Honest(0, [[2**14]] * len(FEATURES)) for _ in JUDGEMENTS],
        "none",
    )


class Heard(NamedTuple):
    """What is kept of judged windows: (windows) and (windows, features)."""

    judgement: int
    slots: Ints
    windows: Ints
    levels: Ints
    scores: Ints


class _Priors(NamedTuple):
    """As a calibration has them."""

    centre: list[list[int]]
    spread: list[list[int]]
    some_centre: list[list[int]]
    some_spread: list[list[int]]


class Fitting:
    """Hears of windows of honest agents; makes a calibration of them."""

    def __init__(self) -> None:
        self._heard: list[Heard] = []
        self._first_slot = 0

    def another_fleet(self) -> None:
        """What comes from now on is of another detector: its slots are of other agents."""
        self._first_slot += _FLEET_SLOTS

    def __call__(self, judged: Judged) -> None:
        closed = judged.closed
        for way in np.unique(judged.judgement).tolist():
            at = judged.judgement == way
            windows = (closed.ends // _PANES[closed.scales] - 1)[at]
            self._heard.append(
                Heard(
                    way,
                    closed.slots[at] + self._first_slot,
                    windows,
                    closed.levels[at].astype(np.int32),
                    judged.scores[at].astype(np.int32),
                )
            )

    def calibration(self, data: str, base: Calibration, *, prior: bool) -> Calibration:
        """`prior`: the prior anew too, else that of `base`. Raises ValueError when nothing was
        heard.
        """
        if not self._heard:
            raise ValueError("no windows to learn from")
        by_way = [[s for s in self._heard if s.judgement == at] for at in range(len(JUDGEMENTS))]
        priors = _Priors(base.centre, base.spread, base.some_centre, base.some_spread)
        if prior:
            each = [_priors(heard) for heard in by_way[: len(SCALES)]]
            priors = _Priors(*(list(column) for column in zip(*each, strict=True)))
        days = _agent_days(by_way[0])
        return Calibration(FEATURE_SET, *priors, days, [_honest(heard) for heard in by_way], data)


def _priors(heard: list[Heard]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Centre and mean distance from it, of all windows and of AMOUNTS where there are any."""
    slots = np.concatenate([one.slots for one in heard])
    levels = np.concatenate([one.levels for one in heard])
    whole = [_prior(slots, levels[:, at]) for at in range(len(FEATURES))]
    some = [_prior(slots[mask], levels[mask, at]) for at in AMOUNTS for mask in [levels[:, at] > 0]]
    centre, spread = zip(*whole, strict=True)
    some_centre, some_spread = zip(*some, strict=True)
    return list(centre), list(spread), list(some_centre), list(some_spread)


def _prior(slots: Ints, levels: Ints) -> tuple[int, int]:
    """Centre and mean distance from it, every agent counting the same; 0 where there are none."""
    if not len(slots):
        return 0, 0
    _, at = np.unique(slots, return_inverse=True)
    counts = np.bincount(at)
    centre = float((np.bincount(at, levels) / counts).mean())
    strayed = np.bincount(at, np.abs(levels - centre)) / counts
    return round(centre), round(float(strayed.mean()))


def _agent_days(heard: list[Heard]) -> float:
    """Days on which agents did something."""
    pairs = {
        pair
        for one in heard
        for pair in zip(one.slots.tolist(), (one.windows // _DAY_PANES).tolist(), strict=True)
    }
    return float(len(pairs))


def _honest(heard: list[Heard]) -> Honest:
    """Of each feature and agent's hour the highest score."""
    if not heard:
        return Honest(0, [[] for _ in FEATURES])
    panes = SCALES[min(heard[0].judgement, len(SCALES) - 1)].panes
    slots = np.concatenate([one.slots for one in heard])
    windows = np.concatenate([one.windows for one in heard])
    scores = np.concatenate([one.scores for one in heard])
    hours = slots * _SLOT_HOURS + windows * panes // _HOUR_PANES
    return Honest(len(slots), [_highest(hours, scores[:, at]) for at in range(len(FEATURES))])


def _highest(hours: Ints, scores: Ints) -> list[int]:
    some = scores > 0
    _, at = np.unique(hours[some], return_inverse=True)
    tops = np.full(at.max(initial=-1) + 1, NO_SCORE)
    np.maximum.at(tops, at, scores[some])
    found: list[int] = np.sort(tops)[::-1][:KEPT].tolist()
    return found
