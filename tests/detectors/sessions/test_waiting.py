"""Calls that wait for something to ask for them: bounded, taken once, moved by links."""

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tachograph.detectors.links import Linked
from tachograph.detectors.sessions.waiting import Waiting, key_text
from tachograph.schemas.batch import COLUMNS
from tests.detectors.made import SECOND_US, frame
from tests.detectors.provenance.sessions import Told


def calls(session: str, number: int, size: int = 1) -> pl.DataFrame:
    told = Told(session)
    for _ in range(number):
        told.call("send", text="x" * size)
    return frame(told.rows)


def key(session: str) -> str:
    return key_text(("default", "place", session))


def taken(waiting: Waiting, session: str) -> int:
    found = waiting.take([key(session)])
    return 0 if found is None else found.height


def test_calls_are_taken_once_by_their_session() -> None:
    waiting = Waiting()
    waiting.push(calls("a", 3))
    waiting.push(calls("b", 2))
    assert [taken(waiting, one) for one in ("a", "a", "b", "c")] == [3, 0, 2, 0]
    assert waiting.rows == 0


def test_the_oldest_go_beyond_a_number_of_rows_and_are_counted() -> None:
    waiting = Waiting(max_rows=4)
    waiting.push(calls("a", 3))
    waiting.push(calls("b", 3))
    assert (waiting.rows, waiting.evicted) == (4, 2)
    assert (taken(waiting, "a"), taken(waiting, "b")) == (1, 3)


def test_the_oldest_go_beyond_a_number_of_bytes_and_are_counted() -> None:
    waiting = Waiting(max_bytes=50_000)
    for session in "abcdefgh":
        waiting.push(calls(session, 2, size=5_000))
    assert waiting.size_bytes <= 50_000
    assert waiting.evicted + waiting.rows == 16
    assert taken(waiting, "h") == 2


def test_calls_move_to_the_session_that_their_trace_belongs_to() -> None:
    waiting = Waiting()
    waiting.push(calls("a", 2).with_columns(session_id=pl.col("trace_id")))
    moved = waiting.relink({("default", "place", "trace of a"): Linked("a", "agent-7")})
    assert moved == {key("a")}
    found = waiting.take([key("a")])
    assert found is not None
    assert found["session_id"].to_list() == ["a", "a"]


def test_what_is_older_than_anything_to_come_is_forgotten_without_a_count() -> None:
    waiting = Waiting()
    waiting.push(calls("a", 5))
    waiting.forget(1_003 * SECOND_US)
    assert (waiting.rows, waiting.evicted) == (2, 0)


def test_a_dump_holds_what_waits() -> None:
    waiting, other = Waiting(), Waiting()
    waiting.push(calls("a", 2))
    waiting.push(calls("b", 1))
    other.load(waiting.dump())
    assert (taken(other, "a"), taken(other, "b")) == (2, 1)


_COLUMNS = {
    name: COLUMNS[name]
    for name in ("event_id", "event_time", "tenant", "partition_key", "session_id", "trace_id")
}
_SESSIONS = st.sampled_from("abcdef")
_OPERATIONS = st.one_of(
    st.tuples(st.just("push"), st.lists(_SESSIONS, max_size=6), st.sets(_SESSIONS, max_size=3)),
    st.tuples(st.just("take"), st.lists(_SESSIONS, min_size=1, max_size=3, unique=True)),
    st.tuples(st.just("forget"), st.integers(0, 40)),
    st.tuples(st.just("dump")),
)


def _pushed(sessions: list[str], number: int) -> pl.DataFrame:
    places = range(number, number + len(sessions))
    return pl.DataFrame(
        {
            "event_id": [str(place) for place in places],
            "event_time": [place * SECOND_US for place in places],
            "tenant": ["default"] * len(sessions),
            "partition_key": ["place"] * len(sessions),
            "session_id": sessions,
            "trace_id": [f"trace of {session}" for session in sessions],
        },
        schema_overrides={"event_time": COLUMNS["event_time"]},
    )


@given(st.lists(_OPERATIONS, max_size=60))
def test_what_is_taken_is_what_was_pushed_and_not_given_back_taken_or_forgotten_before(
    operations: list[tuple[Any, ...]],
) -> None:
    waiting, held, number = Waiting(columns=_COLUMNS), dict[str, str](), 0
    for operation in operations:
        match operation:
            case "push", sessions, asked:
                found = waiting.push(_pushed(sessions, number), {key(one) for one in asked})
                new = {str(number + place): one for place, one in enumerate(sessions)}
                assert _ids(found) == [one for one, session in new.items() if session in asked]
                held |= {one: session for one, session in new.items() if session not in asked}
                number += len(sessions)
            case "take", sessions:
                found = waiting.take([key(one) for one in sessions])
                assert _ids(found) == [one for one in held if held[one] in sessions]
                held = {one: session for one, session in held.items() if session not in sessions}
            case "forget", second:
                waiting.forget(second * SECOND_US)
                held = {one: session for one, session in held.items() if int(one) >= second}
            case _:
                kept, waiting = waiting.dump(), Waiting(columns=_COLUMNS)
                waiting.load(kept)
        assert waiting.rows == len(held)


def _ids(found: pl.DataFrame | None) -> list[str]:
    return [] if found is None else found["event_id"].to_list()
