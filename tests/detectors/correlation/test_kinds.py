"""What stands after any stream is what brute force finds over the whole set of events."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.engine import Engine
from tachograph.detectors.language.ruleset import RuleSet
from tests.detectors.correlation.kinds import CHAINED, EXTENDED, SLIDING, Kind, rules_of
from tests.detectors.correlation.oracle import Event
from tests.detectors.correlation.play import (
    EXAMPLES,
    Player,
    play_in_any_order,
    play_in_time,
    streams,
)

Kinds = Sequence[Kind]
SETS: dict[str, Kinds] = {"Sigma's": [*SLIDING, *CHAINED], "others": EXTENDED}


@pytest.fixture(scope="module", params=SETS)
def made(request: pytest.FixtureRequest) -> tuple[Kinds, RuleSet, Any]:
    kinds = SETS[request.param]
    found = rules_of(kinds)
    return kinds, found, Engine(found)._matcher


def check(player: Player, kinds: Kinds, stream: list[Event], links: Mapping[str, str]) -> None:
    found = player.sayings()
    for kind in kinds:
        wanted = sorted(one.rounded() for one in kind.expected(stream, links))
        assert found.get(kind.name, []) == wanted, kind.name


@settings(max_examples=EXAMPLES, deadline=None)
@given(stream=streams(), data=st.data())
def test_what_stands_is_what_brute_force_finds_over_the_whole_set(
    made: tuple[Kinds, RuleSet, Any], stream: list[Event], data: st.DataObject
) -> None:
    kinds, found, matcher = made
    player = Player(found, matcher)
    links = play_in_any_order(player, data, stream)
    check(player, kinds, stream, links)


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(stream=streams(marks=False), data=st.data())
def test_closing_what_cannot_change_any_more_changes_nothing(
    made: tuple[Kinds, RuleSet, Any], stream: list[Event], data: st.DataObject
) -> None:
    kinds, found, matcher = made
    player = Player(found, matcher)
    play_in_time(player, data, stream)
    check(player, kinds, stream, {})


def test_late_actions_of_the_moment_are_counted_wherever_their_ids_put_them(
    made: tuple[Kinds, RuleSet, Any],
) -> None:
    kinds, found, matcher = made
    marked = [("6", "a", False), ("8", "b", False), ("7", "a", True), ("9", "a", True)]
    stream = [
        Event(time=0, id=first * 32, tool=tool, trace="T1", session=None, late=late)
        for first, tool, late in marked
    ]
    player = Player(found, matcher)
    player.judge(stream, {})
    player.close()
    check(player, kinds, stream, {})


def test_of_two_ways_that_begin_at_one_moment_the_one_with_the_latest_events_is_shown(
    made: tuple[Kinds, RuleSet, Any],
) -> None:
    kinds, found, matcher = made
    marked = [("6", 2, "ab"), ("7", 2, "ab"), ("8", 4, "c"), ("9", 5, "a")]
    stream = [
        Event(time=time, id=first * 32, tool=tool, trace="T1", session=None)
        for first, time, tool in marked
    ]
    player = Player(found, matcher)
    player.judge(stream, {})
    player.close()
    check(player, kinds, stream, {})
