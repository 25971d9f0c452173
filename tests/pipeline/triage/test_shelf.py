"""Entries leave when they are too old or too many, the longest untouched first."""

from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.triage.shelf import MOST_MS, Shelf


def test_an_entry_that_is_not_touched_for_long_leaves() -> None:
    shelf = Shelf(keep_ms=100)
    shelf.touch(b"old", 0, at_ms=0, size_bytes=1)
    shelf.touch(b"new", 1, at_ms=101, size_bytes=1)
    assert list(shelf.leaving()) == [(b"old", 0, "expired")]
    assert len(shelf) == 1


def test_an_entry_whose_bucket_is_not_over_stays_and_nobody_waits_behind_it() -> None:
    shelf = Shelf(keep_ms=100)
    shelf.touch(b"of a day", 0, at_ms=0, size_bytes=1, over_ms=1_000)
    shelf.touch(b"old", 0, at_ms=1, size_bytes=1)
    shelf.touch(b"new", 1, at_ms=999, size_bytes=1)
    assert list(shelf.leaving()) == [(b"old", 0, "expired")]
    shelf.touch(b"newer", 1, at_ms=1_101, size_bytes=1)
    assert list(shelf.leaving()) == [(b"new", 1, "expired"), (b"of a day", 0, "expired")]


def test_a_bucket_that_is_never_over_is_waited_for_a_day() -> None:
    shelf = Shelf()
    shelf.touch(b"said to be", 0, at_ms=0, size_bytes=1, over_ms=10**15)
    shelf.touch(b"new", 0, at_ms=MOST_MS - 1, size_bytes=1)
    assert list(shelf.leaving()) == []
    shelf.touch(b"newer", 0, at_ms=2 * MOST_MS, size_bytes=1)
    assert (b"said to be", 0, "expired") in list(shelf.leaving())


def test_a_touch_keeps_an_entry() -> None:
    shelf = Shelf(max_entries=2)
    for at_ms, key in enumerate([b"a", b"b", b"a", b"c"]):
        shelf.touch(key, 0, at_ms, 1)
    assert [key for key, _, _ in shelf.leaving()] == [b"b"]


def test_what_left_is_not_touched_by_time_again() -> None:
    shelf = Shelf(keep_ms=10)
    shelf.touch(b"a", 0, 0, 1)
    shelf.forget(b"a")
    shelf.forget(b"a")
    shelf.touch(b"b", 0, 1_000, 1)
    assert list(shelf.leaving()) == []


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1_000), st.integers(1, 50))),
    st.integers(1, 10),
    st.integers(10, 200),
)
def test_neither_number_nor_bytes_ever_stay_above_the_limit(
    touches: list[tuple[int, int, int]], max_entries: int, max_bytes: int
) -> None:
    shelf = Shelf(keep_ms=10**9, max_entries=max_entries, max_bytes=max_bytes)
    held: dict[bytes, int] = {}
    for number, at_ms, size in touches:
        key = str(number).encode()
        shelf.touch(key, 0, at_ms, size)
        held.pop(key, None)
        held[key] = size
        for gone, _, why in shelf.leaving():
            assert why == "evicted"
            assert gone == next(iter(held))  # the longest untouched
            del held[gone]
        assert len(held) == len(shelf) <= max_entries
        assert sum(held.values()) <= max_bytes


def test_after_a_restart_the_order_is_that_of_the_last_touch() -> None:
    shelf = Shelf(max_entries=1)
    shelf.rebuild([(b"late", 0, 9, 1, 0), (b"early", 0, 3, 1, 0), (b"later", 0, 12, 1, 0)])
    assert [key for key, _, _ in shelf.leaving()] == [b"early", b"late"]
