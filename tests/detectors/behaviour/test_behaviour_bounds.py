"""What behaviour may hold at most, who is forgotten first, and what is counted."""

from typing import Any

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.levels import (
    SKETCH_BITS,
    amount_of,
    different,
    different_new,
    level_of,
)
from tachograph.detectors.limits import Limits
from tachograph.schemas.alert import Signal
from tachograph.schemas.identity import plain_id
from tests.detectors.made import SECOND_US, frame

START_S = 1_790_000_000
FEW = Limits(behaviour_agents=8, behaviour_windows=50)


def calls(agent: str, start_s: float, count: int, every_s: float) -> list[dict[str, Any]]:
    return [
        {
            "event_id": plain_id(agent, str(start_s), str(number)),
            "event_time": START_S + start_s + number * every_s,
            "agent_id": agent,
            "kind": "tool_call",
            "tool_name": "look_up",
        }
        for number in range(count)
    ]


def features(signals: list[Signal]) -> set[tuple[str, str]]:
    return {(one.entity, one.reason.fields["feature"]) for one in signals}


def test_agents_that_somebody_makes_up_do_not_push_out_those_that_are_known() -> None:
    one = Behaviour(limits=msgspec.structs.replace(FEW, behaviour_windows=10_000))
    one.judge(frame(calls("known", 0, 200, 10)), 1)
    one.advance((START_S + 2400) * SECOND_US, 2)
    for number in range(40):
        one.judge(frame(calls(f"made up {number}", 2400 + number, 1, 1)), 3)
    # So fast only a known agent is out of line: nobody is known to be slower.
    one.judge(frame(calls("known", 3000, 60, 0.15)), 4)
    found = one.close(5).signals
    assert ("known", "acts") in features(found)
    assert {signal.reason.fields["windows_known"] for signal in found} != {"0"}
    assert one.evicted()["behaviour_agents"] >= 30


def test_windows_furthest_ahead_are_forgotten_first_and_counted() -> None:
    one = Behaviour(limits=FEW)
    one.judge(frame(calls("a", 0, 300, 0.03)), 1)
    one.judge(frame(calls("a", 5000, 100, 10)), 2)
    assert ("a", "acts") in features(one.close(3).signals)
    assert one.evicted()["behaviour_windows"] >= 50


def test_an_action_of_a_window_that_is_over_is_counted_and_changes_nothing() -> None:
    one = Behaviour()
    one.judge(frame(calls("a", 0, 5, 1)), 1)
    one.advance((START_S + 600) * SECOND_US, 2)
    one.judge(frame(calls("a", 6, 300, 0.01)), 3)
    assert not one.close(4).signals
    assert one.evicted()["behaviour_untimely"] == 300


def test_amounts_beyond_all_measure_are_held_to_what_can_be_added_up() -> None:
    quiet = calls("a", 0, 200, 10)
    rows = [
        row | {"tool_bytes_out": 2**62, "usage_input_tokens": 2**62, "tool_rows_returned": -5}
        for row in calls("a", 2400, 30, 0.1)
    ]
    one = Behaviour()
    one.judge(frame([*quiet, *rows]), 1)
    assert ("a", "bytes_out") in features(one.close(2).signals)


def test_a_level_goes_up_with_the_amount_and_back() -> None:
    amounts = np.unique(np.geomspace(1, 2**50, 500).astype(np.int64))
    levels = level_of(np.concatenate([[0], amounts]))
    assert levels[0] == 0
    assert (np.diff(levels) >= 0).all()
    back = np.array([amount_of(float(level)) for level in levels[1:]])
    assert (np.abs(back - amounts) <= amounts * 0.01 + 0.01).all()


def test_a_sketch_counts_up_to_some_hundred_values_within_a_tenth() -> None:
    for count in (1, 10, 100, 400):
        hashes = pl.Series([f"value {n}" for n in range(count)]).hash(7).to_numpy()
        words = np.zeros((1, SKETCH_BITS // 64), np.uint64)
        bits = np.uint64(1) << ((hashes >> np.uint64(8)) & np.uint64(63))
        np.bitwise_or.at(words[0], (hashes & np.uint64(3)).astype(np.int64), bits)
        assert abs(int(different(words)[0]) - count) <= max(count // 10, 1)


def test_one_new_bit_of_a_sketch_that_is_nearly_full_is_told_as_four_targets_at_most() -> None:
    before = np.full((1, 4), 2**64 - 1, np.uint64)
    before[0, 0] ^= np.uint64(7)
    words = np.array([[1, 0, 0, 0]], np.uint64)
    assert different_new(words, before).tolist() == [4]
    assert different_new(words, np.zeros((1, 4), np.uint64)).tolist() == [1]
