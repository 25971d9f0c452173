"""What cannot be honoured is a problem with file, line and reason; all of them come at once."""

from pathlib import Path

import pytest

from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.rulefile import MAX_FILE_BYTES, parse
from tachograph.detectors.language.ruleset import RuleErrors, build, load
from tests.detectors.made import rules, stateless

BASE = """
title: base
name: base
logsource: {category: any}
detection: {s: {tool.name: a}, condition: s}
---
title: over time
correlation:
"""


def correlation(**fields: str) -> str:
    usual = {
        "type": "event_count",
        "rules": "[base]",
        "group-by": "[session.id]",
        "timespan": "5m",
        "condition": "{gte: 3}",
    }
    lines = {**usual, **{name.replace("_", "-"): value for name, value in fields.items()}}
    return BASE + "".join(f"  {name}: {value}\n" for name, value in lines.items() if value)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (stateless("  s: {tool.name|re: '(?=x)++'}\n  condition: s"), 4, "possessive"),
        (stateless(r"  s: {tool.name|re: '(x)(?=x)\1'}" + "\n  condition: s"), 4, "back-reference"),
        (stateless(r"  s: {tool.name|re: '\1(x)'}" + "\n  condition: s"), 4, "back-reference"),
        (stateless("  s: {tool.name|expand: '%admins%'}\n  condition: s"), 4, "placeholder"),
        (stateless("  s: {tool.name|nosuch: x}\n  condition: s"), 4, "nosuch"),
        (stateless("  s: {tool.name|contain: x}\n  condition: s"), 4, "did you mean contains?"),
        (stateless("  s: {tool.name: x}\n  condition: t"), 5, "not defined"),
        (stateless("  s: {tool.name: x}\n  condition: 1 of t*"), 5, "doesn't match any"),
        (stateless("  s: {tool.name: x}\n  condition: s | count() > 3"), 5, "aggregations"),
        (stateless("  s: {tool.name: {x: y}}\n  condition: s"), 4, "not a mapping"),
        (stateless("  s: {tool.name|gt: x}\n  condition: s"), 4, "modifier gt does not take 'x'"),
        (stateless("  s: {tool.name: x}\n  condition: s AND s"), 5, "'AND' on: write and"),
        (stateless("  s: {tool.name: x}\n  condition: s and (s"), 5, "ends too early"),
        (stateless("  s: {src.ip|cidr: nonsense}\n  condition: s"), 4, "CIDR"),
        (stateless("  s: {x: 1}\n  condition: s", level="grave"), 3, "level grave"),
        (stateless("  s: {x: 1}\n  condition: s", tacho="{confidance: 1}"), 3, "confidance"),
        ("title: x\nlogsource: {category: a}\n", 1, "this is no rule"),
        ("- a\n- b\n", 1, "mapping"),
        ("a: 1\na: 2\n", 2, "a is there twice"),
        ("a: [1\n", 2, "YAML"),
        ("action: global\ntitle: x\n", 1, "said of no document"),
    ],
)
def test_a_rule_that_cannot_be_honoured_names_line_and_reason(
    text: str, line: int, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "rule.yml"
    file.write_text(text)
    with pytest.raises(RuleErrors) as caught:
        load([file], builtin=False)
    (problem, *_) = caught.value.problems
    assert problem.file == str(file)
    assert reason.lower() in problem.reason.lower()
    assert problem.line == line


def test_every_item_that_cannot_be_honoured_is_named_where_it_stands() -> None:
    text = stateless("""  s:
    tool.name|nosuch: x
    tool.server: y
  t:
    - tool.name|re: '(x'
      tool.server: y
    - tool.server|gt: z
  condition: s or t""")
    problems = build(parse(text, "rule.yml"), strict=False).refused
    assert [problem.line for problem in problems] == [5, 8, 10]


@pytest.mark.parametrize(
    ("item", "refused"),
    [
        ("x|base64offset|contains: a", True),
        ("x|base64offset|contains: [secret, '']", True),
        ("x|base64offset|contains: ab", False),
        ("x|base64offset|contains: ä", False),
        ("x|wide|base64offset|contains: a", False),
    ],
)
def test_base64_in_which_a_text_leaves_no_character_of_its_own_is_refused(
    item: str, refused: bool
) -> None:
    rules = build(parse(stateless(f"  s: {{{item}}}\n  condition: s"), "rule.yml"), strict=False)
    assert len(rules.refused) == refused


def test_all_problems_come_at_once_and_the_rest_can_be_had(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(stateless("  s: {x|re: '(x'}\n  condition: s"))
    (tmp_path / "b.yaml").write_text(stateless("  s: {x: y}\n  condition: nosuch"))
    (tmp_path / "c.yml").write_text(stateless("  s: {x: y}\n  condition: s"))
    (tmp_path / "d.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(RuleErrors) as caught:
        load([tmp_path, tmp_path / "nowhere"], builtin=False)
    assert len(caught.value.problems) == 4
    found = load([tmp_path], builtin=False, strict=False)
    assert len(found.rules) == 1
    assert len(found.refused) == 3


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.yml").write_text(stateless("  s: {x: y}\n  condition: s", id="one"))
    found = load([tmp_path, tmp_path / "in", tmp_path / "in" / "a.yml"], builtin=False)
    assert len(found.rules) == 1


def test_two_rules_of_one_id_are_a_problem_that_names_both() -> None:
    rule = stateless("  s: {x: y}\n  condition: s", id="same")
    with pytest.raises(RuleErrors, match=r"same is already the rule at made\.yml:1"):
        rules(f"{rule}---\n{rule}")


def test_a_rule_that_refers_to_a_broken_one_says_so() -> None:
    text = correlation().replace("tool.name: a", "tool.name|re: '(?>a)'")
    with pytest.raises(RuleErrors) as caught:
        rules(text)
    assert any("has a problem itself" in problem.reason for problem in caught.value.problems)


def test_a_bomb_of_aliases_and_a_huge_file_are_problems(tmp_path: Path) -> None:
    doubled = "".join(f"x{i}: &x{i} [*x{i - 1}, *x{i - 1}]\n" for i in range(1, 40))
    (tmp_path / "bomb.yml").write_text("x0: &x0 [a, a]\n" + doubled)
    (tmp_path / "huge.yml").write_text("#" * (MAX_FILE_BYTES + 1))
    (tmp_path / "deep.yml").write_text("a: " + "[" * 20_000)
    with pytest.raises(RuleErrors) as caught:
        load([tmp_path], builtin=False)
    assert len(caught.value.problems) == 3


def test_wording_severity_and_runbook_do_not_change_what_a_rule_asks() -> None:
    plain = stateless("  s: {x: y}\n  condition: s", id="one")
    worded = plain.replace("title: made", "title: other\nlevel: high\ntacho: {runbook: look}")
    asked = plain.replace("x: y", "x: z")
    (one,), (two,), (three,) = (rules(text).rules for text in (plain, worded, asked))
    assert one.meta.version == two.meta.version != three.meta.version


def test_a_rule_referred_to_speaks_only_through_the_one_that_refers_to_it() -> None:
    assert [rule.meta.title for rule in rules(correlation()).rules] == ["over time"]
    both = rules(correlation(generate="true")).rules
    assert [rule.meta.title for rule in both] == ["base", "over time"]


def test_logs_of_other_kinds_may_be_grouped_by_anything() -> None:
    found = rules(correlation(group_by="[principal.id, 'user name']"), RAW)
    assert len(found.rules) == 1
