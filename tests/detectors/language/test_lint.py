"""`check` finds everything that is amiss at once, and asks more of the shipped rules."""

from pathlib import Path

import pytest

from tachograph.detectors.language.lint import Linted, lint, look
from tachograph.detectors.language.tuning import read_tuning
from tachograph.pipeline.rules.loading import LOGS

SOUND = """
title: sound
id: 0d2d1a0c-55bd-4cf9-9d17-5a4b4bbd6f0e
name: sound
tags: [atlas.aml.t0050, attack.t1059, my.tag]
logsource: {product: ai_agent, category: tool_call}
detection:
  s: {tool.name: a, tool.args.path: b, attributes.vendor: x}
  condition: s
tacho:
  samples:
    match: [{tool.name: a, tool.args.path: b, attributes: {vendor: x}}, {tool.name: a}]
    no_match: [{tool.name: b}, {tool.name: c}]
"""


def looked_at(folder: Path, *texts: str) -> Linted:
    for number, text in enumerate(texts):
        (folder / f"{number}.yml").write_text(text)
    return lint(look([folder]), LOGS)


def said(found: Linted) -> list[str]:
    return [f"{Path(r.file).name}:{r.line}:{r.level}: {r.reason}" for r in found.remarks]


def test_the_shipped_rules_have_nothing_amiss() -> None:
    found = lint(look([]), LOGS)
    assert said(found) == []
    assert found.rules > 20


def test_a_sound_rule_of_others_has_nothing_amiss(tmp_path: Path) -> None:
    found = looked_at(tmp_path, SOUND)
    assert said(found) == []
    assert found.rules == 1


@pytest.mark.parametrize(
    ("old", "new", "remark"),
    [
        ("t0050", "t9950", "5:error: tag atlas.aml.t9950 is no id of its framework"),
        ("atlas.aml.t0050", "owasp-llm.2031.llm01", "5:error: tag owasp-llm.2031.llm01 is no id"),
        ("tool.name: a,", "tool.nam: a,", "8:hint: tool.nam is no field of an action: looked for"),
        ("tool.name: a,", "tool.nam: a,", "did you mean tool.name?"),
        (", {tool.name: c}]", "]", "13:hint: 1 of at least 2 samples that it must leave alone"),
        ("[{tool.name: b}, {t", "[{tool_nam: b}, {t", "11:error: no_match[0]: broken sample"),
        ("tacho:\n", "tacho:\n  tuning: {n: {default: 1, unit: u, meaning: m}}\n", "11:error: kn"),
        ("condition: s", "condition: t", "9:error: "),
        ("tool.name: a,", "tool.name|re: '(',", "error: regular expression"),
        ("level: high", "level: grave", "error: level grave"),
    ],
)
def test_what_is_amiss_is_named_with_its_line(
    old: str, new: str, remark: str, tmp_path: Path
) -> None:
    text = SOUND + "level: high\n"
    assert old in text
    lines = said(looked_at(tmp_path, text.replace(old, new)))
    assert any(remark in line for line in lines), lines


def test_all_files_are_looked_at_and_problems_come_at_once(tmp_path: Path) -> None:
    found = looked_at(
        tmp_path,
        SOUND,
        SOUND,
        SOUND.replace("name: sound", "name: other").replace("0d2d", "0d2e").replace("t0050", "t00"),
        "title: x\ncorrelation: {type: event_count, rules: [nobody], timespan: 1m,"
        " group-by: [session.id], condition: {gte: 2}}",
    )
    lines = said(found)
    assert any("is already the rule at" in line for line in lines)
    assert any("atlas.aml.t00 is no id" in line for line in lines)
    assert any("refers to nobody" in line for line in lines)
    assert found.errors == 3


def test_rules_may_refer_to_shipped_ones(tmp_path: Path) -> None:
    text = (
        "title: x\ncorrelation: {type: event_count, rules: [tacho_outbound], timespan: 1m,"
        " group-by: [session.id], condition: {gte: 2}}"
    )
    assert looked_at(tmp_path, text).errors == 0


def test_the_values_of_an_operator_are_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "tuning.yml").write_text("sound: {x: 1}")
    (tmp_path / "rules" / "a.yml").write_text(SOUND)
    tuning = read_tuning(tmp_path / "tuning.yml")
    found = lint(look([tmp_path / "rules"], tuning=tuning), LOGS)
    assert said(found) == ["tuning.yml:1:error: x is no knob of sound; its knobs: none"]


def test_a_rule_for_other_logs_is_looked_at_as_one_and_it_is_said(tmp_path: Path) -> None:
    text = SOUND.replace("{product: ai_agent, category: tool_call}", "{product: windows}")
    text = text.replace("tool.name: a,", "Image: a,")
    [remark] = said(looked_at(tmp_path, text))
    assert remark == "0.yml:6:hint: log source product windows is not that of agents' actions"
    broken = text.replace("condition: s", "condition: t")
    assert "9:error" in "".join(said(looked_at(tmp_path, broken)))


def test_more_is_asked_of_a_shipped_rule(tmp_path: Path) -> None:
    bare = SOUND.replace("no_match: [{tool.name: b}, {tool.name: c}]", "no_match: []")
    (tmp_path / "a.yml").write_text(bare)
    lines = "\n".join(said(lint(look([], pack=tmp_path), LOGS, pack=tmp_path)))
    for asked in (
        "error: 0 of at least 2 samples that it must leave alone",
        "tag attack.t1059: shipped rules cite the known frameworks alone",
        "a shipped rule says its runbook",
        "a shipped rule says its owner_team",
        "a shipped rule says what it finds in description",
    ):
        assert asked in lines, lines


PACK = {
    "chain.yml": "title: chain\nid: chain\ncorrelation:\n  type: event_count\n"
    "  rules: [first one]\n  group-by: [session.id]\n  timespan: 1m\n  condition: {gte: 2}\n",
    "first.yml": SOUND.replace("name: sound", "name: first one").replace("0d2d1a0c", "1d2d1a0c"),
    "other.yml": SOUND.replace("name: sound", "name: other").replace("0d2d1a0c", "2d2d1a0c"),
}
ON_CHAIN = """
title: mine
id: mine
correlation:
  type: temporal
  rules: [chain, other]
  group-by: [session.id]
  timespan: 5m
  condition: EXPRESSION
"""


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (ON_CHAIN.replace("  condition: EXPRESSION\n", ""), []),
        (ON_CHAIN.replace("EXPRESSION", "(chain and other)").replace("[chain, other]", "[]"), []),
        (ON_CHAIN.replace("chain", "chin").replace("  condition: EXPRESSION\n", ""), ["chin"]),
        (SOUND.replace("name: sound", "name: other"), ["other is already the rule at"]),
        ("title: f\nfilter: {rules: any, s: {tool.name: x}, condition: s}\n"
         "logsource: {product: ai_agent}\n", []),
    ],
    ids=["named", "within an expression", "no such rule", "a name that is taken", "a filter"],
)  # fmt: skip
def test_rules_of_the_pack_count_where_others_name_them(
    text: str, refused: list[str], tmp_path: Path
) -> None:
    pack, mine = tmp_path / "pack", tmp_path / "mine.yml"
    pack.mkdir()
    for name, shipped in PACK.items():
        (pack / name).write_text(shipped)
    mine.write_text(text)
    found = [problem.reason for problem in look([mine], pack=pack).refused]
    assert len(found) == len(refused), found
    assert all(word in reason for word, reason in zip(refused, found, strict=True)), found
