"""The sessions of a partition: the same however their steps come, bounded, moved by links."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.detectors.facts import Facts
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked
from tachograph.detectors.sessions import store as sessions_store
from tachograph.detectors.sessions.followed import Followed
from tachograph.detectors.sessions.keys import Key
from tachograph.detectors.sessions.store import Store


class Step(msgspec.Struct, frozen=True):
    facts: Facts
    chars: int = 1

    @property
    def order(self) -> tuple[int, str]:
        return self.facts.time_us, self.facts.event_id


class Live(Followed[Step]):
    """Weighs what its steps say that they weigh; forgets the oldest."""

    def _held(self, step: Step) -> Step:
        self.chars += step.chars
        return step

    def reread(self) -> None:
        super().reread()
        self.at_hand = False

    def read(self) -> None:
        self.at_hand = True

    def _lighten(self) -> None:
        self._refill(self.steps[len(self.steps) // 2 :])


def store(**limits: int) -> Store[Live, Step]:
    return Store(Limits(**limits), Live)


def step(session: str, at: int, trace: str = "t", chars: int = 1) -> Step:
    facts = Facts(event_id=f"{at:03}", time_us=at, tenant="a", session_id=session, trace_id=trace)
    return Step(facts, chars)


def key(session: str) -> Key:
    return "a", "", session


def events(kept: Store[Live, Step], session: str) -> list[str]:
    return [one.facts.event_id for one in kept[key(session)].steps]


STEPS = st.builds(step, st.sampled_from("xyz"), st.integers(0, 30))


@given(st.lists(st.lists(STEPS, max_size=8), max_size=5))
def test_a_session_holds_each_step_once_in_order_however_they_come(
    batches: Sequence[Sequence[Step]],
) -> None:
    kept = store()
    for batch in batches:
        kept.put(batch)
    for session in "xyz":
        wanted = {
            one.order for batch in batches for one in batch if one.facts.session_id == session
        }
        assert (key(session) in kept) == bool(wanted)
        if wanted:
            assert events(kept, session) == [event_id for _, event_id in sorted(wanted)]
            assert kept[key(session)].chars == len(wanted)


@given(st.lists(STEPS, max_size=20), st.integers(1, 3))
def test_sessions_stay_within_their_number_and_what_goes_is_counted(
    steps: Sequence[Step], number: int
) -> None:
    kept, gone = store(live_sessions=number), 0
    for one in steps:
        kept.put([one])
        gone += len(kept.hold_to_limits())
        assert len(list(kept.items())) <= number
        assert key(one.facts.session_id or "") in kept
    assert kept.evicted_sessions == gone


def test_characters_of_all_sessions_are_bounded() -> None:
    kept = store(session_chars=10)
    kept.put([step("x", 1, chars=6), step("y", 2, chars=6)])
    assert kept.hold_to_limits() == [key("x")]
    assert kept.hold_to_limits() == []


@given(st.lists(STEPS, max_size=20), st.integers(1, 12))
def test_the_sessions_read_last_stay_at_hand_as_far_as_they_weigh_less_than_may_be(
    steps: Sequence[Step], most: int
) -> None:
    kept, last = store(), list[str]()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sessions_store, "MAX_READ_CHARS", most)
        for one in steps:
            kept.put([one])
            session = one.facts.session_id or ""
            kept[key(session)].read()
            kept.was_read(key(session))
            kept.hold_to_limits()
            last = [*(name for name in last if name != session), session]
            while sum(kept[key(name)].chars for name in last) > most:
                del last[0]
            at_hand = {found for found, live in kept.items() if live.at_hand}
            assert at_hand == {key(name) for name in last}


def test_a_session_that_was_given_up_says_so_when_it_comes_back() -> None:
    kept = store(live_sessions=1)
    kept.put([step("x", 1), step("y", 2)])
    kept.hold_to_limits()
    kept.put([step("x", 3)])
    assert kept[key("x")].shed
    assert not kept[key("y")].shed


def test_a_session_beyond_its_own_limit_forgets_and_that_is_counted_once() -> None:
    kept = store(steps_per_session=3)
    kept.put([step("x", at) for at in range(10)])
    assert kept[key("x")].shed
    assert len(kept[key("x")].steps) <= 3
    assert kept.evicted_texts == 1


def test_what_fell_back_to_its_trace_moves_to_the_session_that_becomes_known() -> None:
    kept = store()
    kept.put([step("t", 1), step("t", 2), step("s", 3)])
    link = Linked("s", "agent")
    touched = kept.relink({("a", "", "t"): link})
    assert set(touched) == {key("t"), key("s")}
    assert events(kept, "s") == ["001", "002", "003"]
    assert events(kept, "t") == []


def test_what_comes_too_late_is_counted_where_its_session_is_kept() -> None:
    kept = store()
    kept.put([step("x", 1)])
    late = [step("x", 0).facts, step("y", 0).facts, step("x", 0).facts]
    assert list(kept.untimely(late)) == [key("x")]
    assert kept[key("x")].late == 2
    assert key("y") not in kept


def test_what_is_old_is_forgotten_with_its_names() -> None:
    kept = store()
    kept.put([step("x", 1), step("y", 5)])
    assert kept.forget(3) == [key("x")]
    assert list(kept.names.values()) == [key("y")]
