"""`tacho map`: what an operator sees of a mapping."""

import io
from pathlib import Path

import pytest

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.map_check import check, listed
from tachograph.pipeline.normalize.formats.registry import PACKAGE, shipped

MAPPING = """
name: door_log
title: The door of a building
recognise: {present: [badge]}
actions:
  - fields:
      kind: {value: other}
      event_time: {at: at, unit: s}
      agent_id: badge
samples:
  - object: {badge: b-1, at: 1795370400}
    gives: [{agent_id: b-1}]
"""


def tried(folder: Path, mapping: str, *samples: str) -> tuple[bool, str]:
    path = folder / "door.yaml"
    path.write_text(mapping)
    files = []
    for number, text in enumerate(samples):
        files.append(folder / f"sample-{number}.json")
        files[-1].write_text(text)
    out = io.StringIO()
    return check(path, files, out), out.getvalue()


def test_every_object_is_shown_as_the_action_it_becomes(tmp_path: Path) -> None:
    good, said = tried(
        tmp_path, MAPPING, '[{"badge": "b-7", "at": 1795370400},\n {"badge": "b-8", "at": 5}]'
    )
    assert good
    assert '"agent_id":"b-7"' in said
    assert '"event_time":"2026-11-22T18:00:00Z"' in said
    assert "without session_id, principal_id, outcome" in said


@pytest.mark.parametrize(
    ("sample", "told"),
    [("{", "no JSON"), ("[1]", "no JSON object"), ('{"badge": "b"}', "event_time: nothing")],
)
def test_what_is_wrong_is_told_and_the_check_fails(tmp_path: Path, sample: str, told: str) -> None:
    good, said = tried(tmp_path, MAPPING, sample)
    assert not good
    assert told in said


def test_a_sample_of_its_own_that_gives_something_else_fails(tmp_path: Path) -> None:
    good, said = tried(tmp_path, MAPPING.replace("{agent_id: b-1}", "{agent_id: b-2}"))
    assert not good
    assert "samples[0].agent_id: is 'b-1', not 'b-2'" in said


def test_a_mapping_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kind is needed"):
        tried(tmp_path, MAPPING.replace("kind: {value: other}", "tool_name: x"))


def test_every_shipped_format_is_listed_with_how_to_point_it_here() -> None:
    said = listed(as_json=False)
    assert all(name in said for name in shipped())
    assert PACKAGE not in said


def test_one_of_several_conditions_is_enough_and_dashes_are_nothing(tmp_path: Path) -> None:
    several = MAPPING.replace(
        "recognise: {present: [badge]}",
        "recognise:\n  - {present: [badge]}\n  - {present: [card], differs: {card: [lost]}}",
    ).replace("agent_id: badge", "agent_id: {at: [badge, card], default: nobody}")
    _, said = tried(
        tmp_path,
        several,
        '[{"card": "c-1", "badge": "-", "at": 1795370400}, {"badge": "-", "at": 1795370400}]',
    )
    assert '"agent_id":"c-1"' in said
    assert '"agent_id":"nobody"' in said
    assert said.count("not recognised") == 1
