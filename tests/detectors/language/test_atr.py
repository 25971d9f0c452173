"""Agent Threat Rules say of actions what they say of their own kinds of events."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleErrors, RuleSet, build, load
from tachograph.detectors.language.sample_rows import ActionShape
from tachograph.detectors.language.samples import cases
from tachograph.detectors.language.stored import decode, encode
from tests.detectors.language.atr_pack import PACK, fetched

HEAD = """
title: Orders in a %(source)s
id: ATR-1
severity: critical
references:
  owasp_llm: ["LLM01:2025 - Prompt Injection"]
  mitre_atlas: ["AML.T0051 - LLM Prompt Injection", "no id"]
  cve: [CVE-2026-0001]
tags: {category: prompt-injection, subcategory: Orders in text, confidence: high%(tags)s}
agent_source: {type: %(source)s, framework: [any], provider: [any]}
detection:
"""
SIMPLE = """
  conditions:
    - {field: content, operator: regex, value: '(?i)obey\\s+me\\b'}
  condition: any
test_cases:
  true_positives: [{input: "Now OBEY  me"}]
  true_negatives: [{input: "obey mere rules"}]
"""


def _chain(kind: str, field: str, value: str, chain: str) -> dict[str, Any]:
    attributes = {field: value, "agent.delegation_chain": chain}
    return {"kind": kind, "attributes": attributes}


def _case(*spans: dict[str, Any]) -> str:
    return f"    - input: '{json.dumps({'spans': spans})}'\n"


_USER = _chain("AGENT", "user.id", "a", "c")
TRACE = (
    HEAD % {"source": "agent_trace", "tags": ""}
    + """
  method: trace
  condition: any
  conditions: [{field: trace.x, operator: regex, value: never}]
  trace:
    forbid:
      - shape: {span.kind: TOOL, attributes: {tool.name: {in: [pay]}, content.trust: untrusted}}
    invariant:
      - {attribute: session.id, across: agent.delegation_chain}
      - {attribute: user.id, across: agent.delegation_chain}
test_cases:
"""
    + "  true_positives:\n"
    + _case({"kind": "TOOL", "attributes": {"tool.name": "pay", "source.trust": "untrusted"}})
    + _case(*(_chain("AGENT", "session.id", value, "c") for value in "ab"))
    + _case(_USER, _chain("TOOL", "user.id", "b", "c"))
    + "  true_negatives:\n"
    + _case({"kind": "TOOL", "attributes": {"tool.name": "pay", "source.trust": "trusted"}})
    + _case(_USER, _chain("TOOL", "user.id", "b", "d"))
)
WINDOW = (
    HEAD % {"source": "agent_behavior", "tags": ""}
    + """
  method: behavioral
  condition: any
  conditions: [{field: behavioral.metric_value, operator: regex, value: never}]
  behavioral:
    {metric: tool_calls, window: PT1M, operator: gt, threshold: 20, group_by: [session.id]}
test_cases:
  true_positives: [{input: '{"group": {"session.id": "s"}, "event_count": 21}'}]
  true_negatives: [{input: '{"group": {"session.id": "s"}, "event_count": 20}'}]
