"""Public Sigma rules with real events: every rule finds its own. Skipped where the data is not at
hand.

The data is not part of the project: TACHO_SHARED names the folder, or it lies beside the clone.
"""

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tachograph.detectors.engine import Engine
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.ruleset import RuleSet, load
from tachograph.pipeline.scan.raw_frames import RawFrames

SHARED = Path(os.environ.get("TACHO_SHARED", Path(__file__).parents[4] / "shared")) / "data"
CONFORMANCE, BREADTH = SHARED / "sigma_conformance", SHARED / "sigma_rules"


def judged(rules: RuleSet, events: list[dict[str, Any]]) -> dict[str, set[int]]:
    """Numbers of the events that each rule matches."""
    ids = [f"{number:032x}" for number in range(len(events))]
    frame = RawFrames().frame(events, ids, [0] * len(events))
    found: dict[str, set[int]] = defaultdict(set)
    for signal in Engine(rules).judge(frame, 1).signals:
        found[signal.rule_id].add(int(signal.event_ids[0], 16))
    return found


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    if not CONFORMANCE.is_dir():
        pytest.skip("the conformance data is not here")
    lines = (CONFORMANCE / "events.ndjson").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_rule_finds_its_own_events(events: list[dict[str, Any]]) -> None:
    expected = json.loads((CONFORMANCE / "expected.json").read_text())
    rules = load([CONFORMANCE / "rules"], builtin=False, fields=RAW)
    found = judged(rules, events)
    missed = {
        rule: wanted
        for rule, wanted in expected.items()
        if not set(wanted["events"]) <= found[rule] or len(found[rule]) < wanted["min_matches"]
    }
    assert len(expected) == 87
    assert not missed


def test_asked_one_by_one_rules_find_what_they_find_together(events: list[dict[str, Any]]) -> None:
    """The two ways of being quick, for few rules and for many, find the same."""
    rules = load([CONFORMANCE / "rules"], builtin=False, fields=RAW)
    together = judged(rules, events)
    for start in range(0, len(rules.rules), 29):
        few = rules.only(rules.rules[start : start + 29])
        parts = {rule.meta.rule_id for rule in few.rules}
        assert judged(few, events) == {r: f for r, f in together.items() if r in parts}


def test_public_rules_load_or_say_why_not() -> None:
    if not BREADTH.is_dir():
        pytest.skip("the rules are not here")
    rules = load([BREADTH], builtin=False, fields=RAW, strict=False)
    files = len(list(BREADTH.rglob("*.yml")))
    assert len(rules.rules) + len(rules.refused) >= files
    assert all(problem.file and problem.line and problem.reason for problem in rules.refused)
    # Every one of them, as of this writing: a rule that stops loading is seen.
    assert not rules.refused
