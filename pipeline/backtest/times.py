"""Moments as a person writes them: `7d` ago, or a time."""

import re
from datetime import UTC, datetime, timedelta

from tachograph.pipeline.errors import ConfigError

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, now: datetime, option: str) -> datetime:
    """The moment that a text means, in UTC. Raises ConfigError that names the option."""
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{option} {text}: say how long ago (7d, 12h, 30m) or a time (2026-11-22T18:00Z)"
        ) from error
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
