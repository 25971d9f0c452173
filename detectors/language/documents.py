"""Rules as documents that know their lines, so that a problem can be pointed at."""

from pathlib import Path
from typing import Any

import msgspec

SUFFIXES = frozenset({".yml", ".yaml"})
MAX_FILE_BYTES = 4 * 1024 * 1024


class Problem(msgspec.Struct, frozen=True, order=True):
    """Why a rule cannot be honoured, and where it says so (line from 1; 0: the whole file)."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class Unreadable(ValueError):
    """A file that holds no rules."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class RefusedDocument(ValueError):
    """A rule that is not honoured: reason, and the keys of the place that says so (in `document`,
    if that is not the rule itself). `more`: what else is wrong with it.
    """

    def __init__(self, reason: str, *keys: str, document: "Document | None" = None) -> None:
        super().__init__(reason)
        self.keys = keys
        self.document = document
        self.more: list[RefusedDocument] = []


class Document(msgspec.Struct, frozen=True):
    """One YAML document; `lines` has those of its keys, `detection.selection` for inner ones."""

    file: str
    line: int
    data: dict[str, Any]
    lines: dict[str, int]
    # One of several documents that together are a rule (see templates).
    part: bool = False

    @property
    def names(self) -> list[str]:
        """What others may call the rule: its id, then its name."""
        found = (str(self.data[key]) for key in ("id", "name") if self.data.get(key))
        return list(dict.fromkeys(found))

    def problem(self, reason: str, *keys: str) -> Problem:
        """A problem at the innermost of the keys that is there."""
        for depth in range(len(keys), 0, -1):
            line = self.lines.get(".".join(keys[:depth]))
            if line is not None:
                return Problem(self.file, line, reason)
        return Problem(self.file, self.line, reason)


def files_of(path: Path) -> list[Path]:
    """The rule files a path names, in a fixed order. Raises Unreadable."""
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    if not path.is_file():
        raise Unreadable(Problem(str(path), 0, "no such file or folder"))
    return [path]


def read_text(path: Path) -> str:
    """The text of a file. Raises Unreadable."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise Unreadable(Problem(str(path), 0, f"larger than {MAX_FILE_BYTES} bytes"))
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(Problem(str(path), 0, f"cannot be read: {error}")) from error
