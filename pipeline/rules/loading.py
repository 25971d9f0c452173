"""Rules for the verbs: loaded, with the errors of the pipeline, and found by what people call
them.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tachograph.detectors.language import templates
from tachograph.detectors.language.fields import ACTIONS, RAW, FieldMap
from tachograph.detectors.language.lint import Looked, look
from tachograph.detectors.language.pipelines import Pipelines, read_pipelines
from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.rulefile import Document, Unreadable
from tachograph.detectors.language.ruleset import (
    BUILTIN,
    RuleErrors,
    RuleSet,
    build,
    documents_of,
    load,
)
from tachograph.detectors.language.sample_rows import RawShape
from tachograph.detectors.language.tuning import UNTUNED, Tuning, read_tuning, tuned
from tachograph.detectors.reference.reference import Reference
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.reference import reference_in_force
from tachograph.pipeline.scan.raw_frames import RawFrames
from tachograph.pipeline.settings import Settings

# Samples of rules for logs of other kinds, as `scan --format raw` reads such logs.
LOGS = RawShape(lambda: RawFrames().frame)
# Rules named when more than one could be meant.
_NAMED = 8


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where rules come from, as the command line says: beside the shipped ones."""

    paths: list[Path] = []
    builtin: bool = True
    tuning: Path | None = None
    pipelines: list[Path] = []
    reference: list[Path] = []

    def beside(self, rule: str) -> "Sources":
        """The same, and the rule's own file where it is named by that."""
        path = Path(rule)
        if not path.is_file() or path in self.paths:
            return self
        return msgspec.structs.replace(self, paths=[*self.paths, path])

    def known(self) -> Reference:
        """The reference data that is in force. Raises ConfigError."""
        return reference_in_force(Settings.from_env().home, self.reference)

    def rules(self, fields: FieldMap = ACTIONS) -> RuleSet:
        """The rules. Raises ConfigError with every problem."""
        try:
            return load(
                self.paths,
                builtin=self.builtin,
                fields=fields,
                tuning=self.tuning,
                pipelines=self.pipelines,
                reference=self.known(),
            )
        except RuleErrors as error:
            raise ConfigError(str(error)) from error

    def replaced(self, paths: Sequence[Path]) -> RuleSet:
        """The rules, with those of these paths in place of others of the same id or name. Raises
        ConfigError with every problem.
        """
        mine, unreadable = documents_of(paths)
        names = {name for document in mine for name in document.names}
        files = {Path(document.file).resolve() for document in mine}
        roots = [*([BUILTIN] if self.builtin else []), *self.paths]
        others, broken = documents_of(roots)
        kept = [
            document
            for document in others
            if names.isdisjoint(document.names) and Path(document.file).resolve() not in files
        ]
        try:
            return build(
                [*kept, *mine],
                problems=[*unreadable, *broken],
                tuning=tuning_of(self.tuning),
                whole=False,
                pipelines=self.fitting(),
                reference=self.known(),
            )
        except RuleErrors as error:
            raise ConfigError(str(error)) from error

    def look(self, paths: Sequence[Path]) -> Looked:
        """The rules of these paths alone, as far as they load. Raises ConfigError for knobs,
        pipelines or reference data that do not.
        """
        return look(
            paths,
            tuning=tuning_of(self.tuning),
            pipelines=self.fitting(),
            reference=self.known(),
        )

    def documents(self) -> list[Document]:
        """The documents that `rules` reads, with the values of knobs in them."""
        documents, _ = documents_of([*([BUILTIN] if self.builtin else []), *self.paths])
        documents, _ = templates.whole(documents)
        return tuned(documents, tuning_of(self.tuning), whole=False)[0]

    def fitting(self) -> Pipelines:
        """The processing pipelines, with the lists of the reference data. Raises ConfigError."""
        found, problems = read_pipelines(self.pipelines, self.known().lists)
        if problems:
            raise ConfigError(str(RuleErrors(problems)))
        return found


def counted(count: int, what: str) -> str:
    """So many of something, in words."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def tuning_of(path: Path | None) -> Tuning:
    """An operator's values. Raises ConfigError."""
    if path is None:
        return UNTUNED
    try:
        return read_tuning(path)
    except Unreadable as error:
        raise ConfigError(str(error)) from error


def find_anywhere(sources: Sources, wanted: str) -> tuple[Rule, RuleSet]:
    """As `find`, also among rules that are not asked of actions; the rule and its set."""
    rules = sources.rules()
    try:
        return find(rules, wanted), rules
    except ConfigError:
        if not rules.skipped:
            raise
    logs = sources.rules(RAW)
    return find(logs, wanted), logs


def find(rules: RuleSet, wanted: str) -> Rule:
    """The rule called so (id, name, title, catalogue number), or the only one that begins so.

    Raises ConfigError that names those that could be meant.
    """
    exact = [rule for rule in rules.rules if wanted in _called(rule)]
    begun = [rule for rule in rules.rules if _begins(rule, wanted.lower())]
    found = exact or begun
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(
            f"no rule {wanted}; `tacho rules list` shows those there are (what only a correlation"
            " asks is none by itself, unless that has `generate: true`)"
        )
    names = ", ".join(f"{rule.meta.rule_id} ({rule.meta.title})" for rule in found[:_NAMED])
    raise ConfigError(f"{wanted} could be {names}{', …' if len(found) > _NAMED else ''}")


def _called(rule: Rule) -> list[str]:
    """What a person may call it; the file too, if it is a path."""
    meta = rule.meta
    names = (meta.rule_id, meta.name, meta.title, meta.tacho.detection, meta.file)
    return [name for name in names if name]


def _begins(rule: Rule, wanted: str) -> bool:
    return any(name.lower().startswith(wanted) for name in _called(rule) if name != rule.meta.file)
