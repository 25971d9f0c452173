"""Old rules in several documents: each says all that it says, or the file is refused."""

import pytest

from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.ruleset import RuleErrors
from tests.detectors.language.judged import fired
from tests.detectors.made import rules

GLOBAL = """
action: global
title: common
id: 5f0f6d0a-8b1c-4b60-9b0e-0f7a2a4b1d11
level: high
detection: {condition: s}
---
logsource: {product: windows}
detection: {s: {EventID: 1}}
---
logsource: {product: linux}
detection: {s: {Name: x}}
"""


def test_what_a_global_document_says_all_after_it_say() -> None:
    found = rules(GLOBAL, RAW)
    assert [rule.meta.rule_id for rule in found.rules] == [
        "5f0f6d0a-8b1c-4b60-9b0e-0f7a2a4b1d11"
    ] * 2
    assert {rule.meta.severity for rule in found.rules} == {"high"}
    assert len({rule.meta.version for rule in found.rules}) == 2
    assert fired(found, {"EventID": 1}) == ["common"]
    assert fired(found, {"Name": "x"}) == ["common"]
    assert fired(found, {"Name": "y"}) == []


def test_reset_ends_it_and_repeat_changes_the_document_before() -> None:
    text = GLOBAL + (
        "---\naction: repeat\ntitle: again\nid: other\ndetection: {s: {Name: y}}\n"
        "---\naction: reset\n"
        "---\ntitle: alone\nlogsource: {category: any}\ndetection: {t: {z: 1}, condition: t}\n"
    )
    found = rules(text, RAW)
    assert fired(found, {"Name": "y"}) == ["again"]
    assert fired(found, {"z": 1}) == ["alone"]
    assert [rule.meta.severity for rule in found.rules] == ["high", "high", "high", "medium"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("action: global\ntitle: x\n", 1, "said of no document"),
        ("title: x\naction: repeat\n", 2, "repeats nothing"),
        ("title: x\naction: dance\n", 2, "none of global"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, line: int, reason: str) -> None:
    with pytest.raises(RuleErrors) as caught:
        rules(text, RAW)
    (problem,) = caught.value.problems
    assert problem.line == line
    assert reason in problem.reason


def test_a_problem_of_a_part_is_at_the_line_that_says_it() -> None:
    with pytest.raises(RuleErrors) as caught:
        rules(GLOBAL.replace("{EventID: 1}", "{EventID|nosuch: 1}"), RAW)
    (problem,) = caught.value.problems
    assert problem.line == 9


def test_a_correlation_of_a_rule_of_several_documents_counts_what_any_of_them_matches() -> None:
    over = (
        "---\ntitle: over\ncorrelation: {type: event_count, group-by: [Host], timespan: 5m, "
        "rules: [5f0f6d0a-8b1c-4b60-9b0e-0f7a2a4b1d11], condition: {gte: 3}}\n"
    )
    one, other, neither = {"EventID": 1}, {"Name": "x"}, {"Name": "y"}
    found = rules(GLOBAL + over, RAW)
    assert fired(found, *({**event, "Host": "h"} for event in (one, other, one))) == ["over"]
    assert fired(found, *({**event, "Host": "h"} for event in (one, other, neither))) == []
    both = {**one, **other, "Host": "h"}
    assert fired(found, both, both) == [], "an event that two parts match is one event"
