"""Waiting for what other threads and processes bring about."""

import time
from collections.abc import Callable

# Far beyond what it takes on a machine with ten times the load: it costs only where nothing comes.
WAIT_S = 180.0


def eventually(condition: Callable[[], bool], what: str, within_s: float = WAIT_S) -> None:
    """Wait until it is true; fails with what was waited for."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)
