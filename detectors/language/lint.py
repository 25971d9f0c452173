"""Everything that is wrong or amiss in rule files, at once.

An error is what stops a rule from working as written, or what the shipped pack does not allow
itself. A hint is advice. What the loader refuses is an error; the rest is found here, in documents
that it may well load.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import msgspec

from tachograph.detectors.language import templates
from tachograph.detectors.language.atr import is_atr
from tachograph.detectors.language.fields import ACTIONS, ALIASES, RAW, FieldMap, UnknownField
from tachograph.detectors.language.frameworks import invented, known_tags
from tachograph.detectors.language.pipelines import Pipelines
from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.rulefile import Document, Problem, RefusedDocument
from tachograph.detectors.language.ruleset import BUILTIN, RuleSet, build, documents_of
from tachograph.detectors.language.sample_rows import ActionShape, Shape
from tachograph.detectors.language.samples import Case, fields_asked, samples_of
from tachograph.detectors.language.tuning import UNTUNED, Tuning, unused
from tachograph.detectors.reference.reference import Reference

Level = Literal["error", "hint"]
MIN_SAMPLES = 2
# A name within an expression.
_WORD = re.compile(r"[^\s()]+")
# What an analyst needs of a shipped rule.
_ASKED_OF_PACK = ("detection", "runbook", "owner_team", "lookalikes", "source")


class Remark(msgspec.Struct, frozen=True, order=True):
    """One thing found. Lines from 1; 0: the whole file."""

    file: str
    line: int
    level: Level
    reason: str

    def __str__(self) -> str:
        hint = "hint: " if self.level == "hint" else ""
        return f"{self.file}:{self.line}: {hint}{self.reason}"


class Linted(msgspec.Struct, frozen=True):
    """What a look at rule files found."""

    rules: int
    remarks: list[Remark]

    @property
    def errors(self) -> int:
        """How many remarks are errors."""
        return sum(remark.level == "error" for remark in self.remarks)


class Looked(msgspec.Struct, frozen=True):
    """Rules of some files, above shipped ones that they may refer to. `actions` are asked of
    actions, `logs` of logs of other kinds; `refused`: what is wrong with the documents.
    """

    documents: list[Document]
    refused: list[Problem]
    actions: RuleSet
    logs: RuleSet

    def spoken(self) -> Iterator[tuple[Rule, RuleSet]]:
        """Rules of the documents that speak for themselves, each with its set. One of several
        parts comes part by part.
        """
        files = {document.file for document in self.documents}
        done: set[str] = set()
        for rules in (self.actions, self.logs):
            new = [one for one in rules.rules if one.meta.file in files]
            yield from ((one, rules) for one in new if one.meta.rule_id not in done)
            done |= {one.meta.rule_id for one in new}


def look(
    roots: Sequence[Path],
    *,
    tuning: Tuning = UNTUNED,
    pipelines: Pipelines | None = None,
    reference: Reference | None = None,
    pack: Path = BUILTIN,
) -> Looked:
    """Load the rules of files and folders, as far as that goes; without any, the shipped pack."""
    mine, unreadable = documents_of(roots or [pack])
    files = {Path(document.file).resolve() for document in mine}
    shipped = [doc for doc in documents_of([pack])[0] if Path(doc.file).resolve() not in files]
    if tuning is UNTUNED and not any("filter" in document.data for document in mine):
        shipped = _needed(mine, shipped)

    def built(fields: FieldMap) -> RuleSet:
        return build(
            [*shipped, *mine],
            fields=fields,
            problems=unreadable,
            strict=False,
            tuning=tuning,
            pipelines=pipelines,
            reference=reference,
        )

    actions = built(ACTIONS)
    named = {document.file for document in mine}
    logs = built(RAW) if any(one.file in named for one in actions.skipped) else actions
    theirs = {document.file for document in shipped}
    refused = {one for one in (*actions.refused, *logs.refused) if one.file not in theirs}
    return Looked(templates.whole(mine)[0], sorted(refused), actions, logs)


def _needed(mine: Sequence[Document], others: Sequence[Document]) -> list[Document]:
    """Of other documents whole files: those that have names of mine or that mine name, those that
    these name in turn, and those with filters, which may be for any rule.
    """
    files: dict[str, list[Document]] = {}
    for document in others:
        files.setdefault(document.file, []).append(document)
    by_name = {name: document.file for document in others for name in document.names}
    kept = {document.file for document in others if "filter" in document.data}
    todo = [*mine, *(document for file in kept for document in files[file])]
    while todo:
        document = todo.pop()
        named = {by_name[name] for name in _naming(document) if name in by_name} - kept
        kept |= named
        todo += [document for file in named for document in files[file]]
    return [document for document in others if document.file in kept]


def _naming(document: Document) -> set[str]:
    """Its names, and every text and word that may be the name of a rule it refers to."""
    texts = set(_texts([document.data.get(key) for key in ("correlation", "filter")]))
    return {*document.names, *texts, *_WORD.findall(" ".join(texts))}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif value is not None:
        yield str(value)


def lint(looked: Looked, logs: Shape, *, pack: Path = BUILTIN) -> Linted:
    """What is wrong and amiss in the documents; more is asked of those that lie in the pack.
    `logs`: how samples are made of events that are no actions.
    """
    files = {document.file for document in looked.documents}
    skipped = [problem for problem in looked.actions.skipped if problem.file in files]
    remarks = {_remark(problem, "error") for problem in looked.refused}
    remarks |= {_remark(problem, "hint") for problem in skipped}
    # Of a rule in several parts the first, which has what it says of itself.
    parts = [*looked.spoken()][::-1]
    spoken = {(rule.meta.file, rule.meta.line): (rule, of) for rule, of in parts}
    actions = ActionShape(fields_asked(looked.actions))
    for document in looked.documents:
        rule, rules = spoken.get((document.file, document.line), (None, looked.actions))
        shape: Shape = actions if rules is looked.actions else logs
        ours = pack.resolve() in Path(document.file).resolve().parents
        remarks |= set(_of_document(document, rule, shape, rules.fields, ours=ours))
    return Linted(len(spoken), sorted(remarks))


def _remark(problem: Problem, level: Level) -> Remark:
    return Remark(problem.file, problem.line, level, problem.reason)


def _of_document(
    document: Document,
    rule: Rule | None,
    shape: Shape,
    fields: FieldMap,
    *,
    ours: bool,
) -> Iterator[Remark]:
    """What is amiss in one document, whether or not it was loaded. `rule`: what it became, if it
    speaks for itself.
    """
    graver: Level = "error" if ours else "hint"
    for level, reason, *keys in (
        *_of_tags(document, spoken=ours and rule is not None),
        *(("error", *found) for found in _of_knobs(document)),
        *(("hint", *found) for found in _of_fields(document, fields)),
        *_of_samples(document, rule, shape, graver),
        *(("error", *found) for found in (_of_pack(document, rule) if ours and rule else ())),
    ):
        problem = document.problem(reason, *keys)
        yield Remark(problem.file, problem.line, "error" if level == "error" else "hint", reason)


def _of_tags(document: Document, *, spoken: bool) -> Iterator[tuple[str, ...]]:
    """`spoken`: a shipped rule, which cites what it can name, and nothing else."""
    tags = [str(tag) for tag in document.data.get("tags") or []]
    for tag in tags:
        if invented(tag):
            near = difflib.get_close_matches(tag.lower(), known_tags(), 1)
            yield "error", f"tag {tag} is no id of its framework{_meant(near)}", "tags"
        elif spoken and tag not in known_tags():
            yield "error", f"tag {tag}: shipped rules cite the known frameworks alone", "tags"
    if spoken and not tags:
        yield "error", "a shipped rule cites what it covers in tags", "title"


def _of_knobs(document: Document) -> Iterator[tuple[str, ...]]:
    try:
        for name in unused(document):
            reason = f"knob {name} stands nowhere in the rule: write ${name} where its value goes"
            yield reason, "tacho", "tuning", name
    except RefusedDocument:
        return  # the loader has said so


def _of_fields(document: Document, fields: FieldMap) -> Iterator[tuple[str, ...]]:
    """Names that are no field: they are looked for among the attributes, and may be misspelt."""
    if fields.columns is None or is_atr(document):
        return
    known = [*(name.replace("_", ".") for name in fields.columns), *fields.columns, *ALIASES]
    said: set[str] = set()
    for name, *keys in _named_fields(document.data):
        if name in said:
            continue
        said.add(name)
        try:
            attribute = fields.source(name).attribute
        except UnknownField:
            continue  # the loader has said so
        if attribute is None or name == "attributes" or name.startswith("attributes."):
            continue
        near = difflib.get_close_matches(name, known, 1, 0.8)
        reason = f"{name} is no field of an action: looked for among its attributes{_meant(near)}"
        yield reason, *keys


def _meant(near: Sequence[str]) -> str:
    return f"; did you mean {near[0]}?" if near else ""


def _named_fields(data: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Field names of a Sigma document, each with the keys of where it stands."""
    detection = data.get("detection")
    for name, selection in detection.items() if isinstance(detection, dict) else ():
        if name in {"condition", "timeframe"}:
            continue
        listed = isinstance(selection, list)
        for at, one in enumerate(selection if listed else [selection]):
            place = ["detection", str(name), *([str(at)] if listed else [])]
            for key in one if isinstance(one, dict) else ():
                field = str(key).partition("|")[0]
                if field:
                    yield field, *place, str(key)
    correlation = data.get("correlation")
    if isinstance(correlation, dict):
        groups = correlation.get("group-by") or []
        aliases = correlation.get("aliases")
        known = set(aliases) if isinstance(aliases, dict) else set()
        for field in groups if isinstance(groups, list) else [groups]:
            if str(field) not in known:
                yield str(field), "correlation", "group-by"


