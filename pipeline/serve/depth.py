"""How deep JSON nests, told without decoding it: a decoder must not be the first to find out."""

from typing import Final

import numpy as np

_WINDOW_BYTES: Final = 1_048_576
_DROPPED: Final = bytes(sorted(set(range(256)) - set(b'[]{}"')))
_QUOTE: Final = ord('"')
_STEP: Final = np.zeros(256, dtype=np.int32)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1


def deeper_than(limit: int, text: bytes) -> bool:
    """Whether arrays and objects nest deeper than `limit`; brackets inside strings do not
    count.

    Linear, and done at the first window that is too deep. For text that is no JSON the answer
    means nothing.
    """
    # Escapes first: what is left of a backslash run before a quote says whether the quote ends
    # the string.
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    text = text.translate(None, _DROPPED)
    depth, quoted = 0, 0
    for start in range(0, len(text), _WINDOW_BYTES):
        window = np.frombuffer(text[start : start + _WINDOW_BYTES], dtype=np.uint8)
        quotes = np.cumsum(window == _QUOTE, dtype=np.int32) + quoted
        steps = np.where(quotes & 1, 0, _STEP[window])
        depths = np.cumsum(steps, dtype=np.int32) + depth
        if depths.max() > limit:
            return True
        depth, quoted = int(depths[-1]), int(quotes[-1]) & 1
    return False
