"""Rules from files: a document is honoured in full, or is a problem with file, line and reason."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sigma.exceptions import SigmaError
from sigma.rule import SigmaLogSource

from tachograph.detectors.language import atr, logsources, templates
from tachograph.detectors.language.compiled import BUILTIN, RuleErrors, RuleSet
from tachograph.detectors.language.conditions import fields_of
from tachograph.detectors.language.correlations import Target, correlation_of
from tachograph.detectors.language.detection import Detected, detected
from tachograph.detectors.language.documents import Problem, Unreadable, files_of
from tachograph.detectors.language.fields import ACTIONS, FieldMap, UnknownField
from tachograph.detectors.language.filters import Filter, filter_of, idle
from tachograph.detectors.language.pipelines import Lists, Pipelines, read_pipelines
from tachograph.detectors.language.refusals import in_words
from tachograph.detectors.language.rule import (
    Correlation,
    Detection,
    Judged,
    Meta,
    Rule,
    Stateless,
    Tacho,
)
from tachograph.detectors.language.rulefile import Document, RefusedDocument, read, semantic_hash
from tachograph.detectors.language.tuning import UNTUNED, Tuning, read_tuning, tuned
from tachograph.detectors.matching.lowering import Lowering
from tachograph.detectors.reference.reference import Reference, shipped
from tachograph.schemas.alert import SEVERITIES, Severity
from tachograph.schemas.identity import plain_id

__all__ = ["BUILTIN", "RuleErrors", "RuleSet", "build", "documents_of", "load"]

# Of the section `tacho` what only correlations have.
_TIMED = ("window", "gap", "absent", "first_seen")
# Names of rules as boolean conditions of correlations may hold them.
_NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def load(
    paths: Iterable[Path | str] = (),
    *,
    builtin: bool = True,
    fields: FieldMap = ACTIONS,
    strict: bool = True,
    tuning: Path | None = None,
    pipelines: Sequence[Path | str] = (),
    lists: Lists | None = None,
    reference: Reference | None = None,
) -> RuleSet:
    """The rules of the shipped pack (`builtin`) and of files and folders, with an operator's values
    for their knobs (`tuning`), fitted by `pipelines` (files, or names of shipped ones); `lists` are
    values of placeholders beside those of the reference data (`reference`; None: what is shipped).

    Raises RuleErrors with every problem found. With strict=False rules with problems are left out
    and listed in `refused`, for a caller that tells them to a person.
    """
    documents, problems = documents_of([*([BUILTIN] if builtin else []), *map(Path, paths)])
    values = UNTUNED
    if tuning is not None:
        try:
            values = read_tuning(tuning)
        except Unreadable as error:
            problems.append(error.problem)
    reference = reference or shipped()
    fitted, wrong = read_pipelines(pipelines, {**reference.lists, **(lists or {})})
    problems += wrong
    rules = build(
        documents,
        fields=fields,
        problems=problems,
        strict=strict,
        tuning=values,
        # One file may tune the shipped rules and others: without the shipped ones part of it idles.
        whole=builtin,
        pipelines=fitted,
        reference=reference,
    )
    return rules.beside_sessions() if builtin else rules


def documents_of(roots: Iterable[Path]) -> tuple[list[Document], list[Problem]]:
    """The documents of files and folders, and why some could not be read."""
    documents: list[Document] = []
    problems: list[Problem] = []
    known: set[Path] = set()
    for root in roots:
        try:
            for path in files_of(root):
                # A folder and one within it may both be named.
                if (place := path.resolve()) in known:
                    continue
                known.add(place)
                try:
                    documents += read(path)
                except Unreadable as error:
                    problems.append(error.problem)
        except Unreadable as error:
            problems.append(error.problem)
    return documents, problems


def build(
    documents: Sequence[Document],
    *,
    fields: FieldMap = ACTIONS,
    problems: Sequence[Problem] = (),
    strict: bool = True,
    tuning: Tuning = UNTUNED,
    whole: bool = True,
    pipelines: Pipelines | None = None,
    reference: Reference | None = None,
) -> RuleSet:
    """The rules of documents already read, tuned (see `tuned`); the rest as `load`."""
    builder = _Builder(fields, pipelines or Pipelines())
    documents, torn = templates.whole(documents)
    documents = builder.translated(documents)
    documents, untunable = tuned(documents, tuning, whole=whole)
    builder.problems += [*problems, *torn, *untunable]
    builder.take(documents)
    if builder.problems and strict:
        raise RuleErrors(builder.problems)
    versions = sorted(f"{rule.meta.rule_id}:{rule.meta.version}" for rule in builder.rules)
    return RuleSet(
        rules=builder.rules,
        detections=builder.detections,
        fields=fields,
        rules_hash=plain_id(*versions),
        refused=sorted(set(builder.problems)),
        skipped=sorted(builder.skipped),
        notes=sorted(builder.notes),
        reference=reference or shipped(),
    )


class _CircularReference(RefusedDocument):
    """A chain of correlations that comes back to where it began."""


class _Builder:
    """Takes documents one after the other, keeps rules and problems."""

    def __init__(self, fields: FieldMap, pipelines: Pipelines) -> None:
        self.fields = fields
        self.rules: list[Rule] = []
        self.detections: list[Detection] = []
        self.problems: list[Problem] = []
        self.skipped: list[Problem] = []
        self.notes: list[Problem] = []
        self._pipelines = pipelines
        self._filters: list[Filter] = []
        self._by_name: dict[str, list[int]] = {}
        self._versions: list[str] = []
        # Correlations by name, and those made of them; None while one is being made.
        self._correlated: dict[str, Document] = {}
        self._made: dict[str, Correlation | None] = {}
        self._broken: set[str] = set()
        self._foreign: set[str] = set()
        self._seen: dict[str, Document] = {}
        # Rules that filters can be added to, with their log sources.
        self._filterable: list[tuple[Document, SigmaLogSource]] = []

    def translated(self, documents: Sequence[Document]) -> list[Document]:
        """The documents, those of other formats as documents of ours."""
        made: list[Document] = []
        for document in documents:
            if not atr.is_atr(document):
                made.append(document)
            elif self.fields.columns is None:
                self._skip(document, "Agent Threat Rules are asked of actions, not of raw logs")
            else:
                self._try(document, lambda doc: made.extend(atr.translated(doc)), unique=False)
        return made

    def take(self, documents: Sequence[Document]) -> None:
        """Filters first, then base rules: what refers to others may stand before them."""
        filters = [doc for doc in documents if "filter" in doc.data]
        correlated = [doc for doc in documents if "correlation" in doc.data]
        plain = [doc for doc in documents if not doc.data.keys() & {"filter", "correlation"}]
        referred = {name for doc in correlated for name in _references(doc) if not _generates(doc)}
        for document in filters:
            self._try(document, lambda doc: self._filters.append(filter_of(doc)))
        for document in plain:
            self._try(document, lambda doc: self._plain(doc, referred))
        self._correlated = {name: doc for doc in correlated for name in doc.names}
        for document in correlated:
            self._try(document, lambda doc: self._correlation(doc, referred))
        for found in self._filters:
            self._try(found.document, lambda _, found=found: self._used(found), unique=False)

    def _try(self, document: Document, make: Any, *, unique: bool = True) -> None:
        try:
            if unique:
                self._unique(document)
            make(document)
        except RefusedDocument as refused:
            for one in (refused, *refused.more):
                place = one.document or document
                self.problems.append(place.problem(str(one), *one.keys))
            self._broken |= set(document.names)

    def _unique(self, document: Document) -> None:
        for name in document.names:
            first = self._seen.get(name)
            if first is not None and not (first.part and document.part):
                raise RefusedDocument(
                    f"{name} is already the rule at {first.file}:{first.line}", "id"
                )
            self._seen[name] = document

    def _used(self, found: Filter) -> None:
        why = idle(found, *zip(*self._filterable, strict=True)) if self._filterable else "no rules"
        if why and not self._broken & (found.rules or set()):
            raise RefusedDocument(f"this filter would do nothing: {why}", "filter", "rules")

    def _plain(self, document: Document, referred: set[str]) -> None:
        if "detection" not in document.data:
            raise RefusedDocument("neither detection nor correlation: this is no rule")
        timed = [name for name in _TIMED if name in _section(document)]
        if timed:
            raise RefusedDocument(f"{timed[0]} is of correlations only", "tacho", timed[0])
        at = self._detection(document)
        if at is None:
            return
        if referred.isdisjoint(document.names) or _speaks(document):
            meta = self._meta(document, "stateless", self._versions[at])
            self.rules.append(Stateless(meta, at))
            self._show(meta, [at])

    def _detection(self, document: Document) -> int | None:
        """Place of its detection; None if these events are not of its log source."""
        found = detected(document, self._pipelines, self._filters)
        self._filterable.append((document, found.original))
        source = logsources.foreign(found.logsource, self.fields)
        if source is not None:
            self._skip(document, f"log source {source} is not that of agents' actions")
            return None
        try:
            names = fields_of(found.condition)
            self._lowers(found.condition)
        except UnknownField as error:
            raise RefusedDocument(str(error), "detection") from error
        lost = self._lost(found, names)
        if lost:
            self._skip(document, lost)
            return None
        at = len(self.detections)
        title = str(document.data.get("title", "untitled"))
        self.detections.append(
            Detection(title, title, found.condition, names, document.file, document.line)
        )
        self._versions.append(found.version)
        for name in document.names:
            self._by_name.setdefault(name, []).append(at)
        self.notes += [document.problem(note, "detection") for note in found.notes]
        return at

    def _lost(self, found: Detected, names: Sequence[str]) -> str | None:
        """Why a rule that was fitted to actions from another log source can still not be asked."""
        if logsources.foreign(found.original, self.fields) is None:
            return None
        for name in names:
            attribute = self.fields.source(name).attribute
            if attribute is not None and not name.startswith("attributes."):
                return f"field {name} of another log source has no counterpart in an action"
        return None

    def _skip(self, document: Document, reason: str) -> None:
        self.skipped.append(document.problem(reason, "logsource"))
        self._foreign |= set(document.names)

    def _lowers(self, condition: Any) -> None:
        """Compile once against the known columns: what cannot be compiled is refused now, not
        later.
        """
        columns = dict(self.fields.columns or {})
        Lowering(columns, self.fields, of_each_type=True).expression(condition)

    def _correlation(self, document: Document, referred: set[str]) -> None:
        foreign = self._unasked(document)
        if foreign is not None:
            self._skip(document, f"refers to {foreign}, which is not asked itself")
            return
        rule = self._correlated_by(document)
        if referred.isdisjoint(document.names) or _speaks(document):
            self.rules.append(rule)

    def _unasked(self, document: Document, above: frozenset[str] = frozenset()) -> str | None:
        """A rule that it rests on, directly or through others, and that is not asked."""
        for name in _references(document):
            if name in self._foreign:
                return name
            inner = self._correlated.get(name)
            if inner is not None and name not in above and self._unasked(inner, above | {name}):
                return name
        return None

    def _correlated_by(self, document: Document) -> Correlation:
        """The correlation of a document, made once; those that it rests on before it."""
        # A file's document may have been made several correlations.
        asked = semantic_hash(document.data["correlation"])
        place = f"{document.file}:{document.line}:{asked}"
        if place in self._made:
            made = self._made[place]
            if made is None:
                raise _CircularReference("refers to itself in the end", "correlation", "rules")
            return made
        self._made[place] = None
        try:
            rule = self._made[place] = self._read(document)
        except RefusedDocument:
            del self._made[place]
            raise
        self._show(rule.meta, rule.detections)
        return rule

    def _read(self, document: Document) -> Correlation:
        try:
            fitted = self._pipelines.correlation(document)
        except SigmaError as error:
            raise RefusedDocument(in_words(error), "correlation") from error
        return correlation_of(
            fitted,
            self.fields,
            self._referred,
            lambda kind, version: self._meta(document, kind, version),
        )

    def _show(self, meta: Meta, detections: Iterable[int]) -> None:
        """What decides the severity is shown of each event, before what was asked of it."""
        for at in detections:
            one = self.detections[at]
            shown = list(dict.fromkeys([*meta.tacho.severity_by, *one.fields]))
            self.detections[at] = msgspec.structs.replace(one, fields=shown)

    def _referred(self, name: str) -> Target:
        if name in self._broken:
            raise RefusedDocument(
                f"refers to {name}, which has a problem itself", "correlation", "rules"
            )
        found = self._by_name.get(name, [])
        if found:
            names = self._seen[name].names
            return Target(names, found, None, plain_id(*(self._versions[at] for at in found)))
        if name not in self._correlated:
            raise RefusedDocument(
                f"refers to {name}, which is no rule that is loaded", "correlation", "rules"
            )
        document = self._correlated[name]
        try:
            inner = self._correlated_by(document)
        except _CircularReference:
            raise
        except RefusedDocument as refused:
            raise RefusedDocument(
                f"refers to {name}, which has a problem itself", "correlation", "rules"
            ) from refused
        return Target(document.names, [], inner, inner.meta.version)

    def _meta(self, document: Document, kind: Judged, version: str) -> Meta:
        data = document.data
        level = str(data.get("level", "medium")).lower()
        if level not in SEVERITIES:
            raise RefusedDocument(f"level {level} is none of {', '.join(SEVERITIES)}", "level")
        try:
            tacho = msgspec.convert(data.get("tacho") or {}, Tacho)
        except msgspec.ValidationError as error:
            raise RefusedDocument(f"section tacho: {error}", "tacho") from error
        severity: Severity = next(known for known in SEVERITIES if known == level)
        rule_id = next(iter(document.names), None) or plain_id(str(data.get("title")), version)
        tags = [str(tag) for tag in data.get("tags") or []]
        return Meta(
            rule_id=rule_id,
            version=version,
            title=str(data.get("title", rule_id)),
            severity=severity,
            kind=kind,
            tags=tags,
            tacho=tacho,
            file=document.file,
            line=document.line,
            name=str(data["name"]) if data.get("name") else None,
        )


def _references(document: Document) -> list[str]:
    """What a correlation refers to: the rules it lists, or else those that its condition names."""
    correlation = document.data["correlation"]
    if not isinstance(correlation, dict):
        return []
    rules, condition = correlation.get("rules"), correlation.get("condition")
    if isinstance(rules, str):
        return [rules]
    if isinstance(rules, list):
        return [str(name) for name in rules]
    words = _NAMES.findall(condition) if isinstance(condition, str) else []
    return [word for word in words if word not in {"and", "or", "not"}]


def _generates(document: Document) -> bool:
    """The rules referred to speak for themselves too."""
    correlation = document.data["correlation"]
    return isinstance(correlation, dict) and correlation.get("generate") is True


def _section(document: Document) -> dict[str, Any]:
    tacho = document.data.get("tacho")
    return tacho if isinstance(tacho, dict) else {}


def _speaks(document: Document) -> bool:
    return _section(document).get("standalone") is True
