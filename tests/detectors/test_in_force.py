"""A timeline says at every moment what the changes said last for it, whatever their order."""

from hypothesis import given
from hypothesis import strategies as st

from tachograph.detectors.in_force import (
    FOR_EVER_US,
    LONG_AGO_US,
    Change,
    Period,
    Subject,
    Timeline,
    spans,
)

START = Period(LONG_AGO_US, "r0", "k0")
CHANGES = st.lists(
    st.builds(
        Change,
        from_us=st.integers(0, 9),
        order=st.integers(0, 50),
        subject=st.sampled_from(["rules", "reference"]),
        content=st.sampled_from(["x", "y", "z"]),
    ),
    max_size=8,
    unique_by=lambda change: change.order,
)


def holds(changes: list[Change], subject: Subject, at_us: int) -> str:
    came = sorted(c for c in changes if c.subject == subject and c.from_us <= at_us)
    return came[-1].content if came else {"rules": "r0", "reference": "k0"}[subject]


@given(CHANGES, st.randoms(use_true_random=False))
def test_at_every_moment_the_change_said_last_for_it_holds(
    changes: list[Change], rng: object
) -> None:
    shuffled = list(changes)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    timeline = Timeline.of(shuffled, START)
    assert timeline.starts_us == sorted(set(timeline.starts_us))
    for at_us in range(-1, 12):
        period = timeline.at(at_us)
        assert period.rules == holds(changes, "rules", at_us)
        assert period.reference == holds(changes, "reference", at_us)
        rest = timeline.since(at_us)
        assert all(
            (rest.at(t).rules, rest.at(t).reference)
            == (timeline.at(t).rules, timeline.at(t).reference)
            for t in range(at_us, 12)
        )


@given(CHANGES, CHANGES)
def test_two_timelines_part_where_they_first_differ(one: list[Change], other: list[Change]) -> None:
    first, second = Timeline.of(one, START), Timeline.of(other, START)

    def alike(at_us: int) -> bool:
        mine, its = first.at(at_us), second.at(at_us)
        return (mine.rules, mine.reference) == (its.rules, its.reference)

    differing = [at_us for at_us in range(-1, 12) if not alike(at_us)]
    parts_us = first.parts_us(second)
    assert parts_us == (differing[0] if differing else FOR_EVER_US)


def test_stretches_next_to_each_other_are_one() -> None:
    changes = [Change(at, at, "rules", name) for at, name in ((5, "a"), (7, "b"), (9, "c"))]
    timeline = Timeline.of(changes, START)
    assert spans(timeline, [True, False, True, True]) == [
        (LONG_AGO_US, 5),
        (7, FOR_EVER_US),
    ]
