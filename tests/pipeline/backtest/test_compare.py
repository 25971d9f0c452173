"""Signals of two versions are compared by what they are about, whatever their ids are."""

from datetime import UTC, datetime, timedelta

import pytest

from tachograph.pipeline.backtest import compare
from tachograph.pipeline.backtest.compare import Comparison, DayOf, Said
from tachograph.pipeline.errors import ConfigError

DAY = datetime(2026, 11, 22, tzinfo=UTC)
LATER = DAY + timedelta(days=9)


def said(event: str, at_s: float = 0, span_s: int = 0, group: tuple[str, ...] = ()) -> Said:
    when = DAY + timedelta(seconds=at_s)
    return Said("rule", "tenant", when, event, span_s, group, f"because of {event}")


def compared(now: list[Said], before: list[Said]) -> list[tuple[int, int, int]]:
    found = Comparison()
    for number, one in enumerate(now):
        found.say(str(number), one)
    found.before(before)
    found.settle(LATER)
    return [(one.new, one.gone, one.unchanged) for one in found.days]


def test_single_events_are_compared_by_event() -> None:
    assert compared([said("a"), said("b")], [said("b"), said("c")]) == [(1, 1, 1)]


def test_windows_are_compared_by_group_and_stretch() -> None:
    now = [said("a", 10, 60, ("x",)), said("b", 10, 60, ("y",)), said("c", 70, 60, ("x",))]
    before = [said("z", 59, 60, ("x",)), said("c", 130, 60, ("x",))]
    assert compared(now, before) == [(2, 1, 1)]


def test_with_two_timespans_the_longer_one_is_the_stretch() -> None:
    assert compared([said("a", 10, 60)], [said("b", 170, 300)]) == [(0, 0, 1)]
    assert compared([said("a", 10, 60)], [said("b", 310, 300)]) == [(1, 1, 0)]


def test_what_is_taken_back_is_not_said() -> None:
    found = Comparison()
    found.say("one", said("a"))
    found.take_back("one")
    found.take_back("never said")
    found.settle(LATER)
    assert found.days == []


def test_days_are_told_apart_and_settled_when_they_are_over() -> None:
    found = Comparison()
    found.say("one", said("a", 1))
    found.say("two", said("b", 86_401))
    found.settle(DAY + timedelta(days=1))
    assert found.days == [DayOf("rule", DAY.date(), 1, 0, 0)]
    found.settle(LATER)
    assert [one.day.day for one in found.days] == [22, 23]


def test_examples_are_few_and_say_why() -> None:
    found = Comparison()
    for number in range(compare.MAX_EXAMPLES + 5):
        found.say(str(number), said(f"e{number:02}", number))
    found.before([said("old")])
    found.settle(LATER)
    assert len(found.examples) == compare.MAX_EXAMPLES + 1
    assert found.examples[0].reason == "because of e00"
    assert found.examples[-1].change == "gone"


def test_more_signals_than_can_be_held_are_an_error() -> None:
    found = Comparison()
    with pytest.raises(ConfigError, match="wait to be compared"):
        found.before(said(str(number)) for number in range(compare.MAX_HELD + 1))
