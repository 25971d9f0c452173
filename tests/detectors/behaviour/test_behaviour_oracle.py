"""Behaviour is a function of the set of actions: whatever their order, batches, ticks and restarts,
what is said is what brute force says of the whole set.
"""

import random
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.features import FEATURES, JUDGEMENTS, SCALES
from tachograph.detectors.behaviour.fitting import blank
from tachograph.detectors.behaviour.hands import CLOCKWORK
from tachograph.detectors.links import Linked
from tachograph.schemas.alert import Signal
from tachograph.schemas.identity import plain_id
from tests.detectors.behaviour.oracle import Said, expected
from tests.detectors.made import SECOND_US, at, frame

SHAPE = (len(SCALES), len(FEATURES))
CALIBRATION = msgspec.structs.replace(
    blank(), centre=np.full(SHAPE, 200).tolist(), spread=np.full(SHAPE, 120).tolist()
)
# Each feature of each judgement has its own.
BARS = 260 + 10 * np.arange(len(JUDGEMENTS) * len(FEATURES)).reshape(len(JUDGEMENTS), len(FEATURES))
START_S = 1_790_000_000


Burst = tuple[str, int, int, int, int]


def burst(one: Burst, rng: random.Random) -> list[dict[str, Any]]:
    """Of an agent, from a second on, so many actions within a time, of one of some kinds."""
    agent, start_s, count, over_s, kind = one
    made = []
    for number in range(count):
        second = START_S + start_s + rng.randrange(over_s * 1000) / 1000
        row: dict[str, Any] = {
            "event_id": plain_id(agent, str(start_s), str(number), str(kind)),
            "event_time": second,
            "time_us": round(second * SECOND_US),
            "agent_id": agent,
            "session_id": f"{agent}-{start_s // 600}",
            "kind": "tool_call",
            "tool_name": f"t{number % 3}",
            "tool_args_hash": "same" if kind == 1 else f"a{number}",
            "target_domain": f"d{number % (20 if kind == 2 else 3)}",
        }
        if kind == 3:
            row |= {"tool_bytes_out": 40_000, "outcome": "failed"}
        if kind == 4:
            row |= {"agent_kind": "human"}
        made.append(row)
    return made


BURSTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 5400),
        st.integers(1, 60),
        st.sampled_from([1, 8, 50, 400]),
        st.integers(0, 4),
    ),
    min_size=3,
    max_size=25,
)


def story(bursts: list[Burst], seed: int) -> list[dict[str, Any]]:
    """Distinct actions of the bursts."""
    rng = random.Random(seed)
    rows = [row for one in bursts for row in burst(one, rng)]
    return list({row["event_id"]: row for row in rows}.values())


def made_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return frame([{k: v for k, v in row.items() if k != "time_us"} for row in rows])


def said(signals: list[Signal]) -> set[Said]:
    found = {
        (
            signal.entity,
            signal.reason.fields.get("feature")
            or ("clock" if signal.title == CLOCKWORK.title else "hand"),
            int(signal.bucket_start.timestamp()) // 3600,
            int(signal.witness.window["last_us"]),
        )
        for signal in signals
    }
    assert len(found) == len(signals) == len({signal.signal_id for signal in signals})
    return found


def detector() -> Behaviour:
    return Behaviour(calibration=CALIBRATION, bars=BARS)


@settings(max_examples=25, deadline=None)
@given(bursts=BURSTS, seed=st.integers(0, 2**16))
def test_one_batch_says_what_brute_force_says(bursts: list[Burst], seed: int) -> None:
    rows = story(bursts, seed)
    one = detector()
    one.judge(made_frame(rows), 1)
    assert said(one.close(2).signals) == expected(rows, CALIBRATION, BARS.tolist())


