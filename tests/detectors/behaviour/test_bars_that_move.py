"""Bars are higher for who is not known yet and for who was out of line lately, and what comes of
acts is held against so many acts.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from tachograph.detectors.behaviour.baselines import WARM
from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.features import FEATURES, JUDGEMENTS, SCALES
from tachograph.detectors.behaviour.fitting import blank
from tachograph.schemas.alert import Signal
from tests.detectors.made import frame

START_S = 1_790_000_400
HOUR_S, DAY_S = 3600, 86_400
SHAPE = (len(SCALES), len(FEATURES))
CALIBRATION = msgspec.structs.replace(
    blank(), centre=np.full(SHAPE, 200).tolist(), spread=np.full(SHAPE, 120).tolist()
)
BARS = np.full((len(JUDGEMENTS), len(FEATURES)), 300)
# Of an agent's usual work: two calls each half minute, for four hours.
USUAL_S = 4 * HOUR_S


def calls(start_s: float, count: int, over_s: float, failed: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "event_id": f"{start_s}-{number}", "agent_id": "a", "kind": "tool_call",
            "event_time": START_S + start_s + over_s * number / count, "tool_name": "look_up",
            "outcome": "failed" if number * failed % count < failed else "succeeded",
        }
        for number in range(count)
    ]  # fmt: skip


def usual(failed: int = 0) -> Iterator[dict[str, Any]]:
    for place, start_s in enumerate(range(0, USUAL_S, 30)):
        yield from calls(start_s, 2, 5, failed if place % 10 == 0 else 0)


def said(rows: list[dict[str, Any]]) -> list[Signal]:
    one = Behaviour(calibration=CALIBRATION, bars=BARS)
    one.judge(frame(rows), 1)
    return one.close(2).signals


def features(signals: list[Signal], after_s: float = USUAL_S) -> list[tuple[str, int]]:
    """What was said after a time, and in which hour since."""
    return [
        (one.reason.fields["feature"], int(one.event_time.timestamp() - START_S - after_s) // 3600)
        for one in signals
        if one.event_time.timestamp() >= START_S + after_s
    ]


def test_who_was_out_of_line_is_not_said_to_be_so_again_for_the_same() -> None:
    bursts = [row for hour in (0, 2, 5) for row in calls(USUAL_S + hour * HOUR_S + 5, 14, 4)]
    assert features(said([*usual(), *bursts])) == [("acts", 0)]


def test_who_was_out_of_line_is_said_to_be_so_again_when_it_is_far_worse() -> None:
    first, worse = calls(USUAL_S + 5, 14, 4), calls(USUAL_S + 2 * HOUR_S + 5, 600, 4)
    assert ("acts", 2) in features(said([*usual(), *first, *worse]))


def test_who_was_out_of_line_is_said_to_be_so_again_after_weeks() -> None:
    first, again = calls(USUAL_S + 5, 14, 4), calls(USUAL_S + 20 * DAY_S + 5, 14, 4)
    assert features(said([*usual(), *first, *again])) == [("acts", 0), ("acts", 20 * 24)]


def test_more_failures_of_as_many_more_acts_are_not_out_of_line() -> None:
    busy = calls(USUAL_S, 1200, 500, failed=60)
    assert "failures" not in dict(features(said([*usual(failed=1), *busy])))


def test_more_failures_of_as_many_acts_are_out_of_line_and_say_what_was_expected() -> None:
    failing = calls(USUAL_S, 40, 500, failed=40)
    [found] = [s for s in said([*usual(failed=1), *failing]) if "Failures" in s.title]
    assert found.reason.text.count("its 40 acts bring") == 1
    assert float(found.reason.fields["usual"]) <= float(found.reason.fields["expected"]) < 8


def test_an_agent_must_be_further_out_of_line_the_less_is_known_of_it() -> None:
    burst = calls(USUAL_S + 5, 14, 4)
    few = [row for row in usual() if row["event_time"] < START_S + 30 * int(WARM[0]) // 4]
    assert features(said([*usual(), *burst])) == [("acts", 0)]
    assert features(said([*few, *burst])) == []
