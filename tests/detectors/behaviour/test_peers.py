"""What is said of an agent says what is usual for its peers, too: those of its tenant, role,
framework and model; the same however the stream is cut.
"""

from typing import Any

import numpy as np
import pytest

from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.peers import LEAST_PEERS, MOST_GROUPS, PeerGroups
from tests.detectors.behaviour.test_bars_that_move import BARS, CALIBRATION, HOUR_S, START_S
from tests.detectors.made import SECOND_US, frame

HOURS = 8
KIND = {"agent_role": "coder", "agent_framework": "langgraph", "model_name": "m1"}


def calls(agent: str, start_s: float, count: int, over_s: float, **more: Any) -> list[Any]:
    return [
        {
            "event_id": f"{agent}-{start_s}-{number}", "agent_id": agent, "kind": "tool_call",
            "event_time": START_S + start_s + over_s * number / count, "tool_name": "look_up",
            **more,
        }
        for number in range(count)
    ]  # fmt: skip


def work(agent: str, count: int, **more: Any) -> list[Any]:
    """So many calls each five minutes."""
    minutes = range(0, HOURS * 60, 5)
    return [row for minute in minutes for row in calls(agent, minute * 60, count, 4, **more)]


def fleet(others: int, **more: Any) -> list[Any]:
    """An agent that is out of line at last, among others that do more than it usually does."""
    rows = [row for place in range(others) for row in work(f"other{place}", 20, **(KIND | more))]
    burst = calls("own", HOURS * HOUR_S, 400, 300, **KIND)
    return sorted([*rows, *work("own", 2, **KIND), *burst], key=lambda row: row["event_time"])


def said(rows: list[Any], cuts: int) -> dict[str, dict[str, str]]:
    """Reasons of what is said of the agent's acts, with ticks and restarts between."""
    one, found = Behaviour(calibration=CALIBRATION, bars=BARS), []
    for part in np.array_split(np.arange(len(rows)), cuts):
        now = [rows[place] for place in part]
        one.judge(frame(now), 1)
        found += one.advance(int(now[-1]["event_time"]) * SECOND_US, 1).signals
        state, one = one.dump(), Behaviour(calibration=CALIBRATION, bars=BARS)
        one.load(state)
    return {
        signal.reason.text: signal.reason.fields
        for signal in [*found, *one.close(2).signals]
        if signal.entity == "own" and signal.reason.fields["feature"] == "acts"
    }


@pytest.mark.parametrize("cuts", [1, 7])
def test_what_is_usual_for_the_peers_is_said_beside_what_is_usual_for_the_agent(cuts: int) -> None:
    [(text, fields)] = said(fleet(LEAST_PEERS), cuts).items()
    assert f"for {LEAST_PEERS + 1} peers, coder, langgraph, m1" in text
    assert float(fields["usual"]) < 4
    assert 10 < float(fields["usual_of_peers"]) < 30


def test_agents_of_another_model_or_of_another_tenant_are_no_peers() -> None:
    for other in ({"model_name": "m2"}, {"tenant": "another"}):
        [fields] = said(fleet(LEAST_PEERS, **other), 1).values()
        assert "usual_of_peers" not in fields


def test_too_few_peers_say_nothing() -> None:
    [fields] = said(fleet(LEAST_PEERS - 2), 1).values()
    assert "usual_of_peers" not in fields


def test_kinds_beyond_the_limit_have_no_peers() -> None:
    groups = PeerGroups()
    codes = [groups.code(("t", str(place))) for place in range(MOST_GROUPS + 5)]
    assert len(set(codes)) == MOST_GROUPS + 1
    assert set(codes[MOST_GROUPS:]) == {0}
