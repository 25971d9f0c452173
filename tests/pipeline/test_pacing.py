import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.pacing import Pace


class Clock:
    """Time by the clock, and time that was worked."""

    def __init__(self) -> None:
        self.now_s = self.spent_s = 0.0

    def pace(self, **how: float) -> Pace:
        return Pace(now_s=lambda: self.now_s, spent_s=lambda: self.spent_s, **how)

    def fail(self, pace: Pace, cost_s: float) -> None:
        with pace.working():
            self.spent_s += cost_s
            raise TimeoutError

    def work(self, pace: Pace, cost_s: float) -> None:
        with pace.working():
            self.now_s += cost_s
            self.spent_s += cost_s


def test_a_stage_that_begins_or_has_rested_works_at_once() -> None:
    clock = Clock()
    pace = clock.pace(rest=2.0, longest_s=0.5)
    assert pace.left_s() == 0
    clock.work(pace, 0.1)
    clock.now_s += 0.2
    assert pace.left_s() == pytest.approx(0)
    clock.now_s += 10
    assert pace.left_s() == 0


def test_after_a_round_a_stage_gathers_as_its_cost_says_and_no_longer_than_the_limit() -> None:
    clock = Clock()
    pace = clock.pace(rest=2.0, longest_s=0.5)
    clock.work(pace, 0.1)
    assert pace.left_s() == pytest.approx(0.2)
    clock.now_s += 0.15
    assert pace.left_s() == pytest.approx(0.05)
    clock.work(pace, 3.0)
    assert pace.left_s() == pytest.approx(0.5)


def test_who_works_elsewhere_is_told_what_it_cost() -> None:
    clock = Clock()
    pace = clock.pace(rest=8.0, longest_s=3.0)
    pace.worked(0.1)
    assert pace.left_s() == pytest.approx(0.8)
    pace.worked(1.0)
    assert pace.left_s() == pytest.approx(3.0)


def test_waiting_for_others_is_no_cost() -> None:
    clock = Clock()
    pace = clock.pace(rest=2.0, longest_s=0.5)
    with pace.working():
        clock.now_s += 5.0
    assert pace.left_s() == 0


def test_a_round_that_fails_has_its_cost_too() -> None:
    clock = Clock()
    pace = clock.pace(rest=2.0, longest_s=0.5)
    with pytest.raises(TimeoutError):
        clock.fail(pace, 0.1)
    assert pace.left_s() == pytest.approx(0.2)


@given(st.lists(st.floats(0.001, 0.2), min_size=1, max_size=50))
def test_rounds_on_end_take_the_share_of_a_core_that_is_theirs(costs_s: list[float]) -> None:
    clock = Clock()
    pace = clock.pace(rest=2.0, longest_s=1.0)
    for cost_s in costs_s:
        clock.work(pace, cost_s)
        clock.now_s += pace.left_s()
    assert sum(costs_s) == pytest.approx(clock.now_s / 3)
