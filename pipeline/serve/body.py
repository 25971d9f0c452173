"""Reading a request body within limits, whatever it claims to be."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.limits import Limits

PIECE_BYTES: Final = 262_144
_GZIP: Final = 31  # zlib's name for "a gzip member, header and checksum included"


class Intake:
    """Bytes that all requests hold together, so that many large bodies cannot exhaust the
    memory.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self.held_bytes = 0

    @contextmanager
    def lease(self) -> Iterator["Lease"]:
        """Account for one request; what it took is given back at the end."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            self.held_bytes -= lease.taken_bytes

    def take(self, size_bytes: int) -> None:
        """Raise RequestError 429 when there is no room."""
        if self.held_bytes + size_bytes > self._capacity_bytes:
            raise RequestError(429, "the door holds all it can: send again later", retry_after_s=1)
        self.held_bytes += size_bytes


class Lease:
    """What one request holds."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.taken_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Raise RequestError 429 when there is no room."""
        self._intake.take(size_bytes)
        self.taken_bytes += size_bytes


class Inflater:
    """Gunzip in pieces, never more than the limit, however well the input is packed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._members = 1
        self._stream = zlib.decompressobj(_GZIP)
        self._fed = False

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """Pieces of at most PIECE_BYTES. Raises RequestError 400 for what is no gzip."""
        self._fed = self._fed or bool(packed)
        piece = b""
        while packed or (len(piece) == PIECE_BYTES and not self._stream.eof):
            if self._stream.eof:
                self._next_member()
            try:
                piece = self._stream.decompress(packed, PIECE_BYTES)
            except zlib.error as error:
                raise RequestError(400, f"the body is not gzip: {error}") from error
            packed = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            if piece:
                yield piece

    def _next_member(self) -> None:
        self._members += 1
        if self._members > self._limits.gzip_members:
            raise RequestError(400, f"more than {self._limits.gzip_members} gzip members in a body")
        self._stream = zlib.decompressobj(_GZIP)

    def finish(self) -> None:
        """Raise RequestError 400 if the last member is not complete."""
        if self._fed and not self._stream.eof:
            raise RequestError(400, "the gzip body is cut short")


async def read_body(
    chunks: AsyncIterator[bytes], encoding: str, lease: Lease, limits: Limits
) -> bytes:
    """The body, decompressed. `encoding` is the Content-Encoding header.

    Raises RequestError: 413 over a limit, 415 for an encoding other than gzip, 400 for broken
    gzip, 429 when the door is full.
    """
    encoding = encoding.strip().lower() or "identity"
    if encoding not in ("identity", "gzip"):
        raise RequestError(415, "Content-Encoding may be gzip or identity")
    inflater = Inflater(limits) if encoding == "gzip" else None
    wire_limit = limits.compressed_bytes if inflater else limits.body_bytes
    body, wire_bytes = bytearray(), 0
    async for chunk in chunks:
        wire_bytes += len(chunk)
        if wire_bytes > wire_limit:
            raise RequestError(413, f"a body may have {wire_limit} bytes ({encoding})")
        for piece in inflater.feed(chunk) if inflater else (chunk,):
            if len(body) + len(piece) > limits.body_bytes:
                raise RequestError(413, f"a body may have {limits.body_bytes} bytes decompressed")
            lease.take(len(piece))
            body += piece
            if len(piece) == PIECE_BYTES:
                await asyncio.sleep(0)  # other requests get their turn inside a large one
    if inflater:
        inflater.finish()
    return bytes(body)


def declared_too_large(content_length: str | None, encoding: str, limits: Limits) -> bool:
    """Whether the Content-Length alone says that the body is over its limit."""
    if content_length is None or not content_length.isdigit():
        return False
    packed = encoding.strip().lower() == "gzip"
    limit = limits.compressed_bytes if packed else limits.body_bytes
    return len(content_length) > 18 or int(content_length) > limit
