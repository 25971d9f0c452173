import codecs
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize.formats.registry import Formats
from tachograph.pipeline.scan import inputs
from tachograph.pipeline.scan.feed import Fault, RawFeeder
from tachograph.pipeline.scan.inputs import Chunk, _blocks, as_lines, chunks, detect

LINES = [json.dumps({"n": n, "text": "x" * (n % 50)}).encode() for n in range(25_000)]
TEXT = b"\n".join(LINES) + b"\n"


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, zstandard.ZstdCompressor().compress],
    ids=["plain", "gzip", "zstd"],
)
def test_every_line_comes_once_with_its_number_however_it_is_packed(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "events"
    path.write_bytes(pack(TEXT))
    found = list(chunks(path))
    assert [line for chunk in found for line in chunk.lines] == LINES
    assert len(found) > 1
    held = [len(chunk.lines) for chunk in found]
    assert [chunk.first for chunk in found] == [sum(held[:at]) for at in range(len(held))]


@given(st.binary(max_size=400))
def test_lines_are_those_of_split_whatever_the_bytes(data: bytes) -> None:
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    found = [line for block, _ in _blocks(io.BytesIO(data)) for line in block.split(b"\n")]
    assert found == expected


@given(st.lists(st.integers(0, 20)), st.booleans(), st.sampled_from([bytes, gzip.compress]))
def test_lines_that_end_in_the_next_block_or_beyond_the_limit_keep_their_numbers(
    sizes: list[int], ended: bool, pack: Callable[[bytes], bytes]
) -> None:
    lines = [bytes([ord("a") + n % 26]) * size for n, size in enumerate(sizes)]
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as small:
        path = Path(folder) / "events"
        path.write_bytes(pack(data))
        small.setattr(inputs, "BLOCK_BYTES", 7)
        small.setattr(inputs, "MAX_LINE_BYTES", 11)
        small.setattr(inputs, "CHUNK_LINES", 3)
        found = list(chunks(path))
    assert [line for one in found for line in one.lines] == [
        line if len(line) <= 11 else b"" for line in expected
    ]
    assert [number for one in found for number in one.oversized] == [
        number for number, line in enumerate(expected) if len(line) > 11
    ]
    for one in found:
        assert [len(ends) + 1 for ends in one.ends] == [b.count(b"\n") + 1 for b in one.blocks]


def test_a_line_that_is_too_long_is_passed_over_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MAX_LINE_BYTES", 1_000)
    path = tmp_path / "events"
    path.write_bytes(b"first\n" + b"x" * 3_000_000 + b"\nlast\n")
    [chunk] = chunks(path)
    assert chunk.lines == [b"first", b"", b"last"]
    assert chunk.oversized == [1]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_files_that_were_packed_one_by_one_and_joined_are_read_to_the_end(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "events"
    path.write_bytes(pack(b"first\n") + pack(b"last\n"))
    [chunk] = chunks(path)
    assert chunk.lines == [b"first", b"last"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_how_far_a_file_is_read_is_told_in_bytes_of_the_file_itself(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "events"
    path.write_bytes(pack(TEXT))
    positions = [chunk.position for chunk in chunks(path)]
    assert 0 < positions[0] <= positions[-1] <= path.stat().st_size


@pytest.mark.parametrize(
    "content",
    [
        b"\x1f\x8b broken",
        b"\x28\xb5\x2f\xfd broken",
        gzip.compress(TEXT)[:99],
        zstandard.compress(TEXT)[:-1],
        zstandard.compress(TEXT) + zstandard.compress(TEXT)[:99],
        gzip.compress(TEXT)[:99] + b"\xff" * 99,
    ],
    ids=["gzip", "zstd", "gzip cut off", "zstd cut off", "second zstd cut off", "gzip overwritten"],
)
def test_a_file_that_cannot_be_unpacked_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.gz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be unpacked"):
        list(chunks(path))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"resourceSpans": []}', "otlp"),
        (b'{"resourceLogs": []}', "otlp"),
        (
            b'{"kind": "tool_call", "event_time": "2026-11-22T18:00:00Z", "agent_id": "a"}',
            "actions",
        ),
        (
            b'{"kind": "prompt", "event_time": "2026-11-22T18:00:00Z", "service_name": "a"}',
            "actions",
        ),
        (b'{"EventID": 1, "Image": "cmd.exe"}', "raw"),
        (b"no json", "raw"),
    ],
)
def test_the_kind_of_lines_is_told_from_the_first_object(line: bytes, kind: str) -> None:
    assert detect([b"", line]) == kind


def test_a_byte_order_mark_before_the_first_line_is_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(codecs.BOM_UTF8 + b'{"a": 1}\n{"b": 2}\n')
    assert [line for chunk in chunks(path) for line in chunk.lines if line] == [
        b'{"a": 1}', b'{"b": 2}'
    ]  # fmt: skip


@pytest.mark.parametrize("space", [b"", b" ", b"\n"], ids=["compact", "spaced", "over lines"])
def test_a_log_file_of_aws_is_as_many_lines_as_it_has_records(space: bytes) -> None:
    text = b'{"Records":' + space + b'[{"a": 1},' + space + b'{"b": 2}]}'
    assert as_lines(Chunk(0, [text], [], 0)).lines == [b'{"a":1}', b'{"b":2}']


def test_an_object_with_records_beside_others_is_one_line() -> None:
    chunk = Chunk(0, [b'{"Records": [{"a": 1}], "b": 2}'], [], 0)
    assert [msgspec.json.decode(line) for line in as_lines(chunk).lines] == [
        {"Records": [{"a": 1}], "b": 2}
    ]


@pytest.mark.parametrize("dumped", ["payload", "value"])
def test_a_dump_of_a_topic_is_of_the_format_that_it_holds(dumped: str) -> None:
    call = {"litellm_call_id": "c", "call_type": "acompletion"}
    dump = {"topic": "t", "key": None, dumped: msgspec.json.encode(call).decode()}
    assert detect([msgspec.json.encode(dump)], Formats()) == "litellm"


def test_a_line_too_long_is_counted_once_and_as_that() -> None:
    chunk = Chunk(0, [b'{"a": 1}\n\nno json'], [1], 0)
    assert RawFeeder(None).feed(chunk).faults == [
        Fault(2, "no JSON object"), Fault(1, "line too long")
    ]  # fmt: skip
