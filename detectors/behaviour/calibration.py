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

from tachograph.detectors.behaviour.features import FEATURE_SET, FEATURES, JUDGEMENTS, SCALES
from tachograph.schemas.identity import plain_id

Ints = npt.NDArray[np.int64]

# False alarms that an honest agent may cost a day.
BUDGET_PER_AGENT_DAY = 0.05
# No bar is lower, whatever the budget: the honest work of a place has longer tails than any that
# was measured elsewhere. By judgement.
LEAST_BARS = (768, 768, 768, 768, 1536)
SHIPPED = Path(__file__).parent / "calibration.json"


class Honest(msgspec.Struct, frozen=True):
    """Scores of honest windows of one judgement: how many windows there were, and the highest
    scores, each the highest of one agent's hour, descending.
    """

    windows: int
    highest: list[int]


class Calibration(msgspec.Struct, frozen=True):
    """`centre` and `spread`: the prior, by length and feature, in levels. `agent_days` of honest
    work, of which `data` says more, made `honest`, by judgement.
    """

    feature_set: int
    centre: list[list[int]]
    spread: list[list[int]]
    agent_days: float
    honest: list[Honest]
    data: str

    def version(self) -> str:
        """Hash of all that it says."""
        return plain_id(msgspec.json.encode(self, order="deterministic").decode())[:16]

    def bars(self, budget_per_agent_day: float = BUDGET_PER_AGENT_DAY) -> Ints:
        """The score from which a window is out of line, by judgement: each has an equal part of the
        budget, and none is below LEAST_BARS.
        """
        allowed = int(budget_per_agent_day * self.agent_days / len(JUDGEMENTS))
        bars = [
            max(_bar(honest.highest, allowed), least)
            for honest, least in zip(self.honest, LEAST_BARS, strict=True)
        ]
        return np.array(bars, np.int64)

    def p_value(self, judgement: int, score: int) -> float:
        """Conformal: (1 + honest hours that reached the score) / (1 + honest windows)."""
        honest = self.honest[judgement]
        return (1 + sum(one >= score for one in honest.highest)) / (1 + honest.windows)


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
    if np.shape(found.spread) != shape or len(found.honest) != len(JUDGEMENTS):
        raise ValueError("a calibration of another shape")
    return found


@functools.cache
def shipped() -> Calibration:
    """The one that comes with the product."""
    return decoded(SHIPPED.read_bytes())