def _of_samples(
    document: Document, rule: Rule | None, shape: Shape, graver: Level
) -> Iterator[tuple[str, ...]]:
    """`graver`: how bad it is to have too few."""
    keys = ("tacho", "samples")
    if rule is None:
        tacho = document.data.get("tacho")
        if isinstance(tacho, dict) and tacho.get("samples"):
            yield "hint", "its samples are not judged: the rule does not speak for itself", *keys
        return
    samples = list(samples_of(rule, shape))
    for wanted, name, what in ((True, "match", "match"), (False, "no_match", "leave alone")):
        count = sum(sample.wanted is wanted for sample in samples)
        if count < MIN_SAMPLES:
            reason = f"{count} of at least {MIN_SAMPLES} samples that it must {what}"
            yield graver, reason, *keys, name
    for sample in samples:
        if isinstance(sample, Case):
            yield "error", f"{sample.case}: {sample.reason}", *keys


def _of_pack(document: Document, rule: Rule) -> Iterator[tuple[str, ...]]:
    for name in _ASKED_OF_PACK:
        if not getattr(rule.meta.tacho, name):
            yield f"a shipped rule says its {name}", "tacho"
    if not _is_uuid(rule.meta.rule_id):
        yield "the id of a shipped rule is a UUID", "id"
    if not document.data.get("description"):
        yield "a shipped rule says what it finds in description", "title"


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