@settings(max_examples=15, deadline=None)
@given(bursts=BURSTS, seed=st.integers(0, 2**16))
def test_disorder_batches_ticks_and_restarts_change_nothing(bursts: list[Burst], seed: int) -> None:
    rng = random.Random(seed)
    rows = story(bursts, seed)
    # Each arrives up to a minute after it happened; ticks say how far arrivals have come.
    arrived = sorted((row["event_time"] + rng.random() * 59, n) for n, row in enumerate(rows))
    one, found, waiting = detector(), [], []
    for moment, number in arrived:
        waiting.append(rows[number])
        if rng.random() < 0.05:
            one.judge(made_frame(waiting), 1)
            waiting = []
        if rng.random() < 0.04:
            one.judge(made_frame(waiting), 1) if waiting else None
            waiting = []
            found += one.advance(int(moment * SECOND_US), 2).signals
        if rng.random() < 0.01:
            state, one = one.dump(), detector()
            one.load(state)
    one.judge(made_frame(waiting), 1) if waiting else None
    found += one.close(3).signals
    assert said(found) == expected(rows, CALIBRATION, BARS.tolist())
    assert not any(one.evicted().values())


@settings(max_examples=10, deadline=None)
@given(bursts=BURSTS, seed=st.integers(0, 2**16))
def test_who_an_unnamed_action_is_of_may_become_known_before_or_after_it(
    bursts: list[Burst], seed: int
) -> None:
    rng = random.Random(seed)
    rows = story([(*one[:4], min(one[4], 3)) for one in bursts], seed)
    unnamed = [
        {**row, "agent_id": None, "session_id": row["agent_id"], "trace_id": row["agent_id"]}
        if rng.random() < 0.5
        else row
        for row in rows
    ]
    links = {("default", "place", agent): Linked("S", agent) for agent in ("a", "b")}
    one = detector()
    one.judge(made_frame(unnamed), 1)
    one.relink(links, 2)
    assert said(one.close(3).signals) == expected(rows, CALIBRATION, BARS.tolist())


def test_what_is_a_little_too_much_for_hours_is_added_up() -> None:
    rng = random.Random(7)
    quiet = [burst(("a", 3600 * hour, 12, 3000, 0), rng) for hour in range(16)]
    more = [burst(("a", 3600 * hour, 40, 3000, 2), rng) for hour in range(16, 24)]
    rows = [row for part in quiet + more for row in part]
    one, bars = detector(), BARS.tolist()
    one.judge(made_frame(rows), 1)
    signals = one.close(2).signals
    assert said(signals) == expected(rows, CALIBRATION, bars)
    assert "1 h, added up" in {signal.reason.fields["judged_by"] for signal in signals}


def test_a_script_in_a_persons_name_is_told_by_its_clock_and_a_person_is_not() -> None:
    rng = random.Random(3)
    script = burst(("a", 0, 100, 1, 4), rng)
    person = burst(("b", 0, 60, 1, 4), rng)
    for number, row in enumerate(script):
        row["event_time"] = START_S + 5 * number + rng.random() / 2
    second = float(START_S)
    for row in person:
        second += rng.expovariate(1 / 7) + 1
        row["event_time"] = second
    rows = [{**row, "time_us": round(row["event_time"] * SECOND_US)} for row in script + person]
    one = detector()
    one.judge(made_frame(rows), 1)
    found = said(one.close(2).signals)
    assert found == expected(rows, CALIBRATION, BARS.tolist())
    assert {(entity, what) for entity, what, *_ in found} == {("a", "clock")}


def test_an_action_that_is_late_or_far_counts_in_no_window() -> None:
    rows = [{**row, "late": True} for row in burst(("a", 0, 60, 1, 0), random.Random(1))]
    rows += [{**row, "far": True} for row in burst(("b", 0, 60, 1, 0), random.Random(1))]
    one = detector()
    one.judge(made_frame(rows), 1)
    assert not one.close(2).signals


def test_a_state_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="state"):
        detector().load(b"\x91\x00")


def test_a_signal_names_its_numbers_and_the_first_actions_behind_it() -> None:
    rows = burst(("a", 0, 60, 1, 0), random.Random(1))
    one = detector()
    one.judge(made_frame(rows), 1)
    [signal] = [s for s in one.close(2).signals if s.reason.fields.get("feature") == "acts"]
    first = min(rows, key=lambda row: (row["time_us"], row["event_id"]))
    assert signal.event_ids == [first["event_id"]]
    assert signal.scores["acts"] == signal.event_count == 60
    assert signal.event_time <= at(START_S + 1)
    assert "60 actions (acts) in 10 s, where" in signal.reason.text
