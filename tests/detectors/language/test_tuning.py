"""Knobs of a rule take an operator's values, the rule's file stays as it is, nothing is silent."""

from pathlib import Path

import pytest

from tachograph.detectors.language.conditions import leaves
from tachograph.detectors.language.rule import Bound, Correlation
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleErrors, RuleSet, load
from tachograph.detectors.language.tuning import unused

RULE = """
title: long names
id: long
name: long_name
logsource: {category: any}
detection:
  s:
    tool.name|re: '^.{${least_chars},}$'
    tool.version: $versions
    tool.server: $nobody
  condition: s
description: Names of ${least_chars} characters and more, as ${HOME} says.
tacho:
  tuning:
    least_chars: {default: 20, unit: characters, meaning: from which length a name counts}
    versions: {default: ['1', '2'], unit: versions, meaning: those that count}
---
title: many of them
id: many
correlation:
  type: event_count
  rules: [long_name]
  group-by: [session.id]
  timespan: $timespan
  condition: {gte: $threshold}
tacho:
  tuning:
    threshold: {default: 10, unit: calls, meaning: how many are too many}
    timespan: {default: 5m, unit: time, meaning: how close together}
"""


def loaded(folder: Path, rule: str = RULE, tuning: str | None = None) -> RuleSet:
    (folder / "rule.yml").write_text(rule)
    values = None
    if tuning is not None:
        values = folder / "tuning.yaml_"
        values.write_text(tuning)
    return load([folder / "rule.yml"], builtin=False, tuning=values)


def problems(folder: Path, rule: str = RULE, tuning: str | None = None) -> list[str]:
    with pytest.raises(RuleErrors) as caught:
        loaded(folder, rule, tuning)
    return [f"{Path(p.file).name}:{p.line}: {p.reason}" for p in caught.value.problems]


USUAL = [Bound("gte", 10)]


def window(rules: RuleSet) -> Correlation:
    [rule] = rules.correlations
    return rule


def test_a_knob_stands_for_its_default(tmp_path: Path) -> None:
    rules = loaded(tmp_path)
    assert window(rules).bounds == [Bound("gte", 10)]
    assert window(rules).timespan_us == 300_000_000
    tests = [leaf.test for leaf in leaves(rules.detections[0].condition)]
    assert "{20,}" in str(tests[0])
    assert [str(test).count("'1'") + str(test).count("'2'") for test in tests[1:3]] == [1, 1]


def test_what_only_looks_like_a_knob_stays_as_it_is(tmp_path: Path) -> None:
    assert "$nobody" in str(loaded(tmp_path).detections[0].condition)


def test_an_operator_sets_values_by_id_and_by_name(tmp_path: Path) -> None:
    rules = loaded(
        tmp_path, tuning="many: {threshold: 3, timespan: 1h}\nlong_name: {least_chars: 7}"
    )
    assert window(rules).bounds == [Bound("gte", 3)]
    assert window(rules).timespan_us == 3_600_000_000
    assert "{7,}" in str(rules.detections[0].condition)


def test_the_semantic_hash_follows_the_values_and_only_them(tmp_path: Path) -> None:
    plain = loaded(tmp_path)
    same = loaded(tmp_path, tuning="many: {threshold: 10}")
    other = loaded(tmp_path, tuning="many: {threshold: 11}")
    below = loaded(tmp_path, tuning="long: {least_chars: 21}")
    assert window(plain).meta.version == window(same).meta.version
    versions = {window(rules).meta.version for rules in (plain, other, below)}
    assert len(versions) == 3
    assert plain.rules_hash != other.rules_hash


@pytest.mark.parametrize(
    ("tuning", "problem"),
    [
        ("none: {x: 1}", "tuning.yaml_:1: none is no rule that is loaded"),
        ("many:\n  treshold: 3", "tuning.yaml_:2: treshold is no knob of many; its knobs: thr"),
        ("many:\n  threshold: lots", "tuning.yaml_:2: threshold of many is a number, not 'lots'"),
        ("long: {versions: 1}", "tuning.yaml_:1: versions of long is a list, not 1"),
        ("many: {threshold: true}", "tuning.yaml_:1: threshold of many is a number, not True"),
        ("many: [1]", "tuning.yaml_:1: many: names of knobs and values"),
        ("many: {timespan: soon}", "rule.yml:20: Timespan 'soon' is invalid. A number and"),
    ],
)
def test_a_value_that_cannot_be_honoured_is_a_problem(
    tuning: str, problem: str, tmp_path: Path
) -> None:
    loaded(tmp_path)
    folder = tmp_path
    (folder / "rule.yml").write_text(RULE)
    (folder / "tuning.yaml_").write_text(tuning)
    with pytest.raises(RuleErrors) as caught:
        load([folder / "rule.yml"], builtin="none" in tuning, tuning=folder / "tuning.yaml_")
    found = [f"{Path(p.file).name}:{p.line}: {p.reason}" for p in caught.value.problems]
    assert any(line.startswith(problem) for line in found), found


def test_a_knob_says_default_unit_and_meaning(tmp_path: Path) -> None:
    bad = RULE.replace("unit: calls, ", "")
    assert any("missing required field `unit`" in line for line in problems(tmp_path, bad))


def test_without_the_shipped_rules_values_for_them_are_idle(tmp_path: Path) -> None:
    assert window(loaded(tmp_path, tuning="some_shipped_rule: {x: 1}")).bounds == USUAL


def test_a_knob_that_stands_nowhere_is_found() -> None:
    idle = RULE.replace("{gte: $threshold}", "{gte: 10}")
    assert [unused(document) for document in parse(idle, "x")] == [[], ["threshold"]]
