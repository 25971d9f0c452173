"""Everything that a rule set is compiled from, as one text: so that it can travel in the log and
every process judges by the same. What compiles it is loaded when it is compiled.
"""

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

from tachograph.detectors.language.compiled import BUILTIN, RuleErrors, RuleSet
from tachograph.detectors.language.documents import (
    Document,
    Problem,
    Unreadable,
    files_of,
    read_text,
)
from tachograph.detectors.language.fields import ACTIONS, FieldMap
from tachograph.detectors.reference.reference import Reference, shipped

FORMAT = 1
# What a bundle may amount to once it is unpacked.
MAX_BYTES = 64_000_000
_SHIPPED = "tachograph"


class Source(msgspec.Struct, frozen=True):
    """One file: its name, as problems of it are told, and its text."""

    file: str
    text: str


class Bundle(msgspec.Struct, frozen=True):
    """The files of a rule set. Equal files make equal bundles, wherever they lay."""

    rules: list[Source]
    pipelines: list[Source] = []
    tuning: Source | None = None
    # The shipped pack is among the rules.
    builtin: bool = True
    format: int = FORMAT

    @property
    def version(self) -> str:
        """Hash of the content."""
        return hashlib.blake2b(_encoded(self), digest_size=16).hexdigest()

    def encode(self) -> bytes:
        """The bundle, packed; `decode` gives it back."""
        return zlib.compress(_encoded(self), 9)

    @classmethod
    def decode(cls, packed: bytes) -> Self:
        """Raises ValueError when it is none of ours or too large."""
        unpacker = zlib.decompressobj()
        try:
            plain = unpacker.decompress(packed, MAX_BYTES)
            found = msgspec.json.decode(plain, type=cls)
        except (zlib.error, msgspec.MsgspecError) as error:
            raise ValueError(f"no rule bundle: {error}") from error
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise ValueError(f"rule bundle cut off, or larger than {MAX_BYTES} bytes")
        if found.format != FORMAT:
            raise ValueError(f"rule bundle of format {found.format}, not {FORMAT}")
        return found

    def compile(self, *, fields: FieldMap = ACTIONS, reference: Reference | None = None) -> RuleSet:
        """The rules, above this reference data (None: what is shipped). Raises RuleErrors with
        every problem found.
        """
        from tachograph.detectors.language.pipelines import pipelines_of
        from tachograph.detectors.language.rulefile import parse
        from tachograph.detectors.language.ruleset import build
        from tachograph.detectors.language.tuning import UNTUNED, tuning_of

        reference = reference or shipped()
        problems: list[Problem] = []
        documents = _documents(self.rules, problems)
        fitted, wrong = pipelines_of(_documents(self.pipelines, problems), reference.lists)
        values = UNTUNED
        if self.tuning is not None:
            try:
                values = tuning_of(parse(self.tuning.text, self.tuning.file))
            except Unreadable as error:
                problems.append(error.problem)
        rules = build(
            documents,
            fields=fields,
            problems=[*problems, *wrong],
            tuning=values,
            whole=self.builtin,
            pipelines=fitted,
            reference=reference,
        )
        return rules.beside_sessions() if self.builtin else rules


def bundle_of(
    paths: Sequence[Path],
    *,
    builtin: bool = True,
    tuning: Path | None = None,
    pipelines: Sequence[Path | str] = (),
) -> Bundle:
    """The bundle of rule files and folders. Raises RuleErrors for what cannot be read."""
    problems: list[Problem] = []
    rules = _sources([BUILTIN] if builtin else [], problems, name=_SHIPPED)
    rules += _sources(paths, problems)
    fitting = _sources(_pipeline_files(pipelines), problems)
    tuned = _sources([] if tuning is None else [tuning], problems)
    if problems:
        raise RuleErrors(problems)
    return Bundle(rules, fitting, tuned[0] if tuned else None, builtin)


def _pipeline_files(names: Sequence[Path | str]) -> list[Path]:
    if not names:
        return []
    from tachograph.detectors.language.pipelines import pipeline_file

    return [pipeline_file(name) for name in names]


def _encoded(bundle: Bundle) -> bytes:
    return msgspec.json.encode(bundle, order="deterministic")


def _documents(sources: Sequence[Source], problems: list[Problem]) -> list[Document]:
    from tachograph.detectors.language.rulefile import parse

    documents: list[Document] = []
    for source in sources:
        try:
            documents += parse(source.text, source.file)
        except Unreadable as error:
            problems.append(error.problem)
    return documents


def _sources(
    roots: Sequence[Path], problems: list[Problem], *, name: str | None = None
) -> list[Source]:
    found = []
    for root in roots:
        try:
            for path in files_of(root):
                inner = path.relative_to(root) if path != root else Path()
                file = str(Path(name or root.name) / inner)
                found.append(Source(file, read_text(path)))
        except Unreadable as error:
            problems.append(error.problem)
    return found
