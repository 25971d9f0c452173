"""The shipped rules: each proves itself by its samples and cites only what exists."""

from collections import Counter
from pathlib import Path
from typing import get_args
from uuid import UUID

import pytest

from tachograph.detectors.engine import Engine
from tachograph.detectors.language.frameworks import known_tags
from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.ruleset import RuleSet, load
from tachograph.detectors.language.samples import cases
from tachograph.detectors.reference import catalogue
from tachograph.schemas.alert import RiskCategory
from tests.detectors.made import frame, shipped_rules

RULES = shipped_rules()
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


def test_the_pack_covers_at_least_a_hundred_detections_and_each_risk_with_ten() -> None:
    detections = {rule.meta.tacho.detection for rule in RULES.rules}
    assert len(detections) >= 100
    risks = Counter(rule.meta.tacho.risk_category for rule in RULES.rules)
    assert set(risks) == set(get_args(RiskCategory))
    assert min(risks.values()) >= 10, risks


def test_the_pack_judges_in_every_way() -> None:
    kinds = {rule.meta.kind for rule in RULES.rules}
    assert kinds >= {"stateless", "window", "sequence"}


def test_without_reference_data_no_rule_speaks_of_a_register() -> None:
    """What nobody said anything of is not held against anybody."""
    action = {
        "event_id": "0" * 32, "event_time": 1, "kind": "tool_call", "agent_id": "anyone",
        "tool_name": "delete_user", "tool_server": "any", "model_provider": "any",
        "environment": "dev", "content_labels": ["pii"], "credential_id": "any",
        "peer_agent_id": "any", "file_path": "/srv/x", "artifact_name": "any",
        "artifact_type": "npm", "agent_version": "1", "principal_id": "any",
    }  # fmt: skip
    found = Engine(RULES).judge(frame([action]), 1).signals
    fields = {name for signal in found for name in signal.reason.fields}
    assert not {name for name in fields if name.replace(".", "_") in catalogue.COLUMNS}


def test_every_rule_of_the_pack_is_counted() -> None:
    engine = Engine(RULES)
    assert {rule.meta.rule_id for rule in RULES.rules} <= set(engine.stats)


def test_every_rule_stands_in_the_page_of_the_pack() -> None:
    """`python -m infra.pack_page` writes the rules anew."""
    page = (Path(__file__).parents[2] / "docs" / "pack.md").read_text(encoding="utf-8")
    assert [rule.meta.title for rule in RULES.rules if f"| {rule.meta.title} |" not in page] == []


def test_the_same_files_give_the_same_hash_and_another_question_another() -> None:
    again = load()
    assert again.rules_hash == RULES.rules_hash
    fewer: RuleSet = load([], builtin=False)
    assert fewer.rules_hash != RULES.rules_hash
