"""Rule files as documents that know their lines, so that a problem can be pointed at."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from sigma.exceptions import SigmaError
from sigma.rule.base import SigmaYAMLLoader, check_alias_expansion

MAX_FILE_BYTES = 4 * 1024 * 1024
SUFFIXES = frozenset({".yml", ".yaml"})


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
    if that is not the rule itself).
    """

    def __init__(self, reason: str, *keys: str, document: "Document | None" = None) -> None:
        super().__init__(reason)
        self.keys = keys
        self.document = document


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


def read(path: Path) -> list[Document]:
    """The documents of a file. Raises Unreadable."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise Unreadable(Problem(str(path), 0, f"larger than {MAX_FILE_BYTES} bytes"))
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(Problem(str(path), 0, f"cannot be read: {error}")) from error
    return parse(text, str(path))


def parse(text: str, file: str) -> list[Document]:
    """The documents of a text. Raises Unreadable."""
    try:
        return list(_documents(text, file))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise Unreadable(Problem(file, line, f"no valid YAML: {error.problem}")) from error
    except yaml.YAMLError as error:
        raise Unreadable(Problem(file, 0, f"no valid YAML: {error}")) from error
    except (SigmaError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(Problem(file, 0, str(error))) from error
    except RecursionError as error:
        raise Unreadable(Problem(file, 0, "nested too deeply")) from error


def _documents(text: str, file: str) -> Iterator[Document]:
    loader = SigmaYAMLLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                continue
            line = node.start_mark.line + 1
            data = loader.construct_document(node)
            if data is None:
                continue
            check_alias_expansion(data)
            if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
                raise Unreadable(Problem(file, line, "a rule is a mapping of names to values"))
            yield Document(file, line, data, dict(_lines(node)))
    finally:
        loader.dispose()


def _lines(node: yaml.Node, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    if not isinstance(node, yaml.MappingNode) or depth > 2:
        return
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        yield name, key.start_mark.line + 1
        yield from _lines(value, f"{name}.", depth + 1)


def semantic_hash(asked: Any) -> str:
    """Hash of what a rule asks; the order of keys does not matter, that of lists does."""
    text = msgspec.json.encode(asked, order="deterministic", enc_hook=str)
    return hashlib.blake2b(text, digest_size=16).hexdigest()
