"""Rule files read as documents."""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from sigma.exceptions import SigmaError
from sigma.rule.base import SigmaYAMLLoader, check_alias_expansion
from yaml.constructor import ConstructorError

from tachograph.detectors.language.documents import (
    MAX_FILE_BYTES,
    Document,
    Problem,
    RefusedDocument,
    Unreadable,
    files_of,
    read_text,
)

__all__ = [
    "MAX_FILE_BYTES",
    "Document",
    "Problem",
    "RefusedDocument",
    "Unreadable",
    "files_of",
    "parse",
    "read",
    "read_text",
    "semantic_hash",
]


# What asks about rules reads their files several times over. Those that are remembered are small
# and as many as a few packs have.
_REMEMBERED: Final = 512
_REMEMBERED_CHARS: Final = 16_384
# As deep as an item of a map in a list of a selection lies.
_DEPTH: Final = 3
_MERGE: Final = "tag:yaml.org,2002:merge"
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"


class _Loader(SigmaYAMLLoader):
    """pySigma's, which knows no `<<`; and a date that a rule asks for is the text that it is."""

    def construct_mapping(self, node: yaml.MappingNode, *args: Any, **more: Any) -> dict[Any, Any]:
        """A mapping, with what is merged into it."""
        self.flatten_mapping(node)
        known: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a name is a text", key.start_mark)
            if key.value in known:
                raise ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            known.add(key.value)
        return super().construct_mapping(node, *args, **more)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put in what `<<` names, each key once: its own before others."""
        own = [pair for pair in node.value if pair[0].tag != _MERGE]
        if len(own) < len(node.value):
            super().flatten_mapping(node)
            known = {str(key.value) for key, _ in own}
            merged = {str(key.value): (key, value) for key, value in node.value}
            node.value = [pair for name, pair in merged.items() if name not in known] + own


_Loader.yaml_implicit_resolvers = {
    first: [(tag, shape) for tag, shape in resolvers if tag != _TIMESTAMP]
    for first, resolvers in SigmaYAMLLoader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> list[Document]:
    """The documents of a file. Raises Unreadable."""
    return parse(read_text(path), str(path))


def parse(text: str, file: str) -> list[Document]:
    """The documents of a text; nobody may change what is in them. Raises Unreadable."""
    try:
        small = len(text) <= _REMEMBERED_CHARS
        return list(_remembered(text, file) if small else _documents(text, file))
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


@lru_cache(maxsize=_REMEMBERED)
def _remembered(text: str, file: str) -> tuple[Document, ...]:
    return tuple(_documents(text, file))


def _documents(text: str, file: str) -> Iterator[Document]:
    loader = _Loader(text)
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
    """Lines of names, and of what stands in lists by its place from 0."""
    if depth > _DEPTH:
        return
    inner: list[tuple[str, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        inner = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        inner = [(str(at), value, value) for at, value in enumerate(node.value)]
    for name, place, value in inner:
        yield f"{prefix}{name}", place.start_mark.line + 1
        yield from _lines(value, f"{prefix}{name}.", depth + 1)


def semantic_hash(asked: Any) -> str:
    """Hash of what a rule asks; the order of keys does not matter, that of lists does."""
    text = msgspec.json.encode(asked, order="deterministic", enc_hook=str)
    return hashlib.blake2b(text, digest_size=16).hexdigest()
