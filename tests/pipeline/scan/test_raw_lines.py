import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.scan import raw_decode, raw_lines
from tachograph.pipeline.scan.raw_lines import RawLines, event_id, event_ids, line_of

NAMES = st.sampled_from(["a", "b", "c", "a.b", "c.a", "b.c"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.dictionaries(NAMES, inner, max_size=3)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("value", [2**200, -(2**127) - 1, [2**200, "x"], {"b": 2**200}])
@pytest.mark.parametrize("beside", [None, 1, 1.5, "text", True])
def test_a_whole_number_of_any_size_is_its_digits(value: object, beside: object) -> None:
    lines = [msgspec.json.encode({"a": beside}), json.dumps({"a": value}).encode()]
    row = RawLines(None).frame([b"\n".join(lines)], 0).row(1, named=True)
    assert str(2**200 if value != -(2**127) - 1 else value) in str(row)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=5), max_size=6))
def test_any_json_objects_make_a_frame_with_a_row_each(rows: list[dict[str, Any]]) -> None:
    frame = RawLines(None).frame([b"\n".join(msgspec.json.encode(row) for row in rows)], 0)
    assert frame.height == len(rows)


@settings(deadline=None)
@given(st.lists(st.dictionaries(NAMES, JSON, max_size=4), max_size=6), st.integers(1, 3))
def test_columns_are_the_same_however_many_are_asked_for(
    rows: list[dict[str, Any]], block: int
) -> None:
    lines = [b"\n".join(msgspec.json.encode(row) for row in rows)]
    asked = ["a", "a.b", "b", "c.a.b", "c"]
    more = [f"x{number}" for number in range(raw_decode.FEW_NAMES)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_lines, "BLOCK_LINES", block)
        few = RawLines(None, asked).frame(lines, 0)
        many = RawLines(None, [*asked, *more]).frame(lines, 0)
    every = RawLines(None).frame(lines, 0)
    for name in asked:
        held = few.get_column(name, default=None)
        for other in (many, every):
            found = other.get_column(name, default=None)
            if held is None or found is None:
                assert held is None or held.null_count() == len(held)
                assert found is None
            else:
                assert held.to_list() == found.to_list()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_lines_that_are_no_objects_are_named_and_the_others_keep_their_number(
    lines: list[bytes],
) -> None:
    frames = RawLines(None)
    text = b"\n".join([*lines, b'{"ok": 1}'])
    found = frames.frame([text], 5)
    *lines, _ = good = text.split(b"\n")
    assert line_of(found["~event_id"][-1]) == 5 + len(lines)
    blank = sum(not line.strip() for line in lines)
    assert found.height + len(frames.broken) + blank == len(good)


PIECES = st.sampled_from(
    [b"{}", b'{"a": 1}', b'{"b": "x"}', b"{}{}", b"", b" {}", b"{} ", b"[]", b'{"a":', b"1}", b"}",
     b"{", b'{"b": "\xff"}', b'{"\xff": 1}', b'{"b": "\\q"}', b'{"b": "\xc3\xa9"}', b'{"a": [{}]}']
)  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(st.lists(PIECES, min_size=1, max_size=6), max_size=3),
    st.sampled_from([None, ["a"]]),
    st.integers(1, 3),
)
def test_each_line_is_read_as_if_it_stood_alone(
    blocks: list[list[bytes]], asked: list[str] | None, together: int
) -> None:
    alone, whole = RawLines(None, asked), RawLines(None, asked)
    ids: list[str] = []
    broken: list[int] = []
    for number, line in enumerate(line for block in blocks for line in block):
        ids += alone.frame([line], number)["~event_id"].to_list()
        broken += alone.broken
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_lines, "BLOCK_LINES", together)
        found = whole.frame([b"\n".join(block) for block in blocks], 0)
    assert (found["~event_id"].to_list(), whole.broken) == (ids, broken)


@pytest.mark.parametrize("asked", [None, ["a", "b"]])
def test_a_number_beyond_any_float_is_its_text_and_its_line_is_used(
    asked: list[str] | None,
) -> None:
    lines = [b'{"a": "x"}', b'{"a": 1e400}', b'{"a": "y", "other": -1e999}', b'{"a": [1e400, 1.5]}']
    frames = RawLines(None, asked)
    found = frames.frame([b"\n".join(lines)], 0)
    assert found["a"].to_list() == [["x"], ["1e400"], ["y"], ["1e400", "1.5"]]
    assert not frames.broken


@pytest.mark.parametrize("start", [0, 4_095, 4_096, (1 << 24) - 2])
@pytest.mark.parametrize("count", [0, 1, 3, 4_100])
def test_lines_in_a_row_have_the_ids_that_each_has_alone(start: int, count: int) -> None:
    lines = range(start, start + count)
    assert event_ids(lines) == event_ids(list(lines)) == [event_id(line) for line in lines]


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
    ],
)
def test_times_are_read_as_logs_write_them(value: str | int) -> None:
    frame = RawLines(None).frame([msgspec.json.encode({"@timestamp": value})], 0)
    assert frame["~event_time"][0] == datetime(2026, 11, 22, 18, tzinfo=UTC)


def test_the_time_field_may_be_nested_and_an_absent_time_is_the_epoch() -> None:
    lines = [b'{"Event": {"System": {"At": "2026-11-22T18:00:00Z"}}}\n{"a": 1}']
    frame = RawLines("Event.System.At").frame(lines, 0)
    assert frame["~event_time"].dt.year().to_list() == [2026, 1970]


@settings(deadline=None)
@given(st.one_of(st.text(max_size=20), st.floats(), st.integers(), st.booleans(), st.none()))
def test_no_value_of_the_time_field_makes_the_reader_fail(value: Any) -> None:
    line = msgspec.json.encode({"timestamp": value})
    assert RawLines(None).frame([line], 0).height == 1
