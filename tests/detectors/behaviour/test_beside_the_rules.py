"""Behaviour where everything meets: with the shipped rules, in a partition and in a file."""

from typing import Any

from tachograph.detectors.across import WholeDetector
from tachograph.schemas.alert import Signal
from tachograph.schemas.identity import plain_id
from tests.detectors.made import SECOND_US, at, frame, shipped_rules

RULES = shipped_rules()
START_S = 1_790_000_000


def calls(start_s: int, count: int, every_s: float) -> list[dict[str, Any]]:
    """Calls of one agent at a pace."""
    return [
        {
            "event_id": plain_id(str(start_s), str(number)),
            "event_time": START_S + start_s + number * every_s,
            "observed_time": at(START_S + start_s + number * every_s),
            "agent_id": "worker",
            "session_id": "S",
            "kind": "tool_call",
            "tool_name": "look_up",
        }
        for number in range(count)
    ]


# Half an hour of quiet work, then six hundred calls in ten seconds.
STORY = [*calls(0, 180, 10), *calls(1860, 600, 1 / 60)]


def anomalies(signals: list[Signal]) -> list[tuple[str, str, str]]:
    return [
        (one.signal_id, one.title, one.reason.fields["feature"])
        for one in signals
        if one.kind == "anomaly"
    ]


def test_a_file_and_a_stream_with_a_restart_say_the_same_of_an_agent() -> None:
    whole = WholeDetector(RULES)
    file = anomalies([*whole.process(frame(STORY), [], 1).signals, *whole.close(2).signals])
    place, stream = WholeDetector(RULES), []
    for start in range(0, len(STORY), 100):
        part = STORY[start : start + 100]
        stream += place.process(frame(part), [], start).signals
        reached = int(part[-1]["event_time"] * SECOND_US)
        stream += place.tick(reached, start).signals
        state, place = place.dump(), WholeDetector(RULES)
        place.load(state)
    stream += place.close(len(STORY)).signals
    assert [feature for _, _, feature in file] == ["acts"]
    assert anomalies(stream) == file


def test_a_set_of_some_rules_alone_follows_nobody() -> None:
    place = WholeDetector(RULES.only(RULES.rules))
    place.process(frame(STORY), [], 1)
    assert not anomalies(place.close(2).signals)
