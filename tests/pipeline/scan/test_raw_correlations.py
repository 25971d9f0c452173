"""Correlations over raw events, whatever else is in the file."""

import json
from pathlib import Path
from typing import Any

import pytest

from tachograph.pipeline.scan.command import Options, run_scan

RULES = """
title: a
name: a
detection: {s: {type: a}, condition: s}
---
title: sum
correlation:
  type: value_sum
  rules: [a]
  group-by: [user]
  timespan: 1m
  condition: {gte: 5, field: size}
"""


def groups(place: Path, sizes: list[tuple[str, Any]]) -> list[dict[str, str]]:
    """The groups that the sum is told of. `sizes`: of each event the user and the size."""
    (place / "rules.yml").write_text(RULES)
    (place / "events.ndjson").write_text(
        "".join(
            json.dumps(
                {
                    "timestamp": f"2026-11-22T18:00:{at:02}Z",
                    "type": "a",
                    "user": user,
                    "size": size,
                }
            )
            + "\n"
            for at, (user, size) in enumerate(sizes)
        )
    )
    found = place / "found"
    options = Options(
        files=[place / "events.ndjson"],
        format="raw",
        rules=[place / "rules.yml"],
        builtin=False,
        out=found,
    )
    assert run_scan(options) == 0
    return [json.loads(line)["group"] for line in found.read_text().splitlines()]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TACHO_HOME", str(tmp_path / "home"))


def test_another_event_with_a_list_does_not_hide_numbers(tmp_path: Path) -> None:
    sizes = [("u", 3), ("v", [7, 8]), ("u", [2]), ("v", [[4]]), ("w", "x")]
    assert groups(tmp_path, sizes) == [{"user": "u"}]


def test_a_number_beyond_measure_is_a_large_one(tmp_path: Path) -> None:
    assert groups(tmp_path, [("u", 1e300), ("v", -1e300), ("v", 6), ("w", "NaN"), ("w", 5)]) == [
        {"user": "u"},
        {"user": "w"},
    ]
