"""What reference data does to signals: whether they come, how grave they are and whose."""

from typing import Any

import pytest

from tachograph.detectors.engine import Engine
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleErrors, RuleSet, build
from tachograph.detectors.reference.reference import Reference, of_tables, shipped
from tachograph.schemas.alert import Signal
from tests.detectors.made import frame

OUTSIDE = """
title: A tool that the agent was not approved for
id: r1
name: outside
logsource: {category: any}
level: medium
detection:
  outside: {register.tool_allowed: false}
  condition: outside
tacho:
  severity_by: {register.risk_tier: {critical: 2, high: 1, low: -1}}
"""
TWICE = """
title: Twice
id: r2
level: high
correlation:
  type: event_count
  rules: [outside]
  group-by: [session.id]
  timespan: 1m
  condition: {gte: 2}
tacho:
  owner_team: soc
  severity_by: {register.risk_tier: {critical: 2, low: -5}}
"""


def reference(**agent: Any) -> Reference:
    return of_tables({"agents": [{"id": "a", "tools": ["good"], **agent}]})


def rules(known: Reference, text: str = OUTSIDE) -> RuleSet:
    return build(parse(text, "made.yml"), reference=known)


def signals(made: RuleSet, *tools: str) -> list[Signal]:
    rows = [
        {"event_id": f"{n:032x}", "event_time": n, "agent_id": "a", "tool_name": tool,
         "session_id": "s"}
        for n, tool in enumerate(tools)
    ]  # fmt: skip
    return Engine(made).judge(frame(rows), 1).signals


def test_an_agent_outside_its_register_raises_a_signal() -> None:
    found = signals(rules(reference()), "good", "bad")
    assert [signal.reason.fields["register.tool_allowed"] for signal in found] == ["false"]


def test_without_a_register_the_rule_says_nothing() -> None:
    assert not signals(rules(shipped()), "bad")


@pytest.mark.parametrize(
    ("tier", "severity"),
    [("critical", "critical"), ("high", "high"), ("medium", "medium"), ("low", "low")],
)
def test_severity_follows_the_risk_tier(tier: str, severity: str) -> None:
    assert [s.severity for s in signals(rules(reference(risk_tier=tier)), "bad")] == [severity]


def test_an_agent_without_a_tier_leaves_the_severity_as_it_is() -> None:
    assert [s.severity for s in signals(rules(reference()), "bad")] == ["medium"]


@pytest.mark.parametrize(("tier", "severity"), [("critical", "critical"), ("low", "informational")])
def test_severity_of_a_correlation_stays_on_the_scale(tier: str, severity: str) -> None:
    made = rules(reference(risk_tier=tier), f"{OUTSIDE}---{TWICE}")
    assert [s.severity for s in signals(made, "bad", "worse")] == [severity]


def test_a_signal_goes_to_the_agents_owner_unless_the_rule_names_a_team() -> None:
    made = rules(reference(owner="support"))
    assert [s.owner_team for s in signals(made, "bad")] == ["support"]
    made = rules(reference(owner="support"), f"{OUTSIDE}---{TWICE}")
    assert [s.owner_team for s in signals(made, "bad", "bad")] == ["soc"]


def test_the_version_of_the_reference_stands_on_the_signal() -> None:
    known = reference()
    (signal,) = signals(rules(known), "bad")
    assert signal.witness.versions["reference"] == known.version


def test_other_reference_data_leaves_the_ids_of_signals_as_they_are() -> None:
    (one,) = signals(rules(reference(owner="x")), "bad")
    (two,) = signals(rules(reference(owner="y")), "bad")
    assert one.signal_id == two.signal_id
    assert one.witness.versions["rule_set"] == two.witness.versions["rule_set"]


def test_a_step_that_is_no_number_is_a_problem_of_the_rule() -> None:
    with pytest.raises(RuleErrors, match="severity_by"):
        rules(shipped(), OUTSIDE.replace("critical: 2", "critical: high"))
