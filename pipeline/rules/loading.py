"""Rules for the verbs: loaded, with the errors of the pipeline, and found by what people call
them.
"""

from collections.abc import Sequence
from pathlib import Path

from tachograph.detectors.language.fields import ACTIONS, FieldMap
from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.rulefile import Unreadable
from tachograph.detectors.language.ruleset import RuleErrors, RuleSet, load
from tachograph.detectors.language.tuning import UNTUNED, Tuning, read_tuning
from tachograph.pipeline.errors import ConfigError

# Rules named when more than one could be meant.
_NAMED = 8


def rules_of(
    paths: Sequence[Path],
    *,
    builtin: bool = True,
    tuning: Path | None = None,
    fields: FieldMap = ACTIONS,
) -> RuleSet:
    """The shipped rules and those of the paths. Raises ConfigError with every problem."""
    try:
        return load(paths, builtin=builtin, tuning=tuning, fields=fields)
    except RuleErrors as error:
        raise ConfigError(str(error)) from error


def tuning_of(path: Path | None) -> Tuning:
    """An operator's values. Raises ConfigError."""
    if path is None:
        return UNTUNED
    try:
        return read_tuning(path)
    except Unreadable as error:
        raise ConfigError(str(error)) from error


def find(rules: RuleSet, wanted: str) -> Rule:
    """The rule called so (id, name, title, catalogue number), or the only one that begins so.

    Raises ConfigError that names those that could be meant.
    """
    called = {id(rule): _called(rule) for rule in rules.rules}
    exact = [rule for rule in rules.rules if wanted in called[id(rule)]]
    begun = [
        rule
        for rule in rules.rules
        if any(name.lower().startswith(wanted.lower()) for name in called[id(rule)])
    ]
    found = exact or begun
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"no rule {wanted}; `tacho rules list` shows those there are")
    names = ", ".join(f"{rule.meta.rule_id} ({rule.meta.title})" for rule in found[:_NAMED])
    raise ConfigError(f"{wanted} could be {names}{', …' if len(found) > _NAMED else ''}")


def _called(rule: Rule) -> list[str]:
    meta = rule.meta
    return [name for name in (meta.rule_id, meta.name, meta.title, meta.tacho.detection) if name]
