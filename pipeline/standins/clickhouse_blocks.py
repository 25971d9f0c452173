"""ClickHouse's own compression of an answer (`compress=1`), which its JDBC driver asks for: blocks
of LZ4, each with the checksum that the driver looks at.

A block: 16 bytes of CityHash128 over what follows it; a byte for the method; the size of the rest
with these nine bytes, and the size unpacked, both 32 bits, little end first; the data.
"""

import struct

import lz4.block  # type: ignore[import-untyped]
from clickhouse_cityhash.cityhash import CityHash128

BLOCK_BYTES = 1 << 18
_LZ4 = 0x82
_HEAD = struct.Struct("<BII")


class Blocks:
    """An encoder like Compressor; of HTTP's codings it is none."""

    coding = ""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Compress one piece; gives whole blocks only."""
        self._held += data
        full = len(self._held) // BLOCK_BYTES * BLOCK_BYTES
        if not full:
            return b""
        ready, self._held = bytes(self._held[:full]), self._held[full:]
        return b"".join(_block(ready[at : at + BLOCK_BYTES]) for at in range(0, full, BLOCK_BYTES))

    def finish(self) -> bytes:
        """The end of the stream."""
        rest, self._held = bytes(self._held), bytearray()
        return _block(rest) if rest else b""


def _block(plain: bytes) -> bytes:
    packed: bytes = lz4.block.compress(plain, store_size=False)
    body = _HEAD.pack(_LZ4, len(packed) + _HEAD.size, len(plain)) + packed
    checksum: int = CityHash128(body)
    # The package keeps the hash's first half on top.
    first, second = checksum >> 64, checksum & 0xFFFFFFFFFFFFFFFF
    return struct.pack("<QQ", first, second) + body
