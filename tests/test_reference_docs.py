"""docs/reference-data.md says what there is, and its example is one."""

import re
from pathlib import Path

import msgspec
import pytest

from tachograph.detectors.language.fields import ACTIONS
from tachograph.detectors.reference import catalogue
from tachograph.detectors.reference.entries import TABLES
from tachograph.detectors.reference.reference import load, shipped

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "reference-data.md").read_text(encoding="utf-8")


def test_every_field_for_rules_is_explained_and_no_other() -> None:
    table = PAGE[PAGE.index("## Fields for rules") : PAGE.index("## In rules")]
    named = set(re.findall(r"`([a-z]+\.[a-z_]+)`", table))
    known = {name.replace("_", ".", 1) for name in catalogue.COLUMNS}
    assert known - named == set()
    strange = {name for name in named - known if ACTIONS.source(name).attribute is not None}
    assert strange == set()


@pytest.mark.parametrize("table", TABLES)
def test_every_field_of_an_entry_is_named(table: str) -> None:
    [row] = [line for line in PAGE.splitlines() if line.startswith(f"| `{table}` |")]
    fields = {field.name for field in msgspec.structs.fields(TABLES[table].entry)} - {"tenant"}
    assert {field for field in fields if f"`{field}`" not in row} == set()


def test_the_example_is_one_reference_without_a_problem() -> None:
    found = load([DOCS / "examples" / "reference"])
    assert found.notes == []
    assert [agent.id for agent in found.content.agents] == ["release-bot", "helpdesk"]
    assert found.lists["crown_jewels"] == ["payroll", "customer-master"]


def test_the_number_of_shipped_providers_is_the_one_named() -> None:
    assert f"{len(shipped().content.providers)} providers of models" in PAGE
