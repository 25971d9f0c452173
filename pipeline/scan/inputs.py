"""Reading files for `tacho scan`: plain, gzip or zstd, in chunks of lines, with what kind of
lines they are.
"""

import codecs
import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import msgspec

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize import envelopes

# actions, otlp, raw, or the name of a format of other systems.
Format = str
STDIN = Path("-")
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# A chunk ends with the block in which it has so many lines or bytes: bounded memory whatever the
# file.
CHUNK_LINES = 10_000
CHUNK_BYTES = 16_000_000
BLOCK_BYTES = 1 << 19
MAX_LINE_BYTES = 8_000_000
# Of an action: who did it, or by what.
_NAMING = frozenset(
    {
        "agent_id", "agent_name", "agent", "agent.id", "agent.name", "service_name", "service.name",
        "session_id", "session.id", "tool_name", "tool.name", "tool",
    }
)  # fmt: skip
_OTLP_KEYS = ("resourceSpans", "resourceLogs", "resource_spans", "resource_logs")


class Chunk(msgspec.Struct, frozen=True):
    """Some lines, in blocks of whole lines without the last end, and the number of the first one,
    from 0. An oversized line is given empty and named.
    """

    first: int
    blocks: list[bytes]
    oversized: list[int]
    position: int
    # Of each block where its lines end, the last excepted.
    ends: list[list[int]] = []

    @property
    def lines(self) -> list[bytes]:
        """The lines themselves."""
        return b"\n".join(self.blocks).split(b"\n")


class _Gzip(gzip.GzipFile):
    """Closes the file beneath it too, which GzipFile leaves open."""

    def __init__(self, beneath: BinaryIO) -> None:
        super().__init__(fileobj=beneath, mode="rb")
        self._beneath = beneath

    def close(self) -> None:
        super().close()
        self._beneath.close()


class _Zstd(io.BufferedReader):
    """Says when the file is cut off, which a plain reader takes for its end."""

    def __init__(self, beneath: BinaryIO) -> None:
        import pyarrow as pa

        packed = pa.PythonFile(beneath, mode="r")
        super().__init__(cast("io.RawIOBase", pa.CompressedInputStream(packed, "zstd")))
        self.fileobj = beneath


def opened(path: Path) -> BinaryIO:
    """The file's content, unpacked as it is read. Raises ConfigError."""
    try:
        stream = sys.stdin.buffer if path == STDIN else path.open("rb")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    head = cast("io.BufferedReader", stream).peek(4)[:4]
    if head.startswith(GZIP_MAGIC):
        return cast("BinaryIO", _Gzip(stream))
    if head == ZSTD_MAGIC:
        return cast("BinaryIO", _Zstd(stream))
    return stream


def _blocks(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Blocks of whole lines without the last end; whether it is one line that is too long to hold,
    and is given empty.
    """
    while read := stream.read(BLOCK_BYTES):
        begin = read.rfind(b"\n") + 1
        if begin == len(read):
            yield read[:-1], False
            continue
        # The rest of the last line: what is read is copied once, while it is still in the cache.
        rest = stream.readline(MAX_LINE_BYTES + 1)
        if len(read) - begin + len(rest.removesuffix(b"\n")) <= MAX_LINE_BYTES:
            yield read + rest.removesuffix(b"\n"), False
            continue
        if begin:
            yield read[: begin - 1], False
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(BLOCK_BYTES)
        yield b"", True


def ends_of(block: bytes) -> list[int]:
    """Where the lines of a block end, the last excepted. Lines are long: to look for each end takes
    a fraction of the time of looking at each byte.
    """
    found: list[int] = []
    at = block.find(b"\n")
    while at >= 0:
        found.append(at)
        at = block.find(b"\n", at + 1)
    return found


def chunks(path: Path) -> Iterator[Chunk]:
    """The file in chunks; blank lines keep their number. Raises ConfigError when it cannot be
    unpacked.
    """
    stream = opened(path)
    first, number, size, position = 0, 0, 0, 0
    held: list[bytes] = []
    ends: list[list[int]] = []
    oversized: list[int] = []
    try:
        for block, too_long in _blocks(stream):
            if too_long:
                oversized.append(number)
            held.append(block if number else block.removeprefix(codecs.BOM_UTF8))
            ends.append(ends_of(held[-1]))
            size += len(block)
            number += len(ends[-1]) + 1
            if number - first >= CHUNK_LINES or size >= CHUNK_BYTES:
                position = _position(stream)
                yield Chunk(first, held, oversized, position, ends)
                first, held, size, oversized, ends = number, [], 0, [], []
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} cannot be unpacked: {error}") from error
    finally:
        if path != STDIN:
            stream.close()
    if held:
        yield Chunk(first, held, oversized, position, ends)


def _position(stream: BinaryIO) -> int:
    """Bytes read of the file itself, for the progress bar; 0 where the stream cannot tell."""
    inner = getattr(stream, "fileobj", stream)
    try:
        return int(inner.tell())
    except (OSError, AttributeError):
        return 0


def as_lines(chunk: Chunk) -> Chunk:
    """A file that is one JSON document, pretty-printed, an array or a log file of AWS, as a line an
    item; any other chunk as it is.
    """
    text = b"\n".join(chunk.blocks).strip()
    if chunk.first or chunk.oversized or (not envelopes.holds_many(text) and _stands_alone(text)):
        return chunk
    try:
        whole = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return chunk
    lines = [msgspec.json.encode(item) for item in envelopes.items(whole)]
    return Chunk(0, [b"\n".join(lines)], [], chunk.position)


def _stands_alone(text: bytes) -> bool:
    """Whether the first line is a JSON value by itself."""
    try:
        msgspec.json.decode(text.partition(b"\n")[0])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


class Known(Protocol):
    """Formats of other systems, as `detect` asks them."""

    def of(self, item: object) -> str | None:
        """The format that recognises an object."""
        ...


def detect(lines: list[bytes], known: Known | None = None) -> Format:
    """What kind of lines these are, told from the first one that is a JSON object."""
    for line in lines:
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            continue
        if isinstance(value, dict):
            return _format_of(value, known)
    return "raw"


def _format_of(value: dict[str, object], known: Known | None) -> Format:
    if any(key in value for key in _OTLP_KEYS):
        return "otlp"
    if "kind" in value and "event_time" in value and not _NAMING.isdisjoint(value):
        return "actions"
    return (known.of(value) if known is not None else None) or "raw"
