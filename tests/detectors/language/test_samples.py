"""A sample is judged by its own rule alone, in the engine of the stream, and says what is wrong."""

import pytest

from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleSet, build
from tachograph.detectors.language.samples import Case, cases

BASE = """
title: delete
name: delete
id: base
logsource: {category: any}
detection:
  s: {tool.name: delete}
  condition: s
tacho: {standalone: true, samples: {match: [%s], no_match: [%s]}}
"""
COUNT = """
---
title: many
id: count
correlation:
  type: event_count
  rules: [delete]
  group-by: [agent.id]
  timespan: 1m
  condition: {gte: 3}
tacho: {samples: {match: [%s], no_match: [%s]}}
"""


def judged(match: str, no_match: str = "") -> list[Case]:
    """Samples of the rule on one event."""
    return list(cases(rules(BASE % (match, no_match))))


def counted(match: str, no_match: str = "") -> list[Case]:
    """Samples of the rule on several."""
    found = cases(rules(BASE % ("", "") + COUNT % (match, no_match)))
    return [case for case in found if case.rule_id == "count"]


def rules(text: str) -> RuleSet:
    return build(parse(text, "made.yml"))


def reasons(found: list[Case]) -> list[str]:
    assert all(case.passed == (not case.reason) for case in found)
    return [case.reason for case in found]


def test_samples_pass_that_match_and_that_do_not() -> None:
    found = judged("{tool.name: delete}, {tool_name: DELETE}", "{tool.name: list}")
    assert [(case.case, case.wanted, case.passed) for case in found] == [
        ("match[0]", True, True),
        ("match[1]", True, True),
        ("no_match[0]", False, True),
    ]


def test_samples_fail_that_do_not_match_or_should_not() -> None:
    found = judged("{tool.name: list}", "[{tool.name: list}, {tool.name: delete}]")
    assert reasons(found) == ["did not fire", "fired at [1]"]


def test_samples_of_a_rule_do_not_meet_each_other() -> None:
    two = "[{repeat: 2, every_s: 1, tool.name: delete}]"
    assert reasons(counted("", f"{two}, {two}, {two}")) == ["", "", ""]
    tenants = two.replace("tool.name", "tenant: t, tool.name")
    assert reasons(counted("", f"{tenants}, {tenants}")) == ["", ""]


def test_a_window_is_judged_in_event_time() -> None:
    near = "[{repeat: 3, every_s: 20, tool.name: delete}]"
    far = "[{repeat: 3, every_s: 31, tool.name: delete}]"
    other = (
        "[{repeat: 2, every_s: 1, tool.name: delete}, {at_s: 3, agent.id: b, tool.name: delete}]"
    )
    assert reasons(counted(near, f"{far}, {other}")) == ["", "", ""]


def test_a_sample_may_say_how_many_signals_and_at_which_events() -> None:
    listed = "[{tool.name: delete}, {tool.name: list}, {tool.name: delete}]"
    assert reasons(
        judged(
            f"{{actions: {listed}, signals: 2, events: [0, 2]}},"
            f"{{actions: {listed}, signals: 1}}, {{actions: {listed}, events: [0, 1]}}"
        )
    ) == ["", "fired 2 times, not 1", "fired at [0, 2], not at [0, 1]"]
    many = "[{repeat: 4, every_s: 5, tool.name: delete}]"
    assert reasons(
        counted(f"{{actions: {many}, signals: 1, events: [2]}}, {{actions: {many}, events: [3]}}")
    ) == ["", "fired at [2], not at [3]"]


def test_a_sample_may_have_a_name() -> None:
    assert judged("{name: the plain one, actions: {tool.name: delete}}")[0].case == "the plain one"


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        ("{tol_name: delete}", "no field of an action: tol_name"),
        ("{sequence: many}", "broken sample"),
        ("just text", "an action is a mapping of fields"),
        ("[]", "no action"),
        ("{repeat: 20000, tool.name: x}", "at most 10000"),
        ("{actions: {tool.name: delete}, events: [1]}", "events are places from 0 to 0"),
        ("{actions: {tool.name: delete}, signal: 1}", "signal"),
    ],
)
def test_a_broken_sample_fails_alone_and_says_why(sample: str, reason: str) -> None:
    broken, sound = judged(f"{sample}, {{tool.name: delete}}")
    assert not broken.passed
    assert reason in broken.reason
    assert sound.passed


def test_a_sample_that_must_not_match_expects_no_signals() -> None:
    [case] = judged("", "{actions: {tool.name: x}, signals: 1}")
    assert "no signals" in case.reason


def test_fields_have_the_names_that_rules_use() -> None:
    text = """
title: names
logsource: {category: any}
detection:
  s:
    tool.args.to.name: bob
    tool.args.size: '3'
    vendor.x: y
    Image: z
  condition: s
tacho:
  samples:
    match:
      - {tool.args.to.name: bob, tool.args.size: 3, vendor.x: y, Image: z}
      - {tool_args: '{"to": {"name": "bob"}, "size": 3}', attributes: {vendor.x: y, Image: z}}
    no_match:
      - {tool.args.to.name: bob, tool.args.size: 3, vendor.x: y}
"""
    assert reasons(list(cases(rules(text)))) == ["", "", ""]


def test_samples_are_judged_above_the_rules_own_reference_data_alone() -> None:
    rule = """
title: outside {0}
id: {0}
logsource: {{category: any}}
detection:
  s: {{register.tool_allowed: false}}
  condition: s
tacho:
  samples:
    reference: {{agents: [{{id: sample-agent, tools: [{0}]}}]}}
    match: [{{tool.name: other}}]
    no_match: [{{tool.name: {0}}}]
"""
    found = list(cases(rules("---".join(rule.format(tool) for tool in ("one", "two")))))
    assert reasons(found) == [""] * 4


def test_reference_data_of_samples_that_is_none_breaks_them() -> None:
    rule = BASE % ("{tool.name: delete}", "") + "\n"
    text = rule.replace("samples: {", "samples: {reference: {agents: [{ident: 1}]}, ")
    [case] = list(cases(rules(text)))
    assert not case.passed
    assert "ident" in case.reason
