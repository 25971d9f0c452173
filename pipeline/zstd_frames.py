"""zstd that somebody else packed: unpacked within a bound, and seen to be whole. The library's
reader bounds what it gives, and takes a frame that is cut off for one that ends there.
"""

from typing import Final

import zstandard

# Each costs as much as a kilobyte does.
MAX_FRAMES: Final = 10_000
_PIECE_BYTES: Final = 1_024


def unpacked(value: bytes, most: int, window_bytes: int) -> bytes:
    """The content of all frames, or `most` bytes and one more where there is more than that.
    `window_bytes`: what a frame may ask for before it holds a byte.

    Raises ZstdError where it is broken, EOFError where it is cut off.
    """
    made = zstandard.ZstdDecompressor(max_window_size=window_bytes)
    with made.stream_reader(value, read_across_frames=True) as reader:
        found: bytes = reader.read(most + 1)
    if len(found) <= most:
        _see_all_ends(value, made)
    return found


def _see_all_ends(value: bytes, made: zstandard.ZstdDecompressor) -> None:
    """By unpacking once more, since it is known by then how little that is. A piece at a time: what
    a frame leaves of its piece is copied.
    """
    frame, frames, begun = made.decompressobj(), 1, False
    for at in range(0, len(value), _PIECE_BYTES):
        piece = value[at : at + _PIECE_BYTES]
        while piece:
            frame.decompress(piece)
            begun = True
            if not frame.eof:
                break
            piece = frame.unused_data
            frame, frames, begun = made.decompressobj(), frames + 1, False
            if frames > MAX_FRAMES:
                raise zstandard.ZstdError(f"more than {MAX_FRAMES} frames")
    if begun:
        raise EOFError("it ends too early")
