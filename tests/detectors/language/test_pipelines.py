"""Processing pipelines fit rules to events; rules of other logs are not asked, and it is said."""

from pathlib import Path

import pytest

from tachograph.detectors.engine import Engine
from tachograph.detectors.language import logsources
from tachograph.detectors.language.fields import ACTIONS, RAW, FieldMap
from tachograph.detectors.language.pipelines import Lists
from tachograph.detectors.language.ruleset import RuleErrors, RuleSet, load
from tests.detectors.language.judged import fired
from tests.detectors.made import frame

RULE = """
title: made
id: 11111111-2222-4333-8444-555555555555
logsource: {product: windows, category: process_creation}
detection:
  s: {CommandLine|contains: whoami, Image|endswith: '\\cmd.exe'}
  condition: s
"""
COMMAND = """
title: made
logsource: {product: linux, category: process_creation}
detection: {s: {CommandLine|contains: whoami}, condition: s}
"""
RENAME = """
name: names
priority: 20
transformations:
  - type: field_name_mapping
    mapping: {CommandLine: [cmd, cmd2], Image: exe, user: login}
"""


def loaded(
    tmp_path: Path,
    rule: str,
    *pipelines: str,
    fields: FieldMap = RAW,
    lists: Lists | None = None,
) -> RuleSet:
    (tmp_path / "rule.yml").write_text(rule)
    files: list[Path | str] = []
    for number, text in enumerate(pipelines):
        files.append(tmp_path / f"pipeline{number}.yml")
        Path(files[-1]).write_text(text)
    return load([tmp_path / "rule.yml"], builtin=False, fields=fields, pipelines=files, lists=lists)


def test_fields_are_mapped_to_one_or_several(tmp_path: Path) -> None:
    found = loaded(tmp_path, RULE, RENAME)
    assert fired(found, {"cmd": "x whoami", "exe": r"C:\cmd.exe"}) == ["made"]
    assert fired(found, {"cmd2": "x whoami", "exe": r"C:\cmd.exe"}) == ["made"]
    assert fired(found, {"CommandLine": "x whoami", "Image": r"C:\cmd.exe"}) == []


AS_EXPRESSIONS = "transformations:\n  - {{type: regex, method: {}}}\n"
NESTED_EXPRESSIONS = "transformations:\n  - {{type: nest, items: [{{type: regex, method: {}}}]}}\n"


@pytest.mark.parametrize("pipeline", [AS_EXPRESSIONS, NESTED_EXPRESSIONS])
@pytest.mark.parametrize("method", ["plain", "ignore_case_flag", "ignore_case_brackets"])
def test_a_text_made_an_expression_begins_and_ends_where_it_did(
    tmp_path: Path, pipeline: str, method: str
) -> None:
    rule = EXPAND.format("user: bob, tty|startswith: pts, home|endswith|cased: Bob, dir: 'a?c*'")
    found = loaded(tmp_path, rule, pipeline.format(method))
    event = {"user": "bob", "tty": "pts1", "home": "/Bob", "dir": "abcd"}
    assert fired(found, event) == ["made"]
    for other in ({"user": "bobby"}, {"tty": "a pts1"}, {"home": "/bob"}, {"dir": "xabc"}):
        assert fired(found, event | other) == []
    shouted = {**event, "user": "BOB"}
    assert fired(found, shouted) == ([] if method == "plain" else ["made"])


DROPPED = """
title: made
logsource: {product: linux}
detection:
  s: {user: bob}
  t: [{other: 1}, {other: 2}]
  condition: t
"""


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        (
            "{type: drop_detection_item, field_name_conditions:"
            " [{type: include_fields, fields: [other]}]}",
            "nothing",
        ),
        ("{type: convert_type, target_type: num}", "'bob' is no number"),
    ],
)
def test_a_rule_that_a_pipeline_spoils_is_refused_and_says_why(
    tmp_path: Path, pipeline: str, reason: str
) -> None:
    with pytest.raises(RuleErrors, match=reason):
        loaded(tmp_path, DROPPED, f"transformations: [{pipeline}]\n")


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        ("{type: field_name_transform, transform_func: lower}", "a function of Python"),
        ("{type: field_name_mapping}", "transformation: there is no value for 'mapping'"),
        ("{type: field_name_prefix, prefx: a}", "transformation: there is no key 'prefx'"),
    ],
)
def test_a_wrong_pipeline_is_told_in_words_of_its_file(
    tmp_path: Path, pipeline: str, reason: str
) -> None:
    with pytest.raises(RuleErrors, match=reason) as caught:
        loaded(tmp_path, RULE, f"transformations: [{pipeline}]\n")
    assert "__init__" not in str(caught.value)


