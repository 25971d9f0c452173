from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.scan.raw_frames import RawFrames, event_id, flat, line_of, parse_time

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return RawFrames(None, "default").frame([msgspec.json.encode(row) for row in rows], 0)


def test_nested_keys_become_dotted_columns_and_lists_of_objects_lists_of_values() -> None:
    found = frame(
        {"a": {"b": "x", "c": {"d": 1}}, "tags": ["p", "q"], "files": [{"n": "f"}, {"n": "g"}]}
    )
    assert found["a.b"].to_list() == ["x"]
    assert found["a.c.d"].to_list() == [1]
    assert found["tags"].to_list() == [["p", "q"]]
    assert found["files.n"].to_list() == [["f", "g"]]


def test_a_column_of_mixed_values_becomes_text_and_an_absent_key_null() -> None:
    found = frame({"v": 1}, {"v": "x"}, {"w": True})
    assert found["v"].to_list() == ["1", "x", None]
    assert found["w"].to_list() == [None, None, True]


@given(st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=5), max_size=6))
def test_any_json_objects_make_a_frame_with_a_row_each(rows: list[dict[str, Any]]) -> None:
    assert frame(*rows).height == len(rows)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_lines_that_are_no_objects_are_counted_and_the_others_keep_their_number(
    lines: list[bytes],
) -> None:
    frames = RawFrames(None, "default")
    good = [*lines, b'{"ok": 1}']
    found = frames.frame(good, 5)
    assert line_of(found["~event_id"][-1]) == 5 + len(lines)
    blank = sum(not line.strip() for line in lines)
    assert found.height + len(frames.broken) + blank == len(good)


def test_depth_is_bounded() -> None:
    deep: dict[str, Any] = {"leaf": 1}
    for _ in range(200):
        deep = {"k": deep}
    names = [name for name, _ in flat(deep)]
    assert len(names) == 1
    assert names[0].count(".") <= 33


def test_an_event_id_leads_back_to_its_line() -> None:
    assert [line_of(event_id(n)) for n in (0, 7, 10**9)] == [0, 7, 10**9]


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-22T18:00:00Z",
        "2026-11-22 18:00:00",
        "2026-11-22T19:00:00+01:00",
        1795370400,
        1795370400000,
        1795370400000000,
        1795370400000000000,
        "1795370400",
    ],
)
def test_times_are_read_as_logs_write_them(value: str | int) -> None:
    assert parse_time(value) == datetime(2026, 11, 22, 18, tzinfo=UTC)


@given(st.one_of(st.text(max_size=20), st.floats(), st.integers(), st.booleans(), st.none()))
def test_no_value_makes_the_time_parser_fail(value: Any) -> None:
    found = parse_time(value)
    assert found is None or found.tzinfo is not None
