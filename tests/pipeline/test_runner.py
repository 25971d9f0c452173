"""A stage that cannot go on now is started again: later each time, soon after a good run."""

import threading

from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.runner import BACKOFF_S, GOOD_S, keep_running
from tachograph.pipeline.settings import Settings


class Waits(threading.Event):
    """A stop that is never waited for: it writes down how long it would have been."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Nothing passes but what is written down."""
        self.waited_s.append(timeout or 0.0)
        return self.is_set()


def _waits_after(runs_s: list[float]) -> list[float]:
    """What is waited between runs of these lengths that all end with RetryLater."""
    stop, clock_s, left = Waits(), [0.0], list(runs_s)

    def run(_settings: Settings, _stop: threading.Event) -> None:
        if not left:
            return
        clock_s[0] += left.pop(0)
        raise RetryLater("the broker is away")

    keep_running("tests", run, Settings.from_env({}), stop, now_s=lambda: clock_s[0])
    return stop.waited_s


def test_each_failure_is_waited_out_longer_up_to_a_bound() -> None:
    assert _waits_after([0.0] * 7) == [*BACKOFF_S, BACKOFF_S[-1], BACKOFF_S[-1]]


def test_after_a_good_run_the_first_failure_counts_as_the_first() -> None:
    assert _waits_after([0.0, 0.0, 0.0, GOOD_S, 1.0]) == [*BACKOFF_S[:3], *BACKOFF_S[:2]]


def test_a_stage_that_ends_is_not_started_again() -> None:
    assert _waits_after([]) == []