def test_conditions_of_the_log_source_and_added_conditions(tmp_path: Path) -> None:
    pipeline = """
transformations:
  - type: add_condition
    conditions: {source: $category, EventID: 1}
    template: true
    rule_conditions: [{type: logsource, category: process_creation}]
  - type: add_condition
    conditions: {never: 1}
    rule_conditions: [{type: logsource, product: linux}]
"""
    found = loaded(tmp_path, RULE, pipeline)
    event = {"CommandLine": "whoami", "Image": r"C:\cmd.exe", "source": "process_creation"}
    assert fired(found, {**event, "EventID": 1}) == ["made"]
    assert fired(found, {**event, "EventID": 2}) == []


def test_priority_orders_pipelines_not_the_command_line(tmp_path: Path) -> None:
    after = RENAME.replace("priority: 20", "priority: 30").replace("CommandLine", "cmd")
    found = loaded(tmp_path, RULE, after.replace("[cmd, cmd2]", "last"), RENAME)
    assert fired(found, {"last": "whoami", "exe": r"\cmd.exe"}) == ["made"]


def test_only_what_a_pipeline_changes_has_another_version(tmp_path: Path) -> None:
    plain = loaded(tmp_path, RULE).rules[0].meta.version
    assert loaded(tmp_path, RULE, RENAME).rules[0].meta.version != plain
    other = RENAME + "    rule_conditions: [{type: logsource, product: linux}]\n"
    assert loaded(tmp_path, RULE, other).rules[0].meta.version == plain


def test_the_fields_of_correlations_are_mapped_too(tmp_path: Path) -> None:
    over = RULE + (
        "---\ntitle: over\ncorrelation: {type: event_count, timespan: 5m, group-by: [user], "
        "rules: [11111111-2222-4333-8444-555555555555], condition: {gte: 1}}\n"
    )
    found = loaded(tmp_path, over, RENAME)
    assert fired(found, {"cmd": "whoami", "exe": r"\cmd.exe", "login": "bob"}) == ["over"]
    assert "login" in found.columns
    assert "user" not in found.columns


EXPAND = "title: made\nlogsource: {{category: any}}\ndetection: {{s: {{{0}}}, condition: s}}\n"


@pytest.mark.parametrize(
    ("selection", "event", "matches"),
    [
        ("user|expand: '%admins%'", {"user": "BOB"}, True),
        ("user|expand: '%admins%'", {"user": "dan"}, False),
        ("user|expand: 'x-%admins%'", {"user": "x-carol"}, True),
        ("path|contains|expand: '%paths%'", {"path": "xx/a*b/"}, True),
        ("path|contains|expand: '%paths%'", {"path": "xx/aXb/"}, False),
        (r"path|expand: '%paths%'", {"path": r"C:\*"}, True),
        (r"path|expand: '%paths%'", {"path": r"C:\x"}, False),
        ("user|re|expand: '^%admins%$'", {"user": "bob"}, True),
        ("user|re|expand: '^%admins%$'", {"user": "xbob"}, False),
        ("path|re|expand: '^x%paths%$'", {"path": "xa*b"}, True),
        ("path|re|expand: '^x%paths%$'", {"path": "xaaab"}, False),
        ("port|expand: '%ports%'", {"port": 22}, True),
    ],
)
def test_placeholders_are_an_operators_lists(
    tmp_path: Path, selection: str, event: dict[str, object], matches: bool
) -> None:
    lists: Lists = {"admins": ["bob", "carol"], "paths": ["a*b", r"C:\*"], "ports": [22, 23]}
    found = loaded(tmp_path, EXPAND.format(selection), lists=lists)
    assert (fired(found, event) == ["made"]) is matches


