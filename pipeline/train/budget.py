"""A budget of false alarms as a person writes it: `1/agent/day`."""

import re

from tachograph.pipeline.errors import ConfigError

_WRITTEN = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*/\s*agent\s*/\s*(hour|day|week|month)\s*")
_PER_DAY = {"hour": 24.0, "day": 1.0, "week": 1 / 7, "month": 1 / 30}


def per_agent_day(text: str) -> float:
    """Alarms an agent and day. Raises ConfigError."""
    found = _WRITTEN.fullmatch(text)
    budget = float(found[1]) * _PER_DAY[found[2]] if found else 0.0
    if budget <= 0:
        raise ConfigError(f"--budget {text}: write it as 1/agent/day, 0.2/agent/week …")
    return budget
