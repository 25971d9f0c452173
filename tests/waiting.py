"""Waiting for what other threads and processes bring about."""

import time
from collections.abc import Callable

# Far beyond what it takes on a machine with ten times the load: it costs only where nothing comes.
WAIT_S = 180.0


# Whoever is asked often works less at what is waited for: it has four fifths of the time for that.
PAUSES_PER_QUESTION = 4
SHORTEST_S, LONGEST_S = 0.02, 0.5


def eventually(condition: Callable[[], bool], what: str, within_s: float = WAIT_S) -> None:
    """Wait until it is true; fails with what was waited for."""
    asked = time.monotonic()
    end = asked + within_s
    while not condition():
        told = time.monotonic()
        assert told < end, f"not within {within_s:g} s: {what}"
        time.sleep(min(max(SHORTEST_S, PAUSES_PER_QUESTION * (told - asked)), LONGEST_S))
        asked = time.monotonic()
