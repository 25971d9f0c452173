"""How far amounts lie apart is known of the windows that have any, however few these are; and who
was out of line by an amount is so again when the bar has come down.
"""

import random
from typing import Any

import pytest

from tachograph.detectors.behaviour.detector import Behaviour
from tests.detectors.made import frame

START_S = 1_790_000_400
HOUR_S, DAY_S = 3600, 86_400
USUAL_S = 10 * HOUR_S
KB, MB = 1_000, 1_000_000
PARCELS = [10 * KB, 30 * KB, 60 * KB, 120 * KB, 210 * KB]


def call(start_s: float, sent: int = 0) -> dict[str, Any]:
    return {
        "event_id": f"{start_s}", "agent_id": "a", "kind": "tool_call", "tool_name": "work",
        "event_time": START_S + start_s, "tool_bytes_out": sent, "target_domain": "home",
    }  # fmt: skip


def usual(until_s: float) -> list[dict[str, Any]]:
    """A call each half minute; one of eighty sends something."""
    rng = random.Random(5)
    return [
        call(start_s, rng.choice(PARCELS) if not start_s % 2400 else 0)
        for start_s in range(0, int(until_s), 30)
    ]


def said(rows: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """Which feature was said, and in which hour since the usual work."""
    one = Behaviour()
    one.judge(frame(rows), 1)
    return {
        (signal.reason.fields["feature"], int(signal.event_time.timestamp() - begin) // HOUR_S)
        for signal in one.close(2).signals
        for begin in [START_S + USUAL_S]
    }


@pytest.mark.parametrize(
    ("sent", "found"), [(700 * KB, set()), (500 * MB, {("bytes_out", 0)})], ids=["more", "far more"]
)
def test_who_seldom_sends_may_send_some_more_than_ever(
    sent: int, found: set[tuple[str, int]]
) -> None:
    assert said([*usual(USUAL_S), call(USUAL_S + 5, sent)]) == found


def test_who_never_sends_is_out_of_line_when_it_does() -> None:
    quiet = [call(start_s) for start_s in range(0, USUAL_S, 30)]
    assert said([*quiet, call(USUAL_S + 5, 2 * MB)]) == {("bytes_out", 0)}


def test_who_was_out_of_line_is_so_again_a_day_later() -> None:
    until, again_s = USUAL_S + 2 * DAY_S, USUAL_S + DAY_S + 6 * HOUR_S
    rows = [*usual(until), call(USUAL_S + 5, 5 * MB), call(again_s + 5, 5 * MB)]
    assert said(rows) == {("bytes_out", 0), ("bytes_out", 30)}