"""
)

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rules(detection: str, source: str = "llm_io", tags: str = "") -> RuleSet:
    return build(parse(HEAD % {"source": source, "tags": tags} + detection, "made.yaml"))


def asked(*conditions: str, condition: str = "any") -> str:
    """A detection of these conditions."""
    lines = "".join(f"\n    - {{{one}}}" for one in conditions)
    return f"  conditions:{lines}\n  condition: {condition}\n"


def fires(found: RuleSet, **action: Any) -> bool:
    """Whether a rule fires on an action, in the engine of the stream."""
    shape = ActionShape()
    rows = [{"event_id": "0" * 32, "tenant": "t", **shape.row(action, _NOW)}]
    return bool(WholeDetector(found).process(shape.frame(rows), [], 1).signals)


@pytest.mark.parametrize("text", [HEAD % {"source": "llm_io", "tags": ""} + SIMPLE, TRACE, WINDOW])
def test_their_own_cases_come_out_right(text: str) -> None:
    found = list(cases(build(parse(text, "made.yaml"))))
    assert found
    assert [case for case in found if not case.passed] == []


def test_what_a_rule_says_of_itself_is_where_ours_say_it() -> None:
    (rule,) = rules(SIMPLE).rules
    assert rule.meta.severity == "critical"
    assert rule.meta.tacho.risk_category == "prompt_misuse"
    assert rule.meta.tacho.confidence == 90
    assert rule.meta.tags == [
        "atr.prompt-injection", "atr.orders-in-text", "owasp-llm.2025.llm01", "atlas.aml.t0051",
        "cve.2026-0001",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "kind", "column"),
    [
        ("llm_io", "prompt", "content_text"),
        ("llm_io", "tool_result", "tool_result"),
        ("mcp_exchange", "tool_result", "tool_result"),
        ("mcp_exchange", "tool_call", "tool_description"),
        ("tool_call", "tool_call", "tool_args"),
        ("multi_agent_comm", "message", "content_text"),
        ("memory_access", "memory_write", "memory_value"),
        ("skill_lifecycle", "artifact", "content_text"),
    ],
)
def test_content_is_what_the_source_of_a_rule_means(source: str, kind: str, column: str) -> None:
    found = rules(SIMPLE, source)
    assert fires(found, kind=kind, **{column: "obey me"})
    assert not fires(found, kind=kind, **{column: "obey them"})
    assert not fires(found, kind=kind, principal_id="obey me")


def test_an_agents_own_words_are_no_input() -> None:
    found = rules(asked("field: user_input, operator: contains, value: Obey"))
    assert fires(found, kind="prompt", content_text="OBEY")
    assert not fires(found, kind="completion", content_text="obey")


def test_a_text_is_read_as_an_agent_reads_it() -> None:
    found = rules(SIMPLE)
    assert fires(found, kind="prompt", content_text="оb\u200bеy mе")
    assert fires(found, kind="tool_result", tool_result='{"text": "obey\\nme"}')


def test_what_is_code_can_be_left_out() -> None:
    found = rules(SIMPLE, tags=", suppress_in_code_blocks: true")
    assert not fires(found, kind="prompt", content_text="so\n```\nobey me\n```")
    assert fires(found, kind="prompt", content_text="so\n```\nx\n```\nobey me")


@pytest.mark.parametrize(
    ("expression", "text", "found"),
    [
        ("any", "a", True),
        ("all", "a", False),
        ("all", "a b c", True),
        ("one AND (two OR three)", "a c", True),
        ("one AND (two OR three)", "b c", False),
        ("one AND NOT two", "a c", True),
        ("one OR two AND three", "a", True),
    ],
)
def test_named_conditions_are_joined_as_the_expression_says(
    expression: str, text: str, found: bool
) -> None:
    made = rules(
        "  conditions:\n"
        "    one: {field: content, operator: contains, value: a}\n"
        "    two: {field: content, patterns: [b], match_type: contains}\n"
        "    three: {field: content, operator: regex, value: c}\n"
        f"  condition: {expression}\n"
    )
    assert fires(made, kind="prompt", content_text=text) is found


@pytest.mark.parametrize(
    ("detection", "reason", "line"),
    [
        (asked("field: content, operator: near, value: x"), "operator near", 12),
        (asked("field: content, operator: regex, value: '(x'"), "missing|unclosed", 12),
        (
            asked("field: content, operator: contains, value: x", condition="a AND"),
            "condition a AND",
            14,
        ),
        ("  conditions: []\n", "1 to", 12),
        ("  method: semantic\n  conditions: []\n", "needs a model", 12),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_reason(
    detection: str, reason: str, line: int
) -> None:
    with pytest.raises(RuleErrors, match=reason) as caught:
        rules(detection)
    assert all(problem.line == line for problem in caught.value.problems)


def test_rules_for_other_sources_and_for_raw_logs_are_not_asked() -> None:
    with pytest.raises(RuleErrors, match=r"agent_source\.type satellite"):
        rules(SIMPLE, "satellite")
    text = HEAD % {"source": "llm_io", "tags": ""} + SIMPLE
    made = build(parse(text, "made.yaml"), fields=RAW)
    assert made.rules == []
    assert "asked of actions" in made.skipped[0].reason


def test_what_is_not_as_its_author_meant_it_is_said() -> None:
    semantic = "  method: semantic\n  semantic: {fallback_method: pattern}\n" + SIMPLE
    (note,) = rules(semantic).notes
    assert "no model judges" in note.reason
    kept = rules(semantic)
    assert decode(encode(kept), kept.fields, kept.reference).notes == kept.notes


@pytest.mark.slow
def test_the_public_pack_loads_whole_and_its_cases_come_out_right(tmp_path: Path) -> None:
    folder = fetched(tmp_path)
    if folder is None:
        pytest.skip(f"{PACK} cannot be fetched here")
    found = load([folder], builtin=False)
    assert len({rule.meta.rule_id for rule in found.rules}) == 785
    judged = list(cases(found))
    wrong = {(case.rule_id, case.case) for case in judged if not case.passed}
    assert len(judged) == 7_980
    # Both give a count above the limit, and ask for silence for what the rule does not ask about.
    assert wrong == {("ATR-2026-00553", "no_match[3]"), ("ATR-2026-00553", "no_match[4]")}
