"""What a person is told of a window is what the engine says of it."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.correlation.held import HeldGroups
from tachograph.detectors.correlation.standing import Standing, Stands
from tachograph.detectors.engine import Engine
from tachograph.detectors.language.rule import Correlation, FirstSeen
from tachograph.detectors.language.ruleset import RuleSet
from tests.detectors.correlation.kinds import EXTENDED, SLIDING, rules_of
from tests.detectors.correlation.oracle import Event
from tests.detectors.correlation.play import EXAMPLES, Player, streams
from tests.detectors.made import SECOND_US, at

# Of one group, in which bucket (of a session: from when), at which event.
Spoken = tuple[str, str, str]


@pytest.fixture(scope="module")
def made() -> tuple[RuleSet, Any]:
    found = rules_of([*SLIDING, *EXTENDED])
    return found, Engine(found)._matcher


def told(rule: Correlation, groups: HeldGroups) -> Iterator[Spoken]:
    """Where a rule is told to be satisfied, in the order of events."""
    stands = Stands(groups)
    for group in groups:
        said: set[str] = set()
        for facts in groups.events(group).facts:
            standing = stands.at(group, facts.event_id)
            bucket = _bucket(rule, standing, facts.time_us)
            if standing.missing is None and bucket not in said:
                yield ",".join(group.values.values()), bucket, facts.event_id
                # Of new values each is said.
                if not isinstance(rule.asks, FirstSeen):
                    said.add(bucket)


def _bucket(rule: Correlation, standing: Standing, time_us: int) -> str:
    if rule.window == "session":
        return standing.since
    return str(time_us // rule.timespan_us)


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(stream=streams(), data=st.data())
def test_where_nothing_is_missing_the_rule_speaks_and_nowhere_else(
    made: tuple[RuleSet, Any], stream: list[Event], data: st.DataObject
) -> None:
    found, matcher = made
    player = Player(found, matcher)
    player.judge(stream, {})
    if data.draw(st.booleans()):
        player.reload()
    some = data.draw(
        st.sets(st.sampled_from(range(len(found.correlations))), min_size=4, max_size=4)
    )
    asked = [found.correlations[place] for place in sorted(some)]
    expected = {
        rule.meta.title: sorted(told(rule, groups))
        for rule in asked
        if (groups := player.engine.bank.groups(rule)) is not None
    }
    player.close()
    for rule in asked:
        said, mine = sorted(_said(player, rule)), expected[rule.meta.title]
        if rule.window != "sliding":
            # Of a window that is judged as a whole it does not matter at which event it is asked.
            said, mine = ([(*one[:2], "") for one in found] for found in (said, mine))
        assert mine == said, rule.meta.title


def _said(player: Player, rule: Correlation) -> Iterator[Spoken]:
    for signal in player.standing.signals.values():
        if signal.rule_id == rule.meta.rule_id:
            window = signal.witness.window
            bucket = window["bucket"]
            if rule.window == "session":
                bucket = at(int(bucket) / SECOND_US).isoformat()
            yield ",".join(signal.group.values()), bucket, window["last"]
