import gzip
import json
import random
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.scan.command import Options, run_scan

START = datetime(2026, 11, 22, 18, tzinfo=UTC)
RULE = """
title: A shell was started
id: 2d9c1a34-60d6-4d0b-8a53-4f2a3f6a0001
logsource: {product: test}
detection:
  shell: {process.name|endswith: sh}
  condition: shell
level: medium
"""


def deletes(agent: str, count: int, gap_s: float) -> list[dict[str, Any]]:
    return [
        {
            "kind": "tool_call",
            "event_time": (START + timedelta(seconds=n * gap_s)).isoformat(),
            "agent_id": agent,
            "session_id": f"{agent}-session",
            "producer_id": f"{agent}-{n}",
            "tool_name": "delete_file",
            "tool_args": {"path": f"/data/{n}"},
            "outcome": "succeeded",
        }
        for n in range(count)
    ]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TACHO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TACHO_OPERATOR_KEY", "0123456789abcdef" * 4)


def scan(path: Path, **options: Any) -> list[dict[str, Any]]:
    out = path.with_suffix(".found")
    assert run_scan(Options(files=[path], out=out, **options)) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_burst_of_deletions_is_found_in_a_file_of_actions(tmp_path: Path) -> None:
    rows = deletes("swift", 8, 1.0) + deletes("slow", 8, 600.0)
    found = scan(written(tmp_path / "a.ndjson", rows))
    windows = [f for f in found if f["kind"] == "window"]
    assert {f["agent_id"] for f in windows} == {"swift"}
    assert windows[0]["severity"] in ("high", "critical")
    assert windows[0]["session_id"] == "swift-session"
    assert windows[0]["reason"]


def test_a_shuffled_and_repeated_file_gives_the_same_findings(tmp_path: Path) -> None:
    rows = deletes("swift", 12, 3.0) + deletes("other", 6, 1.0)
    shuffled = rows * 2
    random.Random(5).shuffle(shuffled)
    one = scan(written(tmp_path / "a.ndjson", rows))
    two = scan(written(tmp_path / "b.ndjson", shuffled))
    assert one
    key = lambda f: (f["signal_id"], f["event_id"], f["event_time"])  # noqa: E731
    assert sorted(map(key, one)) == sorted(map(key, two))


def test_raw_objects_are_matched_by_dotted_names_and_named_by_their_line(tmp_path: Path) -> None:
    rule = tmp_path / "rule.yml"
    rule.write_text(RULE)
    path = tmp_path / "raw.ndjson.gz"
    lines = ['{"process": {"name": "bash"}}', "", "no json", '{"process": {"name": "vim"}}']
    path.write_bytes(gzip.compress("\n".join([*lines, '{"process": {"name": "ZSH"}}']).encode()))
    found = scan(path, format="raw", rules=[rule], builtin=False)
    assert [f["event_index"] for f in found] == [0, 4]
    assert {f["rule_id"] for f in found} == {"2d9c1a34-60d6-4d0b-8a53-4f2a3f6a0001"}


SHELLS = """
---
title: shells
name: shells
correlation:
  type: {type}
  rules: [2d9c1a34-60d6-4d0b-8a53-4f2a3f6a0001]
  group-by: [host]
  timespan: 5m
  condition: {condition}
"""


@pytest.mark.parametrize(
    ("kind", "condition"),
    [("event_count", "{gte: 2}"), ("value_count", "{field: process.name, gte: 2}")],
)
def test_a_finding_of_several_events_is_of_the_one_that_made_it_true(
    tmp_path: Path, kind: str, condition: str
) -> None:
    rule = tmp_path / "rule.yml"
    rule.write_text(RULE + SHELLS.format(type=kind, condition=condition))
    at = {line: f"2026-11-22T18:0{line}:00Z" for line in range(4)}
    rows = [
        {"host": host, "process": {"name": name}, "@timestamp": at[line]}
        for line, (host, name) in enumerate(
            [("a", "bash"), ("b", "zsh"), ("a", "dash"), ("a", "vim")]
        )
    ]
    [found] = scan(written(tmp_path / "r.ndjson", rows), format="raw", rules=[rule], builtin=False)
    assert (found["event_index"], found["event_time"]) == (2, at[2])
    assert found["event_ids"] == [f"{0:032x}", f"{2:032x}"]
    assert found["event_id"] == f"{2:032x}"
    assert found["group"] == {"host": "a"}


def test_fail_on_makes_it_a_gate(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson", deletes("swift", 8, 1.0))
    out = tmp_path / "o"
    assert run_scan(Options(files=[path], out=out, fail_on="high")) == 1
    rule = tmp_path / "rule.yml"
    rule.write_text(RULE)
    only_medium = Options(files=[path], out=out, builtin=False, rules=[rule], fail_on="high")
    assert run_scan(only_medium) == 0


def test_a_table_shows_agents_words_as_text(tmp_path: Path) -> None:
    rows = [row | {"agent_id": "[red]\x1b[2J"} for row in deletes("x", 8, 1.0)]
    path, out = written(tmp_path / "a.ndjson", rows), tmp_path / "table"
    run_scan(Options(files=[path], out=out, format_out="table"))
    assert "\x1b[2J" not in out.read_text()
    assert "Bulk delete" in out.read_text()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"format": "xml"}, "--format"),
        ({"format_out": "csv"}, "--format-out"),
        ({"fail_on": "awful"}, "--fail-on"),
        ({"files": [Path("/nowhere")]}, "/nowhere"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(
    tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    path = written(tmp_path / "a.ndjson", [])
    with pytest.raises(ConfigError, match=named):
        run_scan(Options(**({"files": [path]} | options)))


@pytest.mark.parametrize(
    ("out", "why"), [("nowhere/found", "No such file"), (".", "Is a directory"), ("/dev/full", "")]
)
def test_findings_that_cannot_be_written_are_an_error_and_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, why: str
) -> None:
    path = written(tmp_path / "a.ndjson", deletes("a", 5, 1))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"cannot write {re.escape(out)}: {why}"):
        run_scan(Options(files=[path], out=Path(out)))


