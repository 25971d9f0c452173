"""JSON for a terminal, which would obey some of what an agent may write."""

from collections.abc import Callable
from typing import BinaryIO


def for_terminal(lines: bytes) -> bytes:
    """The same JSON, with what does not show written as escapes: JSON itself asks for those of the
    oldest control characters only. `lines`: objects, each on a line.
    """
    text = lines.decode()
    if text.replace("\n", "").isprintable():
        return lines
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text).encode()


def written_to(sink: BinaryIO) -> Callable[[bytes], bytes]:
    """How lines of JSON are to be written there: to a file as they are."""
    return for_terminal if sink.isatty() else bytes


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
