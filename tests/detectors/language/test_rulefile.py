"""Rule files as YAML: what is written once and used again, and texts that look like dates."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tachograph.detectors.language.documents import Unreadable
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.rulefile import read as read_file
from tachograph.detectors.language.ruleset import BUILTIN, build, documents_of

KEYS = st.sampled_from("abcd")
MAPS = st.dictionaries(KEYS, st.integers(0, 9), max_size=4)


def read(text: str) -> dict[str, Any]:
    (document,) = parse(text, "rule.yml")
    return document.data


@given(MAPS, MAPS, MAPS)
def test_a_merged_key_gives_way_to_an_earlier_one_and_to_the_mappings_own(
    first: dict[str, int], second: dict[str, int], own: dict[str, int]
) -> None:
    made = "".join(f"\n  {key}: {value}" for key, value in own.items())
    text = f"one: &one {yaml.safe_dump(first, default_flow_style=True)}"
    text += f"two: &two {yaml.safe_dump(second, default_flow_style=True)}"
    text += f"sum:\n  <<: [*one, *two]{made}\n"
    assert read(text)["sum"] == {**second, **first, **own}


def test_what_is_merged_may_merge_too() -> None:
    assert read("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, z: 3}")["c"] == {
        "x": 1, "y": 2, "z": 3,
    }  # fmt: skip


def test_merges_that_double_each_time_stay_as_small_as_their_keys() -> None:
    doubled = "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 60))
    assert read(f"m0: &m0 {{x: 1}}\n{doubled}")["m59"] == {"x": 1}


def test_a_mapping_merged_into_itself_is_itself() -> None:
    assert read("a: &a {<<: *a, x: 1}")["a"] == {"x": 1}


@pytest.mark.parametrize(
    "text", ["a: {<<: 5}", "a: &a {x: 1}\nb: {<<: [*a, 5]}", "a: &a {[x]: 1}\nb: {<<: *a}"]
)
def test_a_merge_of_no_mapping_and_a_name_that_is_no_text_are_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text, "rule.yml")


def test_a_key_that_stands_twice_is_refused_beside_a_merge_too() -> None:
    with pytest.raises(Unreadable, match="twice"):
        parse("a: &a {x: 1}\nb: {<<: *a, y: 1, y: 2}", "rule.yml")


def test_a_date_is_the_text_that_it_is() -> None:
    assert read("a: 2026-01-02\nb: 2026-01-02T03:04:05Z") == {
        "a": "2026-01-02",
        "b": "2026-01-02T03:04:05Z",
    }


def test_a_file_that_is_read_again_says_the_same_until_it_is_changed(tmp_path: Path) -> None:
    file = tmp_path / "rule.yml"
    file.write_text("title: one")
    first = read_file(file)
    first.clear()
    assert [document.data for document in read_file(file)] == [{"title": "one"}]
    file.write_text("title: two")
    assert [document.data for document in read_file(file)] == [{"title": "two"}]


def test_to_compile_rules_changes_nothing_in_their_documents() -> None:
    """They are remembered: who reads them next must see what stands in the file."""
    documents, _ = documents_of([BUILTIN])
    before = copy.deepcopy(documents)
    build(documents)
    assert documents == before
