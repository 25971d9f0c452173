"""The verbs of rule authors, as they are typed."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from tachograph.detectors.language.ruleset import load
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.rules.command import app
from tachograph.pipeline.rules.loading import find
from tachograph.pipeline.rules.starting import KINDS

RULE = """
title: delete
id: {id}
logsource: {{category: any}}
detection:
  s: {{tool.name: delete}}
  condition: s
tacho:
  samples:
    match: [{{tool.name: delete}}, {{tool.name: {second}}}]
    no_match: [{{tool.name: a}}, {{tool.name: b}}]
"""


def run(*words: str, code: int = 0, answers: str | None = None) -> str:
    done = CliRunner().invoke(app, list(words), input=answers)
    assert done.exit_code == code, done.output
    return done.output


def test_check_of_the_shipped_rules_passes() -> None:
    assert re.fullmatch(r"\d+ rules, 0 errors, 0 hints\n", run("check"))


def test_check_names_file_line_and_reason_and_fails(tmp_path: Path) -> None:
    file = tmp_path / "bad.yml"
    file.write_text(RULE.format(id="x", second="delete").replace("condition: s", "condition: t"))
    assert f"{file}:7: " in run("check", str(file), code=1)
    told = json.loads(run("check", str(file), "--json", code=1))
    assert told["errors"] == 1
    assert told["problems"][0]["line"] == 7
    assert told["problems"][0]["level"] == "error"


def test_test_passes_or_fails_with_its_samples(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULE.format(id="one", second="delete"))
    assert run("test", str(tmp_path)) == "1 rule, 4 cases, 4 passed\n"
    (tmp_path / "b.yml").write_text(RULE.format(id="two", second="remove"))
    assert "delete: match[1]: did not fire\n2 rules, 8 cases, 7 passed\n" in run(
        "test", str(tmp_path), code=1
    )
    assert json.loads(run("test", str(tmp_path), "--json", code=1)) == {
        "rules": 2,
        "cases": 8,
        "passed": 7,
        "failed": [{"rule_id": "two", "case": "match[1]", "reason": "did not fire"}],
    }


def test_rules_for_other_logs_are_tested_on_such_logs(tmp_path: Path) -> None:
    text = RULE.format(id="one", second="{a: b}").replace("category: any", "product: windows")
    text = text.replace("{tool.name: delete}", "{Image: x, Hashes.md5: y}").replace(
        "{tool.name: {a: b}}", "{Image: X, Hashes: {md5: Y}, tool.name: 1}"
    )
    (tmp_path / "a.yml").write_text(text)
    assert run("test", str(tmp_path)) == "1 rule, 4 cases, 4 passed\n"
    told = json.loads(run("show", str(tmp_path / "a.yml"), "--json"))
    assert told["rule_id"] == "one"


def test_a_rule_that_does_not_load_fails_its_test(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    file.write_text(RULE.format(id="one", second="delete").replace("condition: s", "condition: t"))
    told = json.loads(run("test", str(file), "--json", code=1))
    assert told["rules"] == 0
    assert [failed["case"] for failed in told["failed"]] == ["load"]
    assert told["failed"][0]["reason"].startswith(f"{file}:7: ")


def test_junit_holds_every_case_and_any_text(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(
        RULE.format(id="one", second="remove").replace("title: delete", 'title: "<\\b&\\uFFFE>"')
    )
    run("test", str(tmp_path), "--junit", str(tmp_path / "out.xml"), code=1)
    suite = ET.parse(tmp_path / "out.xml").getroot()[0]  # noqa: S314 - our own report
    assert suite.attrib["tests"] == "4"
    assert suite.attrib["failures"] == "1"
    assert len(suite.findall("testcase")) == 4
    assert len(suite.findall("testcase/failure")) == 1


def test_junit_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULE.format(id="one", second="delete"))
    words = ["test", str(tmp_path), "--junit", str(tmp_path / "no" / "out.xml")]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, ConfigError)
    assert "--junit" in str(done.exception)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "value_count"])
def test_a_new_rule_passes_check_and_test_once_its_samples_are_filled_in(
    kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "new.yml"
    run("new", 'Odd: "title" #1', "--kind", kind, "--out", str(file))
    told = json.loads(run("check", str(file), "--json"))
    assert told["errors"] == 0
    assert [problem["level"] for problem in told["problems"]] == ["hint", "hint"]
    one = "{kind: tool_call, tool.name: change_me}"
    several = f"[{one}, {{at_s: 30, repeat: 4, every_s: 10, {one[1:]}]"
    match = several if kind != "stateless" else one
    filled = file.read_text().replace(" match: []", f" match: [{match}, {match}]")
    filled = filled.replace("no_match: []", "no_match: [{kind: prompt}, {tool.name: x}]")
    file.write_text(filled)
    assert json.loads(run("check", str(file), "--json"))["problems"] == []
    assert json.loads(run("test", str(file), "--json"))["passed"] == 4


def test_new_asks_for_what_is_not_said_and_overwrites_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    run("new", "--out", str(file), answers="What I fear\nstateless\n")
    assert 'title: "What I fear"' in file.read_text()
    for words in (["x", "--kind", "stateless"], ["x", "--kind", "odd"]):
        done = CliRunner().invoke(app, ["new", *words, "--out", str(file)])
        assert isinstance(done.exception, ConfigError)


@pytest.mark.parametrize(
    ("answers", "lacking"), [("", "a title and --kind"), ("What I fear\n", "give --kind")]
)
def test_new_says_what_to_give_where_nobody_answers(
    tmp_path: Path, answers: str, lacking: str
) -> None:
    file = tmp_path / "new.yml"
    done = CliRunner().invoke(app, ["new", "--out", str(file)], input=answers)
    assert isinstance(done.exception, ConfigError)
    assert lacking in str(done.exception)
    assert not file.exists()


def test_list_shows_every_rule_and_the_map_of_frameworks() -> None:
    listed = json.loads(run("list", "--json"))["rules"]
    assert {rule["rule_id"] for rule in listed} == {r.meta.rule_id for r in load().rules}
    assert f"{len(listed)} rules" in run("list")
    frameworks = json.loads(run("list", "--coverage", "--json"))["frameworks"]
    for one in frameworks:
        assert one["ids"] == len(one["map"])
        assert one["covered"] == sum(bool(entry["rules"]) for entry in one["map"].values())
    assert sum(one["covered"] for one in frameworks) > 50
    assert "MITRE ATLAS" in run("list", "--coverage")


def test_show_tells_knobs_with_the_values_in_force(tmp_path: Path) -> None:
    tuning = tmp_path / "tuning.yml"
    tuning.write_text("tacho_bulk_delete: {threshold: 50}")
    rule = find(load(), "C03")
    assert rule.meta.name
    tuning.write_text(f"{rule.meta.name}: {{threshold: 50}}")
    told = json.loads(run("show", "C03", "--tuning", str(tuning), "--json"))
    assert told["knobs"]["threshold"]["value"] == 50
    assert told["knobs"]["threshold"]["default"] == 5
    assert told["version"] != rule.meta.version
    assert "threshold = 50 calls (default 5)" in run("show", "C03", "--tuning", str(tuning))


def test_a_rule_is_found_by_how_its_names_begin_and_no_other_is_taken() -> None:
    rules = load()
    [first, *_] = rules.rules
    assert find(rules, first.meta.rule_id[:12]) is first
    assert find(rules, first.meta.title.upper()) is first
    with pytest.raises(ConfigError, match="could be"):
        find(rules, "a")
    with pytest.raises(ConfigError, match="no rule nonesuch"):
        find(rules, "nonesuch")
