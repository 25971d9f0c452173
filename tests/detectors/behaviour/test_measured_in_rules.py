"""What is measured of a window is a field of rules."""

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tachograph.detectors.across import AcrossDetector
from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.partition import PartitionDetector
from tachograph.detectors.subjects import subjects_asked
from tachograph.schemas.alert import Signal
from tachograph.schemas.behaviour import MEASURES, PARTS, SHARED
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
    one = Behaviour()
    one.asked = True
    one.judge(frame(rows), 1)
    made = pl.concat(one.close(2).measured).filter(pl.col("behaviour_window") == "1 min")
    [row] = made.iter_rows(named=True)
    return {name: row[f"behaviour_{name}"] for name in MEASURES}


SUBJECTS = """
title: of a session
id: 5b0f4e0a-6f0f-4d41-8d2b-3a54b5d5a004
logsource: {product: ai_agent, category: behaviour}
detection:
  busy: {behaviour.subject: session, behaviour.window: 1 min, behaviour.acts|gte: 20}
  condition: busy
---
title: of an instance
id: 5b0f4e0a-6f0f-4d41-8d2b-3a54b5d5a005
logsource: {product: ai_agent, category: behaviour}
detection:
  busy: {behaviour.subject: instance, behaviour.window: 1 min, behaviour.new_targets|gte: 20}
  condition: busy
---
title: of a principal
id: 5b0f4e0a-6f0f-4d41-8d2b-3a54b5d5a006
logsource: {product: ai_agent, category: behaviour}
detection:
  busy: {behaviour.subject: principal, behaviour.window: 1 min, behaviour.acts|gte: 50}
  condition: busy
---
title: of a credential
id: 5b0f4e0a-6f0f-4d41-8d2b-3a54b5d5a007
logsource: {product: ai_agent, category: behaviour}
detection:
  busy: {behaviour.subject: credential, behaviour.window: 1 min, behaviour.acts|gte: 50}
  condition: busy
"""


def spread_out() -> list[dict[str, Any]]:
    """Two agents, each with two sessions, of which one is busy, and two instances, of which one
    meets much; in the name of one principal and with one credential each.
    """
    rows = []
    for agent in ("a", "b"):
        for busy, session in ((True, "s1"), (False, "s2")):
            count = 28 if busy else 10
            rows += [
                row
                | {
                    "event_id": f"{agent}-{session}-{number}", "session_id": f"{agent}-{session}",
                    "agent_instance_id": f"{agent}-{'ij'[busy]}", "principal_id": "pat",
                    "credential_id": f"key-{agent}", "partition_key": agent,
                    "target_domain": f"d{number}",
                }
                for number, row in enumerate(calls(agent, count, 1.5))
            ]  # fmt: skip
    return rows


@pytest.mark.parametrize("places", [1, 2])
def test_rules_ask_for_sessions_instances_principals_and_credentials_wherever_they_are(
    places: int,
) -> None:
    made, meeting, found = rules(SUBJECTS), AcrossDetector(rules(SUBJECTS)), list[Signal]()
    rows = spread_out()
    for place in range(places):
        own = [row for row in rows if ord(row["partition_key"]) % places == place]
        random.Random(place).shuffle(own)
        one = PartitionDetector(made)
        for piece in range(3):
            found += one.process(frame(own[piece::3]), [], piece).signals
            state, one = one.dump(), PartitionDetector(made)
            one.load(state)
        over = one.close(4)
        found += over.signals
        for sent in over.matches:
            found += meeting.process(sent, 5).signals
    found += meeting.tick((START_S + 10_000) * SECOND_US, 6).signals
    said = {(one.title, one.session_id, one.principal_id) for one in found}
    assert said == {
        ("of a session", "a-s1", "pat"), ("of a session", "b-s1", "pat"),
        ("of an instance", "a-s1", "pat"), ("of an instance", "b-s1", "pat"),
        ("of a principal", None, "pat"),
    }  # fmt: skip
    assert [one.entity for one in found if one.title == "of a principal"] == ["pat"]
    counts = {one.rule_id: meeting.stats.get(one.rule_id) for one in found}
    said_of = {one.title: counts[one.rule_id] for one in found}
    assert said_of["of a session"] is None
    of_principal = said_of["of a principal"]
    assert of_principal is not None
    assert (of_principal.matches, of_principal.signals, of_principal.can_fire) == (1, 1, True)
    assert of_principal.evaluations > of_principal.matches
    assert of_principal.last_match_us is not None


def test_who_does_not_name_the_subject_sees_agents_and_persons_only() -> None:
    text = FAST.split("---", maxsplit=1)[0].replace("|gte: 50", "|gte: 1")
    found = said(rules(text), spread_out(), 1, 1)
    assert len(found) == 2
    assert {one.entity for one in found} == {"a", "b"}


def test_nothing_is_counted_of_sessions_that_no_rule_asks_for() -> None:
    assert not subjects_asked(rules(FAST))
    assert subjects_asked(rules(SUBJECTS)) == PARTS | SHARED
    denied = SUBJECTS.split("---", maxsplit=1)[0].replace("condition: busy", "condition: not busy")
    assert subjects_asked(rules(denied)) == PARTS | SHARED


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
        "denied_again": 4, "cost_usd": 10.0, "calls_open": 3, "sessions_open": 1, "bytes_in": 6000,
        "bytes_out": 2000, "bytes_out_share": 0.25, "sessions": 1, "agents_called": 3,
        "delegation_depth": 3, "burst_actions": 5, "alternation_share": 1.0, "tool_entropy": 1.0,
        "actions_per_minute": 20.0, "subject": "agent", "new_tools": 2, "repeats": 16,
    }  # fmt: skip
    assert {name: found[name] for name in exact} == exact
    assert 1000 < found["gap_median_ms"] < 4000
    assert found["gap_cv"] < 0.2


def test_what_goes_to_one_new_target_is_not_hidden_by_little_that_goes_to_many_known_ones() -> None:
    known = [f"known{number}.example" for number in range(20)]

    def target(number: int) -> str:
        return known[number % 20] if number < 400 else [*known, "new.example"][number - 400]

    def size(number: int) -> int:
        return 20_000_000 if number == 420 else 2_000

    rows = calls("a", 421, 10.0, target_domain=target, tool_bytes_out=size)
    one = Behaviour()
    one.asked = True
    one.judge(frame(rows), 1)
    made = pl.concat(one.close(2).measured)
    [row] = made.filter(
        (pl.col("behaviour_window") == "10 min") & (pl.col("behaviour_bytes_out") > 20_000_000)
    ).iter_rows(named=True)
    # Were it split evenly, it would be a twentieth.
    assert row["behaviour_bytes_to_new"] > 5_000_000


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
