"""zstd is unpacked within a bound, and what is cut off is never taken for whole."""

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline import zstd_frames
from tachograph.pipeline.normalize import unpack
from tachograph.pipeline.normalize.raw import BadInput

WINDOW = 2**23
TOLD = zstandard.ZstdCompressor()
UNTOLD = zstandard.ZstdCompressor(write_content_size=False)
SKIPPED = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
PARTS = st.lists(st.tuples(st.booleans(), st.binary(max_size=3_000)), min_size=1, max_size=4)


def packed(parts: list[tuple[bool, bytes]]) -> bytes:
    return b"".join((TOLD if told else UNTOLD).compress(part) for told, part in parts)


@given(PARTS)
def test_all_frames_are_unpacked_whether_they_say_their_size_or_not(
    parts: list[tuple[bool, bytes]],
) -> None:
    whole = b"".join(part for _, part in parts)
    assert zstd_frames.unpacked(packed(parts), 20_000, WINDOW) == whole
    assert zstd_frames.unpacked(packed(parts) + SKIPPED, 20_000, WINDOW) == whole


@given(PARTS, st.data())
def test_what_is_cut_off_loses_nothing_without_an_error(
    parts: list[tuple[bool, bytes]], data: st.DataObject
) -> None:
    value = packed(parts)
    ends = {len(packed(parts[:number])) for number in range(1, len(parts))}
    cut = data.draw(st.integers(1, len(value) - 1).filter(lambda size: size not in ends))
    try:
        found = zstd_frames.unpacked(value[:cut], 20_000, WINDOW)
    except (EOFError, zstandard.ZstdError):
        return
    assert found == b"".join(part for _, part in parts)


def test_no_more_is_unpacked_than_may_be() -> None:
    for made in (TOLD, UNTOLD):
        found = zstd_frames.unpacked(made.compress(bytes(10_000_000)), 1_000, WINDOW)
        assert len(found) == 1_001


def test_frames_without_number_are_refused() -> None:
    with pytest.raises(zstandard.ZstdError, match="frames"):
        zstd_frames.unpacked(UNTOLD.compress(b"") * 20_000, 1_000, WINDOW)


def test_a_record_cut_off_at_the_end_of_a_line_is_a_dead_letter() -> None:
    lines = [b'{"kind": "tool_call"}\n' * 1_000, b'{"kind": "completion"}\n' * 1_000]
    maker = UNTOLD.compressobj()
    first = maker.compress(lines[0]) + maker.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    whole = first + maker.compress(lines[1]) + maker.flush()
    assert unpack.bounded(whole) == b"".join(lines)
    with pytest.raises(BadInput, match="cut off"):
        unpack.bounded(first)
