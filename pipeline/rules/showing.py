"""`tacho rules show`: one rule, as a person or a program wants to know it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import msgspec

from tachograph.detectors.language.frameworks import known_tags
from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.rulefile import Document, read
from tachograph.detectors.language.sample_rows import ActionShape
from tachograph.detectors.language.samples import Case, fields_asked, samples_of
from tachograph.detectors.language.tuning import Tuning
from tachograph.pipeline.rules.loading import Sources, find_anywhere, tuning_of


class Shown(msgspec.Struct, frozen=True):
    """What is told of a rule. `knobs`: value in force, default, unit and meaning, by name."""

    rule_id: str
    title: str
    description: str
    severity: str
    kind: str
    risk_category: str
    confidence: int
    version: str
    file: str
    line: int
    fields: list[str]
    frameworks: dict[str, str]
    knobs: dict[str, dict[str, Any]]
    runbook: str | None
    owner_team: str | None
    lookalikes: list[str]
    false_positives: list[str]
    source: list[str]
    samples: dict[str, int]


def run_show(wanted: str, sources: Sources, *, as_json: bool, sink: TextIO) -> None:
    """Print the rule. Raises ConfigError when there is none, or more than one."""
    rule, rules = find_anywhere(sources, wanted)
    asked = rules.only([rule])
    names = sorted(fields_asked(asked))
    shown = _shown(rule, names, tuning_of(sources.tuning))
    sink.write(msgspec.json.encode(shown).decode() + "\n" if as_json else _text(shown))


def _shown(rule: Rule, fields: list[str], tuning: Tuning) -> Shown:
    meta, tacho = rule.meta, rule.meta.tacho
    document = _document(rule)
    said = document.data if document else {}
    samples = [
        one for one in samples_of(rule, ActionShape(frozenset(fields))) if not isinstance(one, Case)
    ]
    given: dict[str, Any] = {}
    for name in reversed(document.names if document else []):
        given |= tuning.values.get(name, {})
    return Shown(
        rule_id=meta.rule_id,
        title=meta.title,
        description=str(said.get("description") or "").strip(),
        severity=meta.severity,
        kind=meta.kind,
        risk_category=tacho.risk_category,
        confidence=tacho.confidence,
        version=meta.version,
        file=meta.file,
        line=meta.line,
        fields=fields,
        frameworks={tag: known_tags().get(tag, "") for tag in meta.tags},
        knobs={
            name: {"value": given.get(name, knob.default), **msgspec.structs.asdict(knob)}
            for name, knob in tacho.tuning.items()
        },
        runbook=tacho.runbook,
        owner_team=tacho.owner_team,
        lookalikes=tacho.lookalikes,
        false_positives=[str(one) for one in said.get("falsepositives") or []],
        source=tacho.source,
        samples={
            "match": sum(sample.wanted for sample in samples),
            "no_match": sum(not sample.wanted for sample in samples),
        },
    )


def _document(rule: Rule) -> Document | None:
    return next((one for one in read(Path(rule.meta.file)) if one.line == rule.meta.line), None)


def _text(shown: Shown) -> str:
    return "\n".join([*_lines(shown), ""])


def _lines(shown: Shown) -> Iterator[str]:
    yield shown.title
    yield f"  id           {shown.rule_id}"
    yield f"  severity     {shown.severity}, confidence {shown.confidence}"
    yield f"  kind         {shown.kind}, risk {shown.risk_category}"
    yield f"  file         {shown.file}:{shown.line}, version {shown.version}"
    yield f"  fields       {', '.join(shown.fields)}"
    yield f"  samples      {shown.samples['match']} match, {shown.samples['no_match']} do not"
    for name, value in (
        ("finds", shown.description),
        ("runbook", shown.runbook),
        ("owner", shown.owner_team),
        ("look-alikes", "; ".join(shown.lookalikes)),
        ("also seen", "; ".join(shown.false_positives)),
        ("source", "; ".join(shown.source)),
    ):
        if value:
            yield f"  {name:<12} {' '.join(value.split())}"
    for tag, meaning in shown.frameworks.items():
        yield f"  cites        {tag}{f': {meaning}' if meaning else ''}"
    for name, knob in shown.knobs.items():
        default = "" if knob["value"] == knob["default"] else f" (default {knob['default']})"
        yield f"  knob         {name} = {knob['value']} {knob['unit']}{default}: {knob['meaning']}"
