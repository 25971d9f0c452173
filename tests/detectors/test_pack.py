"""The shipped rules: each proves itself by its samples and cites only what exists."""

from typing import get_args
from uuid import UUID

import pytest

from tachograph.detectors.language.frameworks import known_tags
from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.ruleset import RuleSet, load
from tachograph.detectors.language.samples import cases
from tachograph.schemas.alert import RiskCategory

RULES = load()
each_rule = pytest.mark.parametrize("rule", RULES.rules, ids=lambda rule: rule.meta.title)


@pytest.fixture(scope="module")
def failures() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for case in cases(RULES):
        if not case.passed:
            found.setdefault(case.rule_id, []).append(f"{case.case}: {case.reason}")
    return found


@each_rule
def test_a_rule_matches_its_samples_and_leaves_the_others(
    rule: Rule, failures: dict[str, list[str]]
) -> None:
    assert rule.meta.rule_id not in failures, failures[rule.meta.rule_id]


@each_rule
def test_a_rule_has_two_samples_of_each_kind(rule: Rule) -> None:
    samples = rule.meta.tacho.samples
    assert len(samples.match) >= 2
    assert len(samples.no_match) >= 2


@each_rule
def test_a_rule_says_what_an_analyst_needs(rule: Rule) -> None:
    tacho = rule.meta.tacho
    assert str(UUID(rule.meta.rule_id)) == rule.meta.rule_id
    assert tacho.detection
    assert tacho.runbook
    assert tacho.owner_team
    assert tacho.lookalikes
    assert tacho.source
    assert 0 < tacho.confidence <= 100


@each_rule
def test_a_rule_cites_only_ids_that_exist(rule: Rule) -> None:
    assert rule.meta.tags
    assert not [tag for tag in rule.meta.tags if tag not in known_tags()]


def test_the_pack_covers_all_risks_and_all_kinds_of_judgement() -> None:
    assert {rule.meta.tacho.risk_category for rule in RULES.rules} == set(get_args(RiskCategory))
    assert {rule.meta.kind for rule in RULES.rules} == {"stateless", "window", "sequence"}


def test_the_same_files_give_the_same_hash_and_another_question_another() -> None:
    again = load()
    assert again.rules_hash == RULES.rules_hash
    fewer: RuleSet = load([], builtin=False)
    assert fewer.rules_hash != RULES.rules_hash
