"""Values that a producer compressed itself, unpacked within a bound: a bomb costs no more than the
bound.
"""

import zlib
from typing import Final

import zstandard

from tachograph.pipeline import zstd_frames
from tachograph.pipeline.normalize import limits
from tachograph.pipeline.normalize.raw import BadInput

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_ZSTD_WINDOW: Final = 2**23
# A file may be of several, one after the other; nobody makes more.
_MEMBERS: Final = 64


def bounded(value: bytes) -> bytes:
    """The value, unpacked if it is gzip or zstd. Raises BadInput beyond the limits."""
    if len(value) > limits.RECORD_BYTES:
        raise BadInput("too_large", f"a record may have {limits.RECORD_BYTES} bytes")
    if not value or value.isspace():
        raise BadInput("empty", "the record has no value")
    if value[:2] == _GZIP:
        return _gunzipped(value)
    return _unzstd(value) if value[:4] == _ZSTD else value


def _gunzipped(value: bytes) -> bytes:
    found, rest = b"", value
    for _ in range(_MEMBERS):
        unpacker = zlib.decompressobj(_GZIP_WINDOW)
        try:
            found += unpacker.decompress(rest, limits.UNPACKED_BYTES + 1 - len(found))
        except zlib.error as error:
            raise BadInput("malformed", "the gzip data is broken") from error
        if len(found) > limits.UNPACKED_BYTES:
            raise _bomb()
        if not unpacker.eof:
            raise BadInput("truncated", "the gzip data is cut off")
        rest = unpacker.unused_data
        if not rest:
            return found
    raise BadInput("too_many", f"a record may have {_MEMBERS} gzip members")


def _unzstd(value: bytes) -> bytes:
    try:
        found = zstd_frames.unpacked(value, limits.UNPACKED_BYTES, _ZSTD_WINDOW)
    except zstandard.ZstdError as error:
        raise BadInput("malformed", "the zstd data is broken") from error
    except EOFError as error:
        raise BadInput("truncated", "the zstd data is cut off") from error
    if len(found) > limits.UNPACKED_BYTES:
        raise _bomb()
    return found


def _bomb() -> BadInput:
    return BadInput("too_large", f"a record may unpack to {limits.UNPACKED_BYTES} bytes")