def test_placeholders_may_come_from_a_pipeline_and_none_is_left_open(tmp_path: Path) -> None:
    rule = EXPAND.format("user|expand: '%admins%'")
    pipeline = "vars: {admins: [bob]}\ntransformations: [{type: value_placeholders}]\n"
    assert fired(loaded(tmp_path, rule, pipeline), {"user": "bob"}) == ["made"]
    with pytest.raises(RuleErrors, match="%admins%"):
        loaded(tmp_path, rule, lists={"others": ["x"]})


NESTED = "transformations:\n  - {type: nest, items: [{type: http_placeholders, url: x}]}\n"


@pytest.mark.parametrize(
    ("pipeline", "line", "reason"),
    [
        ("transformations: [{type: command_placeholders, cmd: id}]\n", 1, "runs commands"),
        ("transformations: [{type: file_placeholders, path: /etc/passwd}]\n", 1, "reads files"),
        (NESTED, 1, "network"),
        ("name: x\nfinalizers: [{type: concat}]\n", 2, "query text"),
        ("transformations: [{type: nosuch}]\n", 1, "nosuch"),
        ("transformations: [{type: field_name_mapping}]\n", 1, "mapping"),
        ("name: x\nother: 1\n", 1, "other"),
        ("a: [\n", 2, "YAML"),
    ],
)
def test_a_pipeline_that_cannot_be_honoured_is_named(
    tmp_path: Path, pipeline: str, line: int, reason: str
) -> None:
    with pytest.raises(RuleErrors) as caught:
        loaded(tmp_path, RULE, pipeline)
    (problem,) = caught.value.problems
    assert problem.file.endswith("pipeline0.yml")
    assert reason in problem.reason
    assert problem.line == line


def test_a_pipeline_may_refuse_a_rule_in_its_own_words(tmp_path: Path) -> None:
    pipeline = "transformations: [{type: rule_failure, message: not here}]\n"
    with pytest.raises(RuleErrors, match=r"rule.yml:7: not here"):
        loaded(tmp_path, RULE, pipeline)


@pytest.mark.parametrize(
    ("logsource", "asked"),
    [
        ("{product: ai_agent, category: anything}", True),
        ("{category: tool_call}", True),
        ("{category: any}", True),
        ("{product: windows, category: process_creation}", False),
        ("{category: proxy}", False),
        ("{category: tool_call, service: sshd}", False),
        ("{product: okta}", False),
    ],
)
def test_actions_are_asked_only_rules_of_their_log_source(
    tmp_path: Path, logsource: str, asked: bool
) -> None:
    rule = f"title: x\nlogsource: {logsource}\ndetection: {{s: {{tool.name: x}}, condition: s}}\n"
    found = loaded(tmp_path, rule, fields=ACTIONS)
    assert (len(found.rules), len(found.skipped)) == ((1, 0) if asked else (0, 1))
    if not asked:
        assert found.skipped[0].line == 2
        assert "not asked: log source" in logsources.in_words(found.skipped)[0]
    assert len(loaded(tmp_path, rule, fields=RAW).rules) == 1


def test_a_correlation_of_rules_that_are_not_asked_is_not_asked_either(tmp_path: Path) -> None:
    over = RULE + (
        "---\ntitle: over\ncorrelation: {type: event_count, timespan: 5m, group-by: [agent.id], "
        "rules: [11111111-2222-4333-8444-555555555555], condition: {gte: 1}}\n"
    )
    found = loaded(tmp_path, over, fields=ACTIONS)
    assert not found.rules
    assert len(found.skipped) == 2


def test_the_shipped_pipeline_asks_endpoint_rules_of_actions(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(f"{COMMAND}---\n{RULE}")
    found = load([tmp_path / "rules.yml"], builtin=False, pipelines=["endpoint"])
    actions = frame(
        [
            {"event_id": "1" * 32, "event_time": 1, "process_command_line": "sh -c WHOAMI"},
            {"event_id": "2" * 32, "event_time": 1, "process_command_line": "ls"},
        ]
    )
    (signal,) = Engine(found).judge(actions, 1).signals
    assert signal.event_ids == ["1" * 32]
    # What an action does not carry cannot be asked, and that is said.
    (left_out,) = found.skipped
    assert "field Image" in left_out.reason
