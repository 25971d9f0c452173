"""A calibration made of honest windows."""

from typing import NamedTuple

import numpy as np

from tachograph.detectors.behaviour.calibration import Calibration, Honest
from tachograph.detectors.behaviour.closed import Judged
from tachograph.detectors.behaviour.features import (
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
    shape = (len(SCALES), len(FEATURES))
    return Calibration(
        FEATURE_SET,
        np.full(shape, 2 * OCTAVE).tolist(),
        np.full(shape, 2 * OCTAVE).tolist(),
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
        centre, spread = base.centre, base.spread
        if prior:
            pairs = [_prior(heard) for heard in by_way[: len(SCALES)]]
            centre, spread = [c.tolist() for c, _ in pairs], [s.tolist() for _, s in pairs]
        days = _agent_days(by_way[0])
        return Calibration(
            FEATURE_SET, centre, spread, days, [_honest(heard) for heard in by_way], data
        )


def _prior(heard: list[Heard]) -> tuple[Ints, Ints]:
    """Centre and mean distance from it, every agent counting the same."""
    slots = np.concatenate([one.slots for one in heard])
    levels = np.concatenate([one.levels for one in heard])
    agents, at = np.unique(slots, return_inverse=True)
    counts = np.bincount(at)[:, None]
    sums = np.zeros((len(agents), len(FEATURES)))
    np.add.at(sums, at, levels)
    centre = (sums / counts).mean(axis=0)
    strayed = np.zeros_like(sums)
    np.add.at(strayed, at, np.abs(levels - centre))
    return np.rint(centre).astype(np.int64), np.rint((strayed / counts).mean(axis=0)).astype(int)


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