def test_a_rule_that_cannot_be_honoured_is_named_with_its_file(tmp_path: Path) -> None:
    rule = tmp_path / "broken.yml"
    rule.write_text(RULE.replace("condition: shell", "condition: shell and nothing_of_that_name"))
    path = written(tmp_path / "a.ndjson", deletes("x", 1, 1.0))
    with pytest.raises(ConfigError, match="broken"):
        run_scan(Options(files=[path], rules=[rule], builtin=False))


def test_of_many_rules_the_others_are_judged_and_the_exit_code_says_it_was_not_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "good.yml").write_text(RULE)
    broken = RULE.replace("condition: shell", "condition: nosuch").replace("0001", "0002")
    (folder / "broken.yml").write_text(broken)
    path, out = written(tmp_path / "a.ndjson", [{"process": {"name": "bash"}}]), tmp_path / "o"
    options = Options(files=[path, path], out=out, rules=[folder], builtin=False, format="raw")
    assert run_scan(options) == 2
    assert len(out.read_text().splitlines()) == 2
    told = capsys.readouterr().err
    assert told.count(f"left out: {folder / 'broken.yml'}:") == 1
    assert "judged without what 1 problem(s) in rules left out" in told
    # What is not there is no rule that may be left out.
    absent = msgspec.structs.replace(options, rules=[folder, tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="nowhere"):
        run_scan(absent)


def test_standard_input_is_read_and_nothing_but_findings_goes_to_standard_output() -> None:
    text = "".join(json.dumps(row) + "\n" for row in deletes("swift", 8, 1.0))
    done = subprocess.run(
        [sys.executable, "-m", "tachograph.pipeline.cli", "scan", "-"],
        input=text, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert all(json.loads(line)["rule_id"] for line in done.stdout.splitlines())
    assert done.stdout
    assert "8 events" in done.stderr


def test_rules_may_follow_one_option_as_several_words(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yml", tmp_path / "two.yml"
    one.write_text(RULE)
    two.write_text(RULE.replace("6a0001", "6a0002").replace("endswith: sh", "startswith: v"))
    path = written(tmp_path / "raw.ndjson", [{"process": {"name": n}} for n in ("bash", "vim")])
    options = Options(files=[two, path], rules=[one], builtin=False, format="raw").sorted_out()
    out = tmp_path / "found"
    run_scan(msgspec.structs.replace(options, out=out))
    assert [json.loads(line)["event_index"] for line in out.read_text().splitlines()] == [0, 1]


def test_reference_data_of_the_option_or_of_the_environment_is_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = tmp_path / "agents.csv"
    register.write_text("id,owner,tools,risk_tier\nstore,shop,read_*,critical\n")
    rule = tmp_path / "outside.yml"
    rule.write_text(
        "title: Outside\nid: 4f3d2c1a-60d6-4d0b-8a53-4f2a3f6a0001\nlogsource: {product: ai_agent}\n"
        "detection: {tool: {register.tool_allowed: false}, condition: tool}\nlevel: medium\n"
        "tacho: {severity_by: {register.risk_tier: {critical: 2}}}\n"
    )
    path = written(tmp_path / "a.ndjson", [*deletes("store", 1, 1), *deletes("other", 1, 1)])
    options: dict[str, Any] = {"builtin": False, "rules": [rule]}
    found = scan(path, reference=[register], **options)
    assert [(one["agent_id"], one["severity"]) for one in found] == [("store", "critical")]
    assert scan(path, **options) == []
    monkeypatch.setenv("TACHO_REFERENCE", str(register))
    assert scan(path, **options) == found
    (tmp_path / "broken.yaml").write_text("agents: [{id: a, tols: []}]")
    with pytest.raises(ConfigError, match="unknown field `tols`"):
        scan(path, reference=[tmp_path], **options)


def test_a_file_of_which_nothing_can_be_used_is_no_clean_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.html").write_text("<html>\n</html>\n")
    options = Options(files=[tmp_path / "page.html"], fail_on="high")
    assert run_scan(options) == 2
    assert capsys.readouterr().err == (
        "0 events, 0 findings; 2 not usable (no JSON object), first line 1;"
        " nothing was judged: --format says what a file is\n"
    )
    sound = written(tmp_path / "sound.ndjson", deletes("a", 1, 1.0))
    assert run_scan(msgspec.structs.replace(options, files=[*options.files, sound])) == 0
    (tmp_path / "empty.ndjson").write_text("")
    assert run_scan(Options(files=[tmp_path / "empty.ndjson"])) == 0


def test_lines_that_cannot_be_used_are_counted_with_the_first_of_each_kind_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = deletes("a", 5, 1.0)
    rows[1]["event_time"] = rows[4]["event_time"] = "1970-01-01T00:00:00Z"
    rows[2]["kind"] = 7
    scan(written(tmp_path / "some.ndjson", rows))
    told = capsys.readouterr().err.split("; ")
    assert told[1:] == [
        "2 not usable (impossible_time), first line 2: event_time is before 2000 or years from"
        " when it was received",
        "1 not usable (mistyped), first line 3: kind: expected text in UTF-8\n",
    ]
    (tmp_path / "raw.json").write_text('{"a": 1}\nno \x1b[2J json\n[1]\n')
    scan(tmp_path / "raw.json", format="raw", builtin=False)
    assert capsys.readouterr().err.endswith("; 2 not usable (no JSON object), first line 2\n")
