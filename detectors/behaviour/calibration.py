"""What behaviour is held against that is not the agent's own: the prior of agents nobody knows yet,
and how high scores of honest work come.

Made by training (`tacho train`), a plain JSON file. Scores become conformal p-values: the share of
scores of honest windows that are as high. How many false alarms an agent may cost a day decides
which p is small enough.
"""

import functools
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour.features import (
    AMOUNTS,
    FEATURE_SET,
    FEATURES,
    JUDGEMENTS,
    SCALES,
)
from tachograph.schemas.identity import plain_id

Ints = npt.NDArray[np.int64]

# False alarms that an honest agent may cost a day.
BUDGET_PER_AGENT_DAY = 0.05
# What each judgement spends of it where bars are measured; the rest is for fleets that are unlike
# those. Longer windows spend more: nothing else sees what is slow.
SHARES = (0.09, 0.06, 0.09, 0.12, 0.24)
# No bar is lower, whatever the budget: the honest work of a place has longer tails than any that
# was measured elsewhere. By judgement, for each feature.
LEAST_BARS = (576, 576, 384, 256, 1152)
# Of AMOUNTS, whose spread is the wider of two.
LEAST_BARS_OF_AMOUNTS = (576, 576, 256, 192, 1152)
SHIPPED = Path(__file__).parent / "calibration.json"


class Honest(msgspec.Struct, frozen=True):
    """Scores of honest windows of one judgement: how many windows there were, and of each feature
    the highest scores, each the highest of one agent's hour, descending.
    """

    windows: int
    highest: list[list[int]]


class Calibration(msgspec.Struct, frozen=True):
    """`centre` and `spread`: the prior, by length and feature, in levels; of windows that have any,
    by length and AMOUNTS. `agent_days` of honest
    work, of which `data` says more, made `honest`, by judgement.
    """

    feature_set: int
    centre: list[list[int]]
    spread: list[list[int]]
    some_centre: list[list[int]]
    some_spread: list[list[int]]
    agent_days: float
    honest: list[Honest]
    data: str

    def version(self) -> str:
        """Hash of all that it says."""
        return plain_id(msgspec.json.encode(self, order="deterministic").decode())[:16]

    def bars(self, budget_per_agent_day: float = BUDGET_PER_AGENT_DAY) -> Ints:
        """The score from which a feature of a window is out of line, (judgements, features). Each
        judgement spends its part of the budget: none of its bars is below its least, and those that
        must be above it cost as many honest hours each. So a feature whose honest amounts have long
        tails costs the others nothing.
        """
        budget = budget_per_agent_day * self.agent_days
        bars = [
            _bars(honest.highest, least, share * budget)
            for honest, least, share in zip(self.honest, _least_bars(), SHARES, strict=True)
        ]
        return np.array(bars, np.int64)

    def p_value(self, judgement: int, feature: int, score: int) -> float:
        """Conformal: (1 + honest hours that reached the score) / (1 + honest windows)."""
        honest = self.honest[judgement]
        reached = sum(one >= score for one in honest.highest[feature])
        return (1 + reached) / (1 + honest.windows)


def _least_bars() -> list[list[int]]:
    """By judgement and feature."""
    return [
        [of_amount if at in AMOUNTS else least for at in range(len(FEATURES))]
        for least, of_amount in zip(LEAST_BARS, LEAST_BARS_OF_AMOUNTS, strict=True)
    ]


def _bars(highest: list[list[int]], least: list[int], spent: float) -> list[int]:
    """Bars of one judgement's features."""
    costs = [
        sum(score >= one for score in scores) for scores, one in zip(highest, least, strict=True)
    ]
    allowed = 0
    while sum(min(cost, allowed + 1) for cost in costs) <= spent and allowed < max(costs):
        allowed += 1
    return [max(_bar(scores, allowed), one) for scores, one in zip(highest, least, strict=True)]


def _bar(highest: list[int], allowed: int) -> int:
    """One more than the score that comes after the allowed ones; beyond what was seen there is no
    telling, so nothing is allowed that was not measured.
    """
    return highest[min(allowed, len(highest) - 1)] + 1 if highest else 1


def decoded(text: bytes) -> Calibration:
    """Raises ValueError when it is none, or of other features."""
    try:
        found = msgspec.json.decode(text, type=Calibration)
    except msgspec.MsgspecError as error:
        raise ValueError(f"no calibration: {error}") from error
    shape = (len(SCALES), len(FEATURES))
    if found.feature_set != FEATURE_SET or np.shape(found.centre) != shape:
        raise ValueError("a calibration of other features")
    of_features = [len(one.highest) == len(FEATURES) for one in found.honest]
    some = len(SCALES), len(AMOUNTS)
    if np.shape(found.some_centre) != some or np.shape(found.some_spread) != some:
        raise ValueError("a calibration of other amounts")
    if np.shape(found.spread) != shape or of_features != [True] * len(JUDGEMENTS):
        raise ValueError("a calibration of another shape")
    return found


@functools.cache
def shipped() -> Calibration:
    """The one that comes with the product."""
    return decoded(SHIPPED.read_bytes())
