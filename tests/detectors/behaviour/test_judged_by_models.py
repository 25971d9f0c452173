"""A model where everything meets: in a file, in a stream with restarts, live and in the shadow."""

from typing import Any

import msgspec
import numpy as np
import pytest

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.model import Model
from tachograph.detectors.behaviour.models import Held, Models
from tachograph.detectors.behaviour.training import Recorder, train
from tachograph.detectors.partition import PartitionDetector
from tachograph.schemas.alert import Signal
from tachograph.schemas.identity import plain_id
from tests.detectors.made import SECOND_US, at, frame, rules, stateless

# One rule that never fires, in a set that watches agents as the shipped one does.
RULES = msgspec.structs.replace(
    rules(stateless("  never:\n    tool.name: nothing\n  condition: never")), follows_sessions=True
)
START_S = 1_790_000_000 - 1_790_000_000 % 86_400
HOURS = 40


def calls(agent: str, times_s: np.ndarray[Any, Any], tool: str, rows: int) -> list[dict[str, Any]]:
    return [
        {
            "event_id": plain_id(agent, tool, str(time_s)),
            "event_time": START_S + float(time_s),
            "observed_time": at(START_S + float(time_s)),
            "agent_id": agent,
            "session_id": f"{agent}-s",
            "kind": "tool_call",
            "tool_name": tool,
            "tool_rows_returned": rows,
        }
        for time_s in times_s
    ]


def work(hours: int, agents: int, seed: int) -> list[dict[str, Any]]:
    """Agents that work all the time: some calls every few minutes, a hundred rows with each."""
    rng = np.random.default_rng(seed)
    found = []
    for agent in range(agents):
        times = np.cumsum(rng.gamma(2, 90, hours * 22))
        found += calls(f"agent {agent}", times[times < hours * 3600], "look_up", 100)
    return found


@pytest.fixture(scope="module")
def model() -> Model:
    actions = work(HOURS, 8, 1)
    detector: Behaviour
    recorder = Recorder(lambda: detector.agents)
    detector = Behaviour(listener=recorder)
    detector.judge(frame(actions), 1)
    detector.close(2)
    rows, names = recorder.rows()
    return train(rows, names, budget_per_agent_day=1.0, data={}, trees=20).model


# A day of honest work, then for ten minutes much more of everything, each below any bar of its own.
BURST = [
    *work(HOURS, 3, 2),
    *calls("agent 1", (HOURS * 3600 + np.arange(45) * 13), "look_up", 400),
]


def said(signals: list[Signal]) -> list[Signal]:
    return [one for one in signals if one.reason.fields.get("judged_by") == "model"]


def test_a_file_and_a_stream_with_restarts_say_the_same_by_a_model(model: Model) -> None:
    models = Models.always(model)
    whole = WholeDetector(RULES, models=models)
    file = said([*whole.process(frame(BURST), [], 1).signals, *whole.close(2).signals])
    ordered = sorted(BURST, key=lambda one: one["event_time"])
    place, stream = PartitionDetector(RULES, models=models), []
    for start in range(0, len(ordered), 600):
        part = ordered[start : start + 600]
        stream += place.process(frame(part), [], start).signals
        stream += place.tick(int(part[-1]["event_time"] * SECOND_US), start).signals
        state, place = place.dump(), PartitionDetector(RULES, models=models)
        place.load(state)
    stream += place.close(len(ordered)).signals
    assert file
    assert {one.signal_id: one.reason for one in said(stream)} == {
        one.signal_id: one.reason for one in file
    }


def test_what_a_model_says_explains_itself(model: Model) -> None:
    whole = WholeDetector(RULES, models=Models.always(model))
    signals = [*whole.process(frame(BURST), [], 1).signals, *whole.close(2).signals]
    one = max(said(signals), key=lambda signal: signal.scores["p_value"] * -1)
    assert one.entity == "agent 1"
    assert one.witness.versions["model"] == model.version == one.rule_version
    fields = one.reason.fields
    assert float(fields["score"]) >= float(fields["bar"])
    told = [name for name in fields if name.endswith(".adds")]
    assert told
    for name in told:
        feature = name.removesuffix(".adds")
        assert float(fields[name]) > 0
        assert float(fields[f"{feature}.observed"]) != float(fields[f"{feature}.usual"])
        assert f"adds_{feature}" in one.scores
    known = {action["event_id"] for action in BURST if action["agent_id"] == "agent 1"}
    assert one.event_ids
    assert set(one.event_ids) <= known


def test_a_model_in_the_shadow_says_the_same_and_no_alert_comes_of_it(model: Model) -> None:
    live = WholeDetector(RULES, models=Models.always(model))
    tried = WholeDetector(RULES, models=Models.always(model, shadow=True))
    plain = WholeDetector(RULES)
    found = []
    for one in (live, tried, plain):
        parts = [one.process(frame(BURST), [], 1), one.close(2)]
        signals = [signal for part in parts for signal in part.signals]
        groups = [group for part in parts for group in part.groups]
        found.append((signals, groups))
    (spoken, _), (shadowed, shadow_groups), (without, groups) = found
    assert [one.reason for one in said(shadowed)] == [one.reason for one in said(spoken)]
    assert all(one.shadow for one in said(shadowed))
    assert not any(one.shadow for one in spoken)
    assert {one.signal_id for one in said(shadowed)}.isdisjoint(o.signal_id for o in said(spoken))
    # Nothing else is said, and triage hears of nothing else, than without any model.
    assert [one for one in shadowed if not one.shadow] == without
    assert msgspec.json.encode(shadow_groups) == msgspec.json.encode(groups)


def test_windows_that_end_before_a_model_holds_are_not_judged_by_it(model: Model) -> None:
    end_us = (START_S + HOURS * 3600) * SECOND_US
    for from_us, speaks in ((end_us - SECOND_US, True), (end_us + 4000 * SECOND_US, False)):
        models = Models([Held(from_us, model)])
        whole = WholeDetector(RULES, models=models)
        signals = [*whole.process(frame(BURST), [], 1).signals, *whole.close(2).signals]
        assert bool(said(signals)) == speaks
        assert all(one.event_time >= at(from_us / SECOND_US - 3600) for one in said(signals))
