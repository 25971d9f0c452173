"""Mapping files of operators: what they can say, and how their mistakes are told."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.normalize.formats.mapping import BadMapping, Mapped, load
from tachograph.pipeline.normalize.formats.reading import Context, at, time_us

BASE = """
name: my_proxy
title: A proxy
recognise: {present: [host]}
actions:
  - fields:
      kind: {value: http}
      event_time: {at: ts, unit: s}
"""


def mapped(folder: Path, text: str) -> Mapped:
    path = folder / "mapping.yaml"
    path.write_text(text)
    return Mapped(load(path))


def row(made: Mapped, item: dict[str, Any]) -> dict[str, Any]:
    [[told]] = made.read([item], Context()).told
    return told.row


@pytest.mark.parametrize(
    ("line", "item", "value"),
    [
        ("target_host: host", {"host": "a"}, "a"),
        ("target_host: [gone, host]", {"gone": "-", "host": "a"}, "a"),
        ("target_host: a.b.0.c", {"a.b": [{"c": "x"}]}, "x"),
        ('outcome: {at: s, map: {2xx: succeeded, "*": failed}}', {"s": 204}, "succeeded"),
        ('outcome: {at: s, map: {2xx: succeeded, "*": failed}}', {"s": "503"}, "failed"),
        ('target_url: {text: "https://{host}/{p}"}', {"host": "a", "p": "b"}, "https://a/b"),
        ("model_name: {inside: body, at: model}", {"body": '{"model":"m"}'}, "m"),
        ('recipients: {at: to, split: ","}', {"to": "a, b"}, ["a", "b"]),
        ("retrieval_doc_ids: {at: d, each: n}", {"d": [{"n": "1"}, {}, {"n": "2"}]}, ["1", "2"]),
        ('target_domain: {at: q, strip_suffix: "."}', {"q": "a.example."}, "a.example"),
    ],
)
def test_a_field_is_found_where_the_file_says(
    tmp_path: Path, line: str, item: dict[str, Any], value: Any
) -> None:
    made = mapped(tmp_path, f"{BASE}      {line}\n")
    assert (
        row(made, {"ts": 1795370400, "host": "h", **item})[line.split(":", maxsplit=1)[0]] == value
    )


def test_what_is_mapped_nowhere_is_kept_as_attributes(tmp_path: Path) -> None:
    found = row(mapped(tmp_path, BASE), {"ts": 1795370400, "host": "h", "x": {"y": 1}})
    assert found["attributes"] == {"host": "h", "x.y": "1"}


def test_every_problem_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    text = BASE.replace("my_proxy", "My Proxy") + "      nonsense: a\n      event_id: b\n"
    with pytest.raises(BadMapping) as error:
        mapped(tmp_path, text)
    told = str(error.value)
    assert "name: small letters" in told
    assert "fields.nonsense: no field of an action" in told
    assert "fields.event_id: only Tachograph itself fills" in told


@pytest.mark.parametrize("text", ["", "- 1", "name: x", "a: [", BASE + "other: 1\n"])
def test_a_file_that_is_no_mapping_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadMapping, match=r"mapping\.yaml"):
        mapped(tmp_path, text)


@pytest.mark.parametrize(
    ("value", "unit", "us"),
    [
        (1795370400, None, 1795370400_000000),
        (1795370400123, None, 1795370400_123000),
        (1795370400123456, None, 1795370400_123456),
        (1795370400123456000, None, 1795370400_123456),
        ("1795370400.5", "s", 1795370400_500000),
        ("2026-11-22T18:00:00Z", None, 1795370400_000000),
        ("2026-11-22T18:00:00", None, None),
        ("soon", None, None),
        (-5, None, None),
        (True, None, None),
    ],
)
def test_times_of_all_units_are_microseconds(value: Any, unit: Any, us: int | None) -> None:
    assert time_us(value, unit) == us


@given(
    st.dictionaries(st.text("ab.", max_size=4), st.integers(), max_size=5),
    st.text("ab.", max_size=9),
)
def test_a_key_with_dots_of_its_own_is_found_by_its_name(item: dict[str, int], path: str) -> None:
    if path in item and path:
        assert at(item, path) == item[path]
