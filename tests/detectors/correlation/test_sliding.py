"""What stands after any stream is what brute force finds over the whole set of events."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.engine import Engine
from tests.detectors.correlation.kinds import CHAINED, SLIDING, rules_of
from tests.detectors.correlation.oracle import Event
from tests.detectors.correlation.play import (
    EXAMPLES,
    Player,
    play_in_any_order,
    play_in_time,
    streams,
)

KINDS = [*SLIDING, *CHAINED]
RULES = rules_of(KINDS)
MATCHER = Engine(RULES)._matcher


@settings(max_examples=EXAMPLES, deadline=None)
@given(streams(), st.data())
def test_what_stands_is_what_brute_force_finds_over_the_whole_set(
    stream: list[Event], data: st.DataObject
) -> None:
    player = Player(RULES, MATCHER)
    links = play_in_any_order(player, data, stream)
    found = player.sayings()
    for kind in KINDS:
        wanted = sorted(one.rounded() for one in kind.expected(stream, links))
        assert found.get(kind.name, []) == wanted, kind.name


@settings(max_examples=EXAMPLES, deadline=None)
@given(streams(marks=False), st.data())
def test_closing_what_cannot_change_any_more_changes_nothing(
    stream: list[Event], data: st.DataObject
) -> None:
    player = Player(RULES, MATCHER)
    play_in_time(player, data, stream)
    found = player.sayings()
    for kind in KINDS:
        wanted = sorted(one.rounded() for one in kind.expected(stream, {}))
        assert found.get(kind.name, []) == wanted, kind.name
