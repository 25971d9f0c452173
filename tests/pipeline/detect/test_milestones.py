"""Whoever reads on from where a milestone says misses nothing that was observed since."""

from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.detect import milestones as module
from tachograph.pipeline.detect.milestones import EVERY_US, Milestones


@given(st.lists(st.integers(0, 200), min_size=1, max_size=60), st.integers(0, 220))
def test_nothing_observed_since_a_time_lies_before_the_offset_that_is_given(
    tens: list[int], asked: int
) -> None:
    observed = [tenth * EVERY_US // 5 for tenth in tens]
    milestones = Milestones()
    for offset, at_us in enumerate(observed):
        milestones.note(at_us, offset + 1)
    again = Milestones()
    again.restore(milestones.state())
    asked_us = asked * EVERY_US // 5
    start = again.before(asked_us)
    assert start == milestones.before(asked_us)
    assert again.newest_us == max(observed)
    assert all(at_us < asked_us for at_us in observed[: start or 0])
    before = [at for at in range(len(observed)) if max(observed[: at + 1]) < asked_us - EVERY_US]
    assert (start or 0) >= len(before), "it goes back no further than it must"


def test_old_milestones_are_forgotten_at_the_limit() -> None:
    limit, module.MAX_MILESTONES = module.MAX_MILESTONES, 3
    try:
        milestones = Milestones()
        for offset in range(20):
            milestones.note(offset * EVERY_US, offset + 1)
        assert len(milestones) <= 6
        assert milestones.before(5 * EVERY_US) is None
        assert milestones.before(19 * EVERY_US) == 19
    finally:
        module.MAX_MILESTONES = limit
