"""What is measured of a window is a field of rules."""

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.partition import PartitionDetector
from tachograph.schemas.alert import Signal
from tachograph.schemas.behaviour import MEASURES
from tests.detectors.made import SECOND_US, frame, rules

START_S = 1_790_000_040
FAST = """
title: fast
id: 5b0f4e0a-6f0f-4d41-8d2b-3a54b5d5a001
logsource: {product: ai_agent, category: behaviour}
detection:
  fast:
    behaviour.window: 1 min
    behaviour.actions_per_minute|gte: 50
    behaviour.gap_median_ms|lt: 3000
  condition: fast
---
title: no heartbeat
id: 5b0f4e0a-6f0f-4d41-8d2b-3a54b5d5a002
logsource: {product: ai_agent, category: any}
detection:
  beat: {kind: tool_call}
  condition: not beat
"""


def calls(agent: str, count: int, every_s: float, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "event_id": f"{agent}-{number}", "event_time": START_S + number * every_s,
            "agent_id": agent, "session_id": f"{agent}-s", "kind": "tool_call",
            "tool_name": "read", "tool_args_hash": "same",
            **{name: value(number) for name, value in more.items()},
        }
        for number in range(count)
    ]  # fmt: skip


def said(made: RuleSet, rows: list[dict[str, Any]], pieces: int, seed: int) -> list[Signal]:
    rng, one, found = random.Random(seed), PartitionDetector(made), list[Signal]()
    rng.shuffle(rows)
    for piece in range(pieces):
        found += one.process(frame(rows[piece::pieces]), [], piece).signals
        state, one = one.dump(), PartitionDetector(made)
        one.load(state)
    found += one.tick((START_S + 200) * SECOND_US, pieces).signals
    return [*found, *one.close(pieces + 1).signals]


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_rule_of_a_measure_says_the_windows_of_which_it_is_true_and_no_other_rule_sees_them(
    pieces: int,
) -> None:
    rows = calls("quick", 100, 1.0) + calls("slow", 20, 5.0)
    found = said(rules(FAST), rows, pieces, 3)
    assert {(one.title, one.entity, one.session_id) for one in found} == {
        ("fast", "quick", "quick-s")
    }
    assert len({one.signal_id for one in found}) == len(found) == 1
    assert found[0].event_time.timestamp() == START_S + 60


def test_a_rule_may_count_windows() -> None:
    text = FAST.split("---", maxsplit=1)[0].replace("title: fast", "title: fast\nname: fast") + (
        "---\ntitle: fast for long\nid: 5b0f4e0a-6f0f-4d41-8d2b-3a54b5d5a003\n"
        "correlation:\n  type: event_count\n  rules: [fast]\n  group-by: [agent.id]\n"
        "  timespan: 10m\n  condition: {gte: 3}\n"
    )
    found = said(rules(text), calls("long", 200, 1.0) + calls("short", 110, 1.0), 3, 5)
    assert {one.entity for one in found if one.title == "fast for long"} == {"long"}


def measured(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The measures of the one agent's window of a minute."""
    from tachograph.detectors.behaviour.detector import Behaviour

    one = Behaviour()
    one.asked = True
    one.judge(frame(rows), 1)
    made = pl.concat(one.close(2).measured).filter(pl.col("behaviour_window") == "1 min")
    [row] = made.iter_rows(named=True)
    return {name: row[f"behaviour_{name}"] for name in MEASURES}


def test_measures_are_what_they_say() -> None:
    def outcome(number: int) -> str:
        return "denied" if number % 4 == 0 else "succeeded"

    found = measured(
        calls(
            "a", 20, 2.0, outcome=outcome, tool_name=lambda n: "ab"[n % 2],
            usage_cost_usd=lambda _: 0.5, duration_ms=lambda _: 6000.0,
            tool_result_bytes=lambda _: 300, tool_bytes_out=lambda _: 100,
            peer_agent_id=lambda n: f"peer{n % 3}", delegation_depth=lambda n: n % 4,
        )
    )  # fmt: skip
    exact = {
        "acts": 20, "window_s": 60, "denials": 5, "failures": 5, "denial_ratio": 0.25,
        "denied_again": 4, "cost_usd": 10.0, "calls_open": 2.0, "bytes_in": 6000,
        "bytes_out": 2000, "bytes_out_share": 0.25, "sessions": 1, "agents_called": 3,
        "delegation_depth": 3, "burst_actions": 5, "alternation_share": 1.0, "tool_entropy": 1.0,
        "actions_per_minute": 20.0, "subject": "agent", "new_tools": 2, "repeats": 16,
    }  # fmt: skip
    assert {name: found[name] for name in exact} == exact
    assert 1000 < found["gap_median_ms"] < 4000
    assert found["gap_cv"] < 0.2


def test_an_approval_given_sooner_than_what_was_shown_can_be_read_is_hasty() -> None:
    rows = calls(
        "a", 2, 5.0, kind=lambda _: "approval", content_text=lambda _: "x" * 1000,
        approval_latency_ms=lambda n: [900.0, 60_000.0][n],
    )  # fmt: skip
    found = measured(rows)
    assert (found["approvals"], found["hasty_approvals"]) == (2, 1)


def test_the_page_names_every_measure() -> None:
    page = (Path(__file__).parents[3] / "docs" / "behaviour.md").read_text(encoding="utf-8")
    assert not [name for name in MEASURES if f"| `behaviour.{name}` |" not in page]
