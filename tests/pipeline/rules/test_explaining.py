"""`tacho rules explain` as it is typed: on actions, on any JSON objects, on samples of a rule."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tachograph.detectors.language.sample_rows import ActionShape
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.rules.command import app
from tachograph.pipeline.settings import ClickHouseSettings
from tests.pipeline.stored import Store

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RULE = """
title: Odd delete
id: odd
logsource: {category: any}
detection:
  delete:
    verb: [delete, remove]
    size|gt: 10
  harmless: {where|startswith: /tmp}
  condition: delete and not harmless
"""
FILTER = """
---
title: Not at night
logsource: {category: any}
filter:
  rules: [odd]
  night: {who: night-job}
  condition: not night
"""
EVENTS = [
    {"verb": "list", "where": "/home"},
    {"verb": "remove", "size": 11, "where": "/home"},
    {"verb": "delete", "size": 11, "where": "/tmp/x"},
    {"verb": "delete", "size": 1, "where": "/home"},
    {"verb": "delete", "size": 20, "where": "/home", "who": "night-job"},
]


@pytest.fixture
def events(tmp_path: Path) -> Path:
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join(json.dumps(event) for event in EVENTS))
    return file


def run(folder: Path, *words: str, rule: str = RULE) -> str:
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules" / "odd.yml").write_text(rule)
    options = ["--format", "raw", "--rules", str(folder / "rules"), "--no-builtin"]
    done = CliRunner().invoke(app, ["explain", *words, *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def told(folder: Path, *words: str, rule: str = RULE) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run(folder, *words, "--json", rule=rule))
    return answer


def test_a_match_is_explained_by_what_made_it(tmp_path: Path, events: Path) -> None:
    answer = told(tmp_path, "odd", str(events))
    assert (answer["events"], answer["matched"]) == (5, 2)
    first = answer["explained"][0]
    assert first["event_index"] == 1
    [step] = first["steps"]
    assert step["condition"] == "delete and not harmless"
    assert {name: part["holds"] for name, part in step["selections"].items()} == {
        "delete": True,
        "harmless": False,
    }
    verb, size = step["selections"]["delete"]["parts"]
    assert (verb["asked"], verb["found"]) == ("verb is 'remove'", "remove")
    assert (size["asked"], size["found"]) == ("size > 10", "11")


@pytest.mark.parametrize(
    ("index", "wrong", "said"),
    [
        (0, ["delete"], ["✗ verb is 'delete' or 'remove'   found: 'list'", "✗ size has no value"]),
        (2, [], ["✓ harmless", "✓ where begins with '/tmp'   found: '/tmp/x'"]),
        (3, ["delete"], ["✗ size > 10   found: '1'"]),
    ],
)
def test_a_miss_is_explained_by_what_stood_in_the_way(
    index: int, wrong: list[str], said: list[str], tmp_path: Path, events: Path
) -> None:
    words = ["odd", str(events), "--index", str(index)]
    [event] = told(tmp_path, *words)["explained"]
    assert not event["matched"]
    [step] = event["steps"]
    failed = [name for name, part in step["selections"].items() if not part["holds"]]
    assert set(wrong) <= set(failed)
    text = run(tmp_path, *words)
    assert [line for line in said if line not in text] == []


def test_with_no_match_the_nearest_miss_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "few.ndjson"
    file.write_text("\n".join(json.dumps(EVENTS[at]) for at in (0, 3)))
    answer = told(tmp_path, "odd", str(file))
    assert answer["matched"] == 0
    assert answer["explained"][0]["event_index"] == 1


def test_a_filter_that_stands_in_the_way_is_shown(tmp_path: Path, events: Path) -> None:
    [event] = told(tmp_path, "odd", str(events), "--index", "4", rule=RULE + FILTER)["explained"]
    [step] = event["steps"]
    assert not event["matched"]
    assert step["selections"]["delete"]["holds"]
    assert not step["selections"]["(filter)"]["holds"]


def test_an_event_that_is_not_there_is_an_error(tmp_path: Path, events: Path) -> None:
    with pytest.raises(ConfigError, match="no event index 99 among 5"):
        run(tmp_path, "odd", str(events), "--index", "99")


def test_an_event_can_be_named_by_its_id(tmp_path: Path, events: Path) -> None:
    [event] = told(tmp_path, "odd", str(events), "--event", f"{3:032x}")["explained"]
    assert event["event_index"] == 3


def test_actions_are_explained_as_they_are_judged(tmp_path: Path) -> None:
    examples = Path(__file__).parents[3] / "docs" / "examples" / "actions.ndjson"
    done = CliRunner().invoke(app, ["explain", "C03", str(examples), "--json"])
    answer = json.loads(done.output)
    assert answer["matched"] == 6
    assert answer["explained"][0]["event_index"] == 2


def test_a_sample_of_a_rule_is_explained() -> None:
    done = CliRunner().invoke(app, ["explain", "C04", "--sample", "match[0]", "--json"])
    assert json.loads(done.output)["matched"] == 1
    missing = CliRunner().invoke(app, ["explain", "C04", "--sample", "match[9]"])
    assert "there is match[0], match[1]" in str(missing.exception)


def test_a_stored_action_is_explained_by_its_id(
    store: Store, clickhouse: ClickHouseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse.url)
    shape = ActionShape()
    row = shape.row({"kind": "process", "process.command_line": "vssadmin delete shadows"}, NOON)
    identified = {"event_id": "ab" * 16, "tenant": "t", "raw_offset": 7}
    store(shape.frame([{**row, **identified}]))
    done = CliRunner().invoke(app, ["explain", "C04", "--event", "ab" * 16, "--json"])
    [event] = json.loads(done.output)["explained"]
    assert event["matched"]
    missing = CliRunner().invoke(app, ["explain", "C04", "--event", "x' OR 1=1 --"])
    assert "no event x' OR 1=1 -- among 0" in str(missing.exception)


def test_without_events_it_says_what_the_rule_asks(tmp_path: Path) -> None:
    text = run(tmp_path, "odd")
    assert "  Odd delete: delete and not harmless\n    delete\n      verb is 'delete'" in text
    assert "      size > 10\n    harmless\n      where begins with '/tmp'\n" in text
