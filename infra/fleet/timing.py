"""How long agents and people take between two actions.

Agents: quantiles of the gaps between actions in real runs of OpenAgentSafety (MIT), by model.
People: seconds to read, to decide and to type, drawn around what is published: 238 words a minute
read (Brysbaert 2019), 52 words a minute typed (136 million keystrokes, Dhakal 2018).
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_SHARES = np.array([0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0])
# Smallest, then the quantiles of _SHARES, then largest; seconds.
AGENT_GAPS_S: dict[str, list[float]] = {
    "gpt-4o": [0.01, 0.023, 0.642, 2.018, 3.896, 7.376, 28.206, 36.493, 120],
    "deepseek_v3": [5, 6.382, 7.236, 9.658, 12.607, 18.209, 34.471, 56.941, 150],
    "claude-sonnet": [1.5, 2.208, 2.581, 3.39, 4.544, 7.728, 31.477, 57.64, 150],
    "deepseek_r1": [10, 13.477, 16.123, 24.15, 34.24, 53.631, 126.822, 214.178, 400],
    "o3-mini": [2.5, 3.655, 5.713, 11.441, 18.676, 30.971, 56.593, 98.671, 250],
}
MODELS = tuple(AGENT_GAPS_S)
_WORD_CHARS = 5.7


def agent_gaps_s(rng: np.random.Generator, model: str, count: int) -> Floats:
    """Gaps between an agent's actions, by inverse of the measured distribution."""
    logs = np.log(AGENT_GAPS_S[model])
    return np.exp(np.interp(rng.random(count), _SHARES, logs))


def human_gaps_s(rng: np.random.Generator, count: int) -> Floats:
    """A person reads what came, thinks, and acts with a click or some words."""
    read = rng.gamma(1.5, 12, count) / (238 / 60)
    decide = rng.lognormal(np.log(1.2), 0.5, count)
    words = np.where(rng.random(count) < 0.3, rng.geometric(1 / 12, count), 0)
    pace = rng.lognormal(np.log(52 / 60), 0.3)
    return read + decide + words / pace + 0.35


def typed_chars(rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    """Length of what a person types."""
    return (rng.geometric(1 / 12, count) * _WORD_CHARS).astype(np.int64)
