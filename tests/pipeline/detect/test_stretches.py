"""A note tells the next owner which stretches to cut alike, and never more than there is."""

from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.detect.stretches import MAX_ENDS, Stretches

OFFSETS = st.integers(0, 400)


@given(st.lists(OFFSETS), OFFSETS, OFFSETS)
def test_what_is_noted_is_what_was_begun_and_is_neither_committed_nor_beyond_the_log(
    begun: list[int], committed: int, end: int
) -> None:
    stretches, ends = Stretches(), list[int]()
    for one in begun:
        further = not ends or one > ends[-1]
        if one and further and len(ends) < MAX_ENDS:
            ends.append(one)
        assert stretches.begin(one) == (bool(ends) and ends[-1] == one and further)
    found = Stretches.noted(stretches.note, start=committed, end=end)
    wanted = sorted({min(one, end) for one in ends if min(one, end) > committed})
    for offset in range(402):
        assert found.end_of(offset) == next((one for one in wanted if one > offset), None)
    stretches.committed(committed)
    assert stretches.note == ",".join(str(one) for one in ends if one > committed)


def test_the_note_stays_short_however_often_owners_die() -> None:
    stretches = Stretches()
    noted = [stretches.begin(2**62 + n) for n in range(2 * MAX_ENDS)]
    assert sum(noted) == MAX_ENDS
    # A broker takes 4096 bytes.
    assert len(stretches.note) < 3_000


@given(st.text())
def test_a_note_of_somebody_else_stops_nobody(note: str) -> None:
    Stretches.noted(note, start=0, end=10)
