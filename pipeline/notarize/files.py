"""Append-only files of JSON lines: what is in them is on the disk, and stays."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def append_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Append lines and wait until the disk has them. Several processes may do so at once. A line
    that a power cut tore apart is ended first, so that it stays the only one. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        told = b"".join(line + b"\n" for line in lines)
        _write_all(handle, b"\n" + told if torn else told)
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def read_lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file without their ends; none where there is no file. Raises OSError."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and line.strip():
                yield line.rstrip(b"\n")
