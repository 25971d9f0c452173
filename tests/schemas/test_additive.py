"""Contracts only grow: what a reader of the committed version relies on stays."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tachograph.schemas import export

ROOT = Path(__file__).resolve().parents[2]


def committed(record: str) -> dict[str, Any]:
    """The schema as the last commit has it; skips where there is none."""
    name = f"HEAD:schemas/json/{record}.schema.json"
    answer = subprocess.run(["git", "show", name], capture_output=True, cwd=ROOT, check=False)
    if answer.returncode:
        pytest.skip(f"no committed schema of {record} to compare with")
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def broken(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What a reader or writer of `old` trips over in `new`."""
    faults = [f"{name} is gone" for name in old["$defs"].keys() - new["$defs"].keys()]
    for name, before in old["$defs"].items():
        after = new["$defs"].get(name, {})
        faults += _broken_definition(name, before, after)
    return faults


def _broken_definition(name: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    faults = []
    fields, now = before.get("properties", {}), after.get("properties", {})
    faults += [f"{name}.{field} is gone" for field in fields.keys() - now.keys()]
    for field in fields.keys() & now.keys():
        if not set(_types(fields[field])) <= set(_types(now[field])):
            faults.append(f"{name}.{field} no longer admits what it did")
    added = set(after.get("required", ())) - set(before.get("required", ()))
    return faults + [f"{name}.{field} is newly required" for field in added]


def _types(schema: dict[str, Any]) -> list[str]:
    """Types, referenced definitions and permitted words, flattened."""
    if "anyOf" in schema:
        return [name for option in schema["anyOf"] for name in _types(option)]
    words = [f"={word}" for word in schema.get("enum", ())]
    return [str(schema.get("type") or schema.get("$ref") or ""), *words]


@pytest.mark.parametrize("record", export.ours())
def test_a_contract_takes_nothing_back(record: str) -> None:
    assert broken(committed(record), json.loads(export.schema_of(record))) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda d: d["properties"].pop("count"), "SignalGroup.count is gone"),
        (lambda d: d["required"].append("closed"), "SignalGroup.closed is newly required"),
        (
            lambda d: d["properties"].update(count={"type": "string"}),
            "SignalGroup.count no longer admits what it did",
        ),
    ],
)
def test_the_comparison_sees_a_removal_a_demand_and_a_change(change: Any, fault: str) -> None:
    old = json.loads(export.schema_of("signal_group"))
    new = json.loads(export.schema_of("signal_group"))
    change(new["$defs"]["SignalGroup"])
    assert broken(old, new) == [fault]
