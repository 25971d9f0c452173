"""A reference: what is known of agents, tools, suppliers and people, with the hash of it all as its
version.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tachograph.detectors.language.documents import Problem
from tachograph.detectors.reference.canaries import forms
from tachograph.detectors.reference.entries import TABLES, Content, Provider
from tachograph.detectors.reference.files import of_mapping, read

DEFAULTS = Path(__file__).parent / "defaults"
FORMAT = 1
_VERSION_CHARS = 16


class ReferenceErrors(ValueError):
    """Reference files that cannot be honoured: all problems, in order of file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems)
        listing = "\n".join(str(problem) for problem in self.problems)
        super().__init__(f"{len(self.problems)} problem(s) in reference data:\n{listing}")


class _Blob(msgspec.Struct, frozen=True):
    format: int
    content: Content


class Reference(msgspec.Struct, frozen=True):
    """What is in force. Equal contents have equal versions, wherever they came from."""

    content: Content
    version: str
    # What was read but cannot be honoured, such as patterns of a feed that are no list entries.
    notes: list[Problem] = []

    @property
    def lists(self) -> Mapping[str, Sequence[str]]:
        """Values of `%name%` in rules."""
        return self.content.lists

    def encode(self) -> bytes:
        """The whole of it as one text; `decode` gives it back, with the same version."""
        return _encoded(self.content)

    @classmethod
    def decode(cls, blob: bytes) -> "Reference":
        """Raises ValueError when it is none of ours."""
        try:
            kept = msgspec.json.decode(blob, type=_Blob)
        except msgspec.MsgspecError as error:
            raise ValueError(f"no reference data: {error}") from error
        if kept.format != FORMAT:
            raise ValueError(f"reference data of format {kept.format}, not {FORMAT}")
        return cls.of(kept.content)

    @classmethod
    def of(cls, content: Content, notes: Sequence[Problem] = ()) -> "Reference":
        """The reference of this content."""
        return cls(content, _version(_encoded(content)), list(notes))


def _encoded(content: Content) -> bytes:
    return msgspec.json.encode(_Blob(FORMAT, content), order="deterministic")


def _version(blob: bytes) -> str:
    return hashlib.blake2b(blob, digest_size=_VERSION_CHARS // 2).hexdigest()


@functools.cache
def shipped() -> Reference:
    """What comes with the program: endpoints of providers. Our own file needs none of the care
    that an operator's does, nor the time that takes to load.
    """
    found = of_mapping(msgspec.yaml.decode((DEFAULTS / "providers.yaml").read_bytes()))
    if found.problems:
        raise ReferenceErrors(found.problems)
    return Reference.of(found.content())


def load(paths: Sequence[Path | str], *, as_seen: Callable[[str], str] | None = None) -> Reference:
    """The reference of files and folders, above what is shipped.

    `as_seen`: how a text looks once `normalize` has redacted it; canaries that look like secrets
    are looked for, and kept, in that form. Raises ReferenceErrors with every problem found.
    """
    found = read([Path(path) for path in paths])
    if found.problems:
        raise ReferenceErrors(found.problems)
    return Reference.of(_with_shipped(_seen(found.content(), as_seen)), found.notes)


def of_tables(data: Mapping[str, Any]) -> Reference:
    """The reference of a mapping as a YAML file holds it, above what is shipped. Raises
    ReferenceErrors.
    """
    return above_shipped([content_of(data)])


def content_of(data: Mapping[str, Any]) -> Content:
    """The entries of a mapping as a YAML file holds it. Raises ReferenceErrors."""
    found = of_mapping(data)
    if found.problems:
        raise ReferenceErrors(found.problems)
    return found.content()


def of_tenant(content: Content, tenant: str) -> Content:
    """The same entries, said of one tenant; those that name one stay as they are."""
    said = {
        table: [
            one if one.tenant else msgspec.structs.replace(one, tenant=tenant)
            for one in getattr(content, table)
        ]
        for table in TABLES
    }
    return msgspec.structs.replace(content, **said)


def above_shipped(contents: Iterable[Content]) -> Reference:
    """The reference of several contents together, above what is shipped."""
    parts = list(contents)
    entries = {table: [one for part in parts for one in getattr(part, table)] for table in TABLES}
    lists = {name: values for part in parts for name, values in part.lists.items()}
    return Reference.of(_with_shipped(Content(**entries, lists=lists)))


def _seen(content: Content, as_seen: Callable[[str], str] | None) -> Content:
    if as_seen is None:
        return content
    canaries = [
        msgspec.structs.replace(
            canary, values=[form for value in canary.values for form in _forms(value, as_seen)]
        )
        for canary in content.canaries
    ]
    return msgspec.structs.replace(content, canaries=canaries)


def _forms(value: str, as_seen: Callable[[str], str]) -> list[str]:
    """What redaction would replace may still stand in a text encoded."""
    seen = as_seen(value)
    return [value] if seen == value else [seen, *forms(value)[1:]]


def _with_shipped(content: Content) -> Content:
    """Shipped providers below the operator's; one of the same name lends it what it leaves out."""
    own = {provider.name.lower() for provider in content.providers if provider.tenant is None}
    known = {provider.name.lower(): provider for provider in shipped().content.providers}
    lent = [_lent(one, known.get(one.name.lower())) for one in content.providers]
    rest = [provider for name, provider in known.items() if name not in own]
    return msgspec.structs.replace(content, providers=[*lent, *rest])


def _lent(provider: Provider, known: Provider | None) -> Provider:
    if known is None:
        return provider
    return msgspec.structs.replace(
        provider,
        aliases=[*provider.aliases, *known.aliases],
        endpoints=provider.endpoints or known.endpoints,
    )
