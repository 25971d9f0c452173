"""What is told several times, by sources of which one is far behind the others, counts once: the
place says, to the number, what is said of the set of actions (see test_behaviour_oracle).
"""

import random
from typing import Any, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.schemas.alert import Signal
from tests.detectors.behaviour.test_behaviour_oracle import BURSTS, START_S, Burst, story
from tests.detectors.made import SECOND_US, at, frame, rules, stateless

# One rule that never fires, in a set that watches agents as the shipped one does.
RULES = msgspec.structs.replace(
    rules(stateless("  never:\n    tool.name: nothing\n  condition: never")), follows_sessions=True
)
SOURCES = 3
# Each source ends with a beat long after all else, which another may not have come to yet.
BEAT_S = START_S + 4 * 3600
# A report comes so much later than its action at most: it is in time.
DELAY_S = 50


class Report(NamedTuple):
    """An action as a source tells it."""

    observed_s: float
    row: dict[str, Any]


def said(signals: list[Signal]) -> list[tuple[Any, ...]]:
    return sorted(
        (one.signal_id, one.reason.text, one.event_count, tuple(one.event_ids), one.event_time)
        for one in signals
        if one.kind == "anomaly"
    )


def told_once(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What is said of each action once, with nothing between: as the oracle has it."""
    one = Behaviour()
    one.judge(frame([_told(Report(row["event_time"], row)) for row in rows]), 1)
    return said(one.close(2).signals)


def _told(report: Report) -> dict[str, Any]:
    row = {name: value for name, value in report.row.items() if name != "time_us"}
    return row | {"observed_time": at(report.observed_s)}


def reports(rows: list[dict[str, Any]], chance: random.Random) -> list[list[Report]]:
    """What each source tells, in its order; a third of all is told twice, by whichever source."""
    told: list[list[Report]] = [[] for _ in range(SOURCES)]
    for row in rows:
        for _ in range(chance.choice((1, 1, 2))):
            observed_s = row["event_time"] + chance.random() * DELAY_S
            told[chance.randrange(SOURCES)].append(Report(observed_s, row))
    beat = {"event_id": f"{7:032x}", "event_time": BEAT_S, "kind": "heartbeat", "agent_id": "beat"}
    return [
        [*sorted(one, key=lambda report: report.observed_s), Report(BEAT_S, beat)] for one in told
    ]


@settings(max_examples=8, deadline=None)
@given(bursts=BURSTS, seed=st.integers(0, 2**16))
def test_a_source_that_is_far_behind_makes_nothing_count_twice(
    bursts: list[Burst], seed: int
) -> None:
    chance = random.Random(seed)
    rows = story(bursts, seed)
    left = reports(rows, chance)
    reached = [0.0] * SOURCES
    place, found = WholeDetector(RULES), []
    while any(left):
        # Mostly of one source, so that it comes far ahead of the others.
        source = chance.choice([n for n, one in enumerate(left) if one])
        size = chance.choice((1, 30, 100))
        part, left[source] = left[source][:size], left[source][size:]
        reached[source] = part[-1].observed_s
        found += place.process(frame([_told(one) for one in part]), [], 1).signals
        if chance.random() < 0.5:
            found += place.tick(int(min(reached) * SECOND_US), 2).signals
        if chance.random() < 0.3:
            state, place = place.dump(), WholeDetector(RULES)
            place.load(state)
    found += place.close(3).signals
    assert said(found) == told_once(rows)
    assert not place.evicted()["event_ids"]
