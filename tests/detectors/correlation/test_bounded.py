"""Rules that may hold far too little: they hold no more than that, and say what it costs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.engine import Engine
from tachograph.detectors.language.rule import Correlation
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.limits import Limits
from tests.detectors.correlation.kinds import CHAINED, EXTENDED, SLIDING, Kind, rules_of
from tests.detectors.correlation.oracle import Event
from tests.detectors.correlation.play import EXAMPLES, LATENESS_S, Player, saying, streams

KINDS = [*SLIDING, *CHAINED, *EXTENDED]
LIMITS = Limits(
    allowed_lateness_s=LATENESS_S, events_per_group=4, events_per_rule=8, groups_per_rule=3
)


@pytest.fixture(scope="module")
def made() -> tuple[RuleSet, Any]:
    found = rules_of(KINDS)
    return found, Engine(found)._matcher


def play_in_order(player: Player, data: st.DataObject, stream: Sequence[Event]) -> Counter[str]:
    """Events as they happened, in any batches; what each rule forgot at a limit. A signal that was
    right when it was said stands, also where what would revise it comes when all is forgotten: so
    nothing comes out of order here, and no two events at one time.
    """
    batch: list[Event] = []
    lost: Counter[str] = Counter()
    for event in stream:
        batch.append(event)
        if data.draw(st.booleans()):
            player.judge(batch, {})
            batch = []
            held_within_limits(player.engine)
            if data.draw(st.integers(0, 5)) == 0:
                lost += forgotten(player.engine)
                player.reload()
    player.judge(batch, {})
    player.close()
    return lost + forgotten(player.engine)


def held_within_limits(engine: Engine) -> None:
    for judge in engine.bank._judges.values():
        blocks = judge.memory.blocks
        assert blocks.size <= LIMITS.events_per_rule
        assert len(blocks.used()) <= LIMITS.groups_per_rule
        assert max(blocks.groups["size"], default=0) <= LIMITS.events_per_group


def forgotten(engine: Engine) -> Counter[str]:
    """By rule, since the engine was made."""
    return Counter({
        rule.meta.rule_id: found.evicted_events + found.evicted_groups + found.evicted_signals
        + found.evicted_values
        for rule, found in engine.bank.stats()
    })  # fmt: skip


def chain(rule: Correlation) -> Iterator[str]:
    """A rule, and those that it rests on."""
    yield rule.meta.rule_id
    for step in rule.steps:
        if step.inner is not None:
            yield from chain(step.inner)


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(stream=streams(marks=False), data=st.data())
def test_a_signal_that_is_not_what_the_whole_set_gives_says_that_the_rule_forgot(
    made: tuple[RuleSet, Any], stream: list[Event], data: st.DataObject
) -> None:
    rules, matcher = made
    stream = sorted({event.time: event for event in stream}.values())
    player = Player(rules, matcher, LIMITS)
    lost = play_in_order(player, data, stream)
    by_title = {rule.meta.title: rule for rule in rules.correlations}
    for kind in KINDS:
        rule = by_title[kind.name]
        differs = check(player, kind, stream)
        assert not differs or any(lost[one] for one in chain(rule)), kind.name


def check(player: Player, kind: Kind, stream: Sequence[Event]) -> bool:
    """Whether what stands is not what brute force finds."""
    wanted = {one.rounded() for one in kind.expected(stream, {})}
    said = {saying(s): s for s in player.standing.signals.values() if s.title == kind.name}
    for wrong in said.keys() - wanted:
        spots = said[wrong].blind_spots
        assert any("forgot" in spot or "missed something" in spot for spot in spots), kind.name
    return said.keys() != wanted
