"""Ids that a producer sets before its first send, so that a repeated record is known for what
it is.
"""

import os
import time


def new_id() -> str:
    """128 bits as hex: milliseconds since the epoch, then randomness (the layout of a UUID 7)."""
    stamp = (time.time_ns() // 1_000_000) & (2**48 - 1)
    noise = int.from_bytes(os.urandom(10), "big")
    version, variant = 0x7 << 76, 0b10 << 62
    low = noise & (2**62 - 1)
    middle = (noise >> 62 & 0xFFF) << 64
    return f"{stamp << 80 | version | middle | variant | low:032x}"
