"""`tacho rules explain`: why a rule matched an event of a file, or what stood in the way."""

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import msgspec
import polars as pl

from tachograph.detectors.explain import Part
from tachograph.detectors.facts import MAX_SAID_CHARS
from tachograph.detectors.language.conditions import And
from tachograph.detectors.language.fields import ACTIONS, RAW, FieldMap
from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.language.sample_rows import ActionShape
from tachograph.detectors.language.samples import (
    Sample,
    fields_asked,
    samples_of,
)
from tachograph.detectors.language.wording import worded
from tachograph.detectors.prepare import DEFAULT_TENANT, Preparation
from tachograph.detectors.reference.reference import above_shipped, of_tenant
from tachograph.pipeline.backtest.actions import StoredActions
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.rules.asked import Asked, asked_by
from tachograph.pipeline.rules.events import Events, Explained
from tachograph.pipeline.rules.loading import Sources, find
from tachograph.pipeline.scan.feed import feeder
from tachograph.pipeline.scan.inputs import Chunk, Format, chunks, detect
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.clickhouse import Connection


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    rule: str
    sources: Sources
    file: Path | None = None
    format: str = "auto"
    event_id: str | None = None
    index: int | None = None
    sample: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    rule_id: str
    title: str
    events: int
    matched: int
    explained: list[Explained]


def run_explain(question: Question, *, as_json: bool, sink: TextIO) -> None:
    """Explain events of a file, a sample of the rule, or a stored action by its id; without any,
    what the rule asks. Raises ConfigError, and RetryLater where ClickHouse does not answer.
    """
    if question.file is None and question.sample is None and question.event_id is None:
        rule, rules = _rule(question, RAW if question.format == "raw" else ACTIONS)
        asked = asked_by(rule, rules, question.sources)
        sink.write("\n".join([rule.meta.title, *(line for a in asked for line in _asks(a)), ""]))
        return
    answer = _answer(question)
    sink.write(msgspec.json.encode(answer).decode() + "\n" if as_json else _text(answer))


def _answer(question: Question) -> Answer:
    if question.file is not None:
        kind, frames = _frames(question.file, question.format)
        rule, rules = _rule(question, RAW if kind == "raw" else ACTIONS)
    else:
        rule, rules = _rule(question, ACTIONS)
        if question.sample is not None:
            sample = _sample(rule, rules, question.sample)
            rules = rules.knowing(above_shipped([of_tenant(sample.reference, DEFAULT_TENANT)]))
            frames = iter([_events_of(sample)])
        else:
            frames = iter([_stored(rules.only([rule]), question.event_id or "")])
    asked = asked_by(rule, rules, question.sources)
    events = Events(asked, rules.only([rule]), event_id=question.event_id, index=question.index)
    for frame in frames:
        events.take(frame)
    explained = list(events.explained())
    meta = rule.meta
    return Answer(
        rule_id=meta.rule_id,
        title=meta.title,
        events=events.events,
        matched=events.matched,
        explained=explained,
    )


def _rule(question: Question, fields: FieldMap) -> tuple[Rule, RuleSet]:
    rules = question.sources.rules(fields)
    return find(rules, question.rule), rules


def _sample(rule: Rule, rules: RuleSet, name: str | None) -> Sample:
    """A sample of the rule. Raises ConfigError."""
    samples = samples_of(rule, ActionShape(fields_asked(rules)))
    found = {one.name: one for one in samples if isinstance(one, Sample)}
    if name not in found:
        raise ConfigError(f"no sample {name} of {rule.meta.title}; there is {', '.join(found)}")
    return found[name]


def _events_of(sample: Sample) -> pl.DataFrame:
    places = [{"event_id": f"{at:032x}", "raw_offset": at} for at in range(len(sample.rows))]
    rows = [row | place for row, place in zip(sample.rows, places, strict=True)]
    return ActionShape().frame(rows)


def _stored(rules: RuleSet, event_id: str) -> pl.DataFrame:
    """The action of this id, as ClickHouse has it."""
    reads = Preparation(rules.columns, rules.fields, rules.reference).reads
    with Connection(Settings.from_env().clickhouse) as connection:
        return StoredActions(connection, reads).of_id(event_id)


def _frames(path: Path, kind: str) -> tuple[Format, Iterator[pl.DataFrame]]:
    """The events of a file, in batches, and what kind of lines it has."""
    settings = Settings.from_env()
    read = chunks(path)
    first = next(read, None)
    if first is None:
        raise ConfigError(f"{path} is empty")
    found: Format = detect(first.lines) if kind == "auto" else kind  # type: ignore[assignment]
    made_by = feeder(found, settings.home, settings.tenant, None)

    def batches(chunk: Chunk) -> Iterator[pl.DataFrame]:
        yield made_by.feed(chunk).frame
        for more in read:
            yield made_by.feed(more).frame

    return found, batches(first)


def _text(answer: Answer) -> str:
    lines = [f"{answer.title}: {answer.matched:,} of {answer.events:,} events matched"]
    for event in answer.explained:
        lines += _told(event)
    return "\n".join([*lines, ""])


def _asks(asked: Asked) -> Iterator[str]:
    """What a rule asks, for a person."""
    yield f"  {asked.title}: {asked.condition or worded(asked.node)}"
    for name, node in asked.selections.items():
        parts = node.parts if isinstance(node, And) else (node,)
        yield f"    {name}"
        yield from (f"      {worded(part)}" for part in parts)


def _told(event: Explained) -> Iterator[str]:
    """An event's explanation, as lines for a person."""
    place = event.event_id if event.event_index is None else f"{event.event_index}"
    yield f"event {place} of {event.event_time}: {'matched' if event.matched else 'no match'}"
    for step in event.steps:
        yield f"  {_mark(holds=step.holds)} {step.title}: {step.condition}"
        for name, part in step.selections.items():
            yield f"    {_mark(holds=part.holds)} {name}"
            if part.holds or not step.holds:
                yield from _parts(part, 6)
        if step.why is not None:
            yield from _parts(step.why, 4)


def _parts(part: Part, indent: int) -> Iterator[str]:
    mark = _mark(holds=part.holds)
    if part.field is not None and part.found is None and not part.holds:
        yield f"{' ' * indent}{mark} {part.field} has no value"
    elif not part.parts:
        found = "" if part.found is None else f"   found: {_shown(part.found)}"
        yield f"{' ' * indent}{mark} {part.asked}{found}"
    for inner in part.parts:
        yield from _parts(inner, indent)
    if part.more:
        yield f"{' ' * indent}… and {part.more} more"


def _mark(*, holds: bool) -> str:
    return "✓" if holds else "✗"


def _shown(found: str) -> str:
    clean = "".join(char if char.isprintable() else "·" for char in found)
    return f"'{clean}'{'…' if len(found) >= MAX_SAID_CHARS else ''}"
