"""Sigma filters: added to the rules they name and fit, and never to no rule without a word."""

import pytest

from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.ruleset import RuleErrors
from tests.detectors.language.judged import fired
from tests.detectors.made import rules

RULES = """
title: one
id: r1
name: rule_one
logsource: {product: windows, category: process_creation}
detection: {s: {x: 1}, condition: s}
---
title: two
id: r2
logsource: {product: linux, category: process_creation}
detection: {s: {x: 1}, t: {x: 2}, condition: s or t}
---
title: often
id: often
correlation: {type: event_count, rules: [r2], group-by: [x], timespan: 5m, condition: {gte: 1}}
"""
EVENT = {"x": 1, "user": "adm_bob"}


def with_filter(asked: str, logsource: str = "{category: process_creation}") -> str:
    return f"{RULES}---\ntitle: no admins\nlogsource: {logsource}\nfilter:\n{asked}"


def test_a_filter_takes_away_from_the_rules_it_names() -> None:
    asked = "  rules: [rule_one, r2]\n  admins: {user|startswith: adm_}\n  condition: not admins\n"
    found = rules(with_filter(asked), RAW)
    assert fired(found, EVENT) == []
    assert fired(found, {"x": 1, "user": "bob"}) == ["often", "one"]
    assert fired(found, {"x": 2, "user": "adm_bob"}) == []


def test_a_filter_for_any_rule_means_those_of_its_log_source() -> None:
    asked = "  rules: any\n  a_1: {user: adm_bob}\n  a_2: {user: x}\n  condition: not 1 of a_*\n"
    found = rules(with_filter(asked, "{product: windows}"), RAW)
    assert fired(found, EVENT) == ["often"]


def test_a_filter_may_narrow_and_stands_before_or_after() -> None:
    asked = "  rules: [r1]\n  s: {user: carol}\n  condition: s\n"
    text = with_filter(asked)
    *first, last = text.split("---\n")
    for order in (text, "---\n".join([last, *first])):
        found = rules(order, RAW)
        assert fired(found, EVENT) == ["often"]
        assert fired(found, {"x": 1, "user": "carol"}) == ["often", "one"]


def test_what_a_filter_touches_has_another_version_and_the_rest_the_same() -> None:
    asked = "  rules: [r1]\n  s: {user: carol}\n  condition: not s\n"
    before = {rule.meta.rule_id: rule.meta.version for rule in rules(RULES, RAW).rules}
    after = {rule.meta.rule_id: rule.meta.version for rule in rules(with_filter(asked), RAW).rules}
    assert after["r1"] != before["r1"]
    assert after["often"] == before["often"]


WINDOWS = "{product: windows}"
SELECTED = "  s: {a: 1}\n  condition: s\n"


@pytest.mark.parametrize(
    ("asked", "logsource", "line", "reason"),
    [
        (f"  rules: [nope]\n{SELECTED}", WINDOWS, 20, "nope is no rule"),
        (f"  rules: [often]\n{SELECTED}", WINDOWS, 20, "correlations"),
        (f"  rules: [r2]\n{SELECTED}", WINDOWS, 20, "another log source"),
        (f"  rules: any\n{SELECTED}", "{product: macos}", 20, "would do nothing"),
        ("  rules: [r1]\n  condition: s\n", WINDOWS, 19, "s"),
        (SELECTED, WINDOWS, 19, "rules"),
        ("  rules: [r1]\n  s: {a|nosuch: 1}\n  condition: s\n", WINDOWS, 19, "nosuch"),
        ("  rules: [r1]\n  s: {a: 1}\n  condition: t\n", WINDOWS, 22, "'t' not defined"),
        ("  rules: [r1]\n  s: {a|expand: '%x%'}\n  condition: s\n", WINDOWS, 21, "%x%"),
    ],
)
def test_a_filter_that_cannot_be_honoured_is_named(
    asked: str, logsource: str, line: int, reason: str
) -> None:
    with pytest.raises(RuleErrors) as caught:
        rules(with_filter(asked, logsource), RAW)
    problem = caught.value.problems[0]
    assert reason in problem.reason
    assert problem.line == line
