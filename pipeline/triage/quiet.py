"""Faust, mode and aiokafka speak through our own log: warnings and worse, cut short, not in floods.

While a broker is away aiokafka says so sixty times a second.
"""

import logging
import time
from collections.abc import Callable

from tachograph.pipeline import log as logs

NAMES = ("faust", "mode", "aiokafka", "asyncio")
MAX_CHARS = 300
SAME_EVERY_S = 10.0
MAX_REMEMBERED = 256


class Relay(logging.Handler):
    """Hands lines over; of the same line (its words before values are filled in) one in a while."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(level=logging.WARNING)
        self._clock_s = clock_s
        self._said: dict[str, tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, or count it among those that the next one stands for."""
        name = f"{record.name} {record.msg}"
        now_s = self._clock_s()
        said_s, held = self._said.get(name, (-SAME_EVERY_S, 0))
        if now_s - said_s < SAME_EVERY_S:
            self._said[name] = (said_s, held + 1)
            return
        if len(self._said) >= MAX_REMEMBERED:
            self._said.clear()
        self._said[name] = (now_s, 0)
        speak = logs.get(record.name)
        say = speak.error if record.levelno >= logging.ERROR else speak.warning
        say("library", text=record.getMessage()[:MAX_CHARS], not_repeated=held)


def hush() -> None:
    """Route the libraries' loggers; may be called again."""
    relay = Relay()
    for name in NAMES:
        logger = logging.getLogger(name)
        logger.handlers = [relay]
        logger.setLevel(logging.WARNING)
        logger.propagate = False
