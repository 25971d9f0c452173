"""Capture requests end once each: answered, or not in time, whatever the order of the records."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tachograph.detectors.published import MAX_SNAPSHOT_BYTES
from tachograph.pipeline.control.captures import GRACE, Captures, Ended
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.codec import encode
from tachograph.schemas.records import Directive

START = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
HOLDS = timedelta(seconds=20)
AFTER = START + timedelta(hours=1)


def asked(name: str, **fields: Any) -> Directive:
    """A capture request of agent a."""
    made = Directive(
        directive_id=name, tenant="acme", kind="capture", agent_id="a", alert_id=f"alert-{name}",
        reason="why", issued_at=START, expires_at=START + HOLDS, entity="a", bucket_start=START,
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


def told(name: str, **fields: Any) -> StateSnapshot:
    """A snapshot of agent a that answers a request."""
    made = StateSnapshot(
        snapshot_id=f"s-{name}", tenant="acme", taken_at=START, agent_id="a", directive_id=name
    )
    return msgspec.structs.replace(made, **fields)


Step = tuple[str, str]
STEPS = st.lists(st.tuples(st.sampled_from(("ask", "tell")), st.sampled_from("xyz")), max_size=12)


def play(steps: list[Step]) -> list[Ended]:
    """What ends, in order, when the records come in this order and then nothing for an hour."""
    held, ended = Captures(), list[Ended]()
    for offset, (what, name) in enumerate(steps):
        if what == "ask":
            ended += held.asked(asked(name), offset)
        else:
            ended += held.told(told(name), START + timedelta(seconds=1))
    ended += held.overdue(AFTER)
    assert held.floor() is None
    return ended


@given(STEPS)
def test_each_request_ends_once_as_the_set_of_records_says(steps: list[Step]) -> None:
    requests = {name for what, name in steps if what == "ask"}
    answers = {name for what, name in steps if what == "tell"}
    ended = play(steps)
    assert sorted(one.answer.directive_id for one in ended) == sorted(requests)
    answered = {one.answer.directive_id for one in ended if one.answer.answered}
    assert answered == requests & answers


def test_an_answer_carries_the_snapshot_and_where_the_alert_is_kept() -> None:
    held = Captures()
    assert list(held.asked(asked("x"), 7)) == []
    assert held.floor() == 7
    [ended] = held.told(told("x", goals=["book"]), AFTER)
    answer = ended.answer
    assert (answer.alert_id, answer.entity, answer.bucket_start) == ("alert-x", "a", START)
    assert answer.snapshot is not None
    assert (answer.snapshot.goals, answer.decided_at) == (["book"], AFTER)


def test_a_request_is_overdue_after_its_time_and_not_before() -> None:
    held = Captures()
    list(held.asked(asked("x"), 0))
    assert list(held.overdue(START + HOLDS + GRACE)) == []
    [ended] = held.overdue(START + HOLDS + GRACE + timedelta(microseconds=1))
    assert (ended.outcome, ended.answer.answered) == ("unanswered", False)
    assert ended.answer.decided_at == START + HOLDS


def test_an_answer_after_all_still_counts_once() -> None:
    held = Captures()
    list(held.asked(asked("x"), 0))
    assert [one.outcome for one in held.overdue(AFTER)] == ["unanswered"]
    assert list(held.told(told("x", agent_id="b"), AFTER)) == []
    [late] = held.told(told("x", goals=["book"]), AFTER)
    assert (late.outcome, late.answer.answered, late.answer.alert_id) == ("late", True, "alert-x")
    assert list(held.told(told("x", goals=["other"]), AFTER)) == []
    assert held.floor() is None


def test_another_agent_cannot_answer() -> None:
    held = Captures()
    list(held.asked(asked("x"), 0))
    assert list(held.told(told("x", agent_id="b"), START)) == []
    assert list(held.told(told("x", tenant="other"), START)) == []
    assert [one.answer.answered for one in held.told(told("x"), START)] == [True]


def test_directives_that_ask_for_nothing_are_passed_by() -> None:
    held = Captures()
    assert list(held.asked(asked("x", kind="quarantine"), 0)) == []
    assert list(held.asked(asked("y", alert_id=None), 1)) == []
    assert (len(held), held.floor()) == (0, None)


def test_beyond_the_limit_the_oldest_request_ends_unanswered() -> None:
    held = Captures(max_open=2, max_early=1, max_ended=2)
    ended = [one for n in range(4) for one in held.asked(asked(f"x{n}"), n)]
    assert [(one.answer.directive_id, one.outcome) for one in ended] == [
        ("x0", "evicted"),
        ("x1", "evicted"),
    ]
    assert len(held) == 2


def test_snapshots_that_nobody_asked_for_are_kept_small_and_few() -> None:
    held = Captures(max_early=2)
    for n in range(5):
        early = told(f"x{n}", memory={"all": "m" * 100_000})
        assert list(held.told(early, START)) == []
    assert held.evicted == 3
    [ended] = held.asked(asked("x4"), 0)
    assert ended.answer.snapshot is not None
    assert len(encode(ended.answer.snapshot)) <= MAX_SNAPSHOT_BYTES
    assert list(held.asked(asked("x0"), 1)) == []
