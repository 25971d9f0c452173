"""Time as an argument: stages take a `Clock`, tests give them one they can turn."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

# Microseconds since the epoch, UTC.
Clock = Callable[[], int]

SECOND_US = 1_000_000


def system_us() -> int:
    """The machine's clock, in microseconds since the epoch."""
    return time.time_ns() // 1000


def to_datetime(at_us: int) -> datetime:
    """UTC datetime of microseconds since the epoch."""
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).replace(microsecond=at_us % SECOND_US)


def to_us(at: datetime) -> int:
    """Microseconds since the epoch of an aware datetime; exact, no float in between."""
    delta = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * SECOND_US + delta.microseconds
