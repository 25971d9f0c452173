"""A rule whose groups' events wait for a missing step says, call by call, what one says that goes
over every event as it comes.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.correlation.correlator import Correlator
from tachograph.detectors.correlation.lacking import Lacking, needed
from tachograph.detectors.engine import Engine
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.schemas.alert import Signal
from tests.detectors.correlation.kinds import BASE, correlation
from tests.detectors.correlation.oracle import Event
from tests.detectors.correlation.play import EXAMPLES, LATENESS_S, LINKS, Player, streams
from tests.detectors.made import rules

KINDS = {
    "a, b": correlation("temporal_ordered", "ab", ""),
    "a, b, c, by agent": correlation("temporal_ordered", "abc", "", "agent"),
    "all": correlation("temporal", "abc", ""),
    "two of three": correlation("temporal", "abc", "{gte: 2}"),
}


class Told(Player):
    """A player that remembers what was said, and whose events wait as a test wants it."""

    def __init__(self, rule_set: RuleSet, matcher: Any, max_rows: int | None) -> None:
        """`max_rows`: events that may wait; None: none ever does."""
        self._max_rows = max_rows
        self.said: list[Signal] = []
        super().__init__(rule_set, matcher)

    def _fresh(self) -> Engine:
        engine = super()._fresh()
        for judge in engine.bank._judges.values():
            assert isinstance(judge, Correlator)
            known = () if self._max_rows is None else needed(judge.rule)
            judge._lacking = Lacking(known, self._max_rows or 0)
        return engine

    def _take(self, signals: Sequence[Signal]) -> None:
        self.said += sorted(signals, key=lambda signal: (signal.rule_id, signal.signal_id))
        super()._take(signals)


@pytest.fixture(scope="module")
def made() -> tuple[RuleSet, Any]:
    found = rules(BASE + "".join(text.replace("NAME", name) for name, text in KINDS.items()))
    return found, Engine(found)._matcher


def test_steps_that_are_all_needed_are_told_from_those_that_are_not(
    made: tuple[RuleSet, Any],
) -> None:
    asked = {rule.meta.title: needed(rule) for rule in made[0].correlations}
    assert asked == {
        "a, b": (0b11,),
        "a, b, c, by agent": (0b111,),
        "all": (0b111,),
        "two of three": (),
    }


@settings(max_examples=EXAMPLES, deadline=None)
@given(stream=streams(), data=st.data())
def test_waiting_for_a_step_changes_nothing_that_is_said(
    made: tuple[RuleSet, Any], stream: list[Event], data: st.DataObject
) -> None:
    players = [Told(*made, None), Told(*made, 4_096), Told(*made, 3)]
    order = data.draw(st.permutations(stream))
    links = data.draw(LINKS)
    while order:
        size = data.draw(st.integers(1, 6))
        batch, order = order[:size], order[size:]
        then = data.draw(st.sampled_from(["nothing", "nothing", "tick", "relink", "reload"]))
        for player in players:
            player.judge(batch, {})
            if then == "tick":
                player.tick(_reached(batch, order))
            elif then == "relink":
                player.relink(links)
            elif then == "reload":
                player.reload()
    for player in players:
        player.close()
    assert players[1].said == players[0].said
    assert players[2].said == players[0].said


def _reached(batch: Sequence[Event], to_come: Sequence[Event]) -> int:
    """What a tick may say after a batch: an event that is not late comes within the lateness."""
    last = [event.time + LATENESS_S for event in to_come if not event.late]
    return min([max(event.time for event in batch), *last])
