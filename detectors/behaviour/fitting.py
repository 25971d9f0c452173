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
_PANES = np.array([scale.panes for scale in SCALES])
# Scores that are kept of each length: enough for every budget an operator would set.
KEPT = 4000


def blank() -> Calibration:
    """Before anything was measured: quiet agents with wide habits, and no score is high."""
    shape = (len(SCALES), len(FEATURES))
    return Calibration(
        FEATURE_SET,
        np.full(shape, 2 * OCTAVE).tolist(),
        np.full(shape, 2 * OCTAVE).tolist(),
        1.0,
        [Honest(0, [2**14]) for _ in JUDGEMENTS],
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
    """Hears of windows of honest agents, of one detector; makes a calibration of them."""

    def __init__(self) -> None:
        self._heard: list[Heard] = []

    def __call__(self, judged: Judged) -> None:
        closed = judged.closed
        for way in np.unique(judged.judgement).tolist():
            at = judged.judgement == way
            windows = (closed.ends // _PANES[closed.scales] - 1)[at]
            self._heard.append(
                Heard(way, closed.slots[at], windows, closed.levels[at], judged.scores[at])
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
    """Of each agent's hour the highest score."""
    if not heard:
        return Honest(0, [])
    panes = SCALES[min(heard[0].judgement, len(SCALES) - 1)].panes
    hours: dict[tuple[int, int], int] = {}
    for one in heard:
        top = one.scores.max(axis=1)
        some = np.flatnonzero(top > 0)
        at = (one.windows[some] * panes // _HOUR_PANES).tolist()
        for slot, hour, score in zip(one.slots[some].tolist(), at, top[some].tolist(), strict=True):
            hours[slot, hour] = max(hours.get((slot, hour), NO_SCORE), score)
    count = sum(len(one.slots) for one in heard)
    return Honest(count, sorted(hours.values(), reverse=True)[:KEPT])
