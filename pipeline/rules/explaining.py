"""`tacho rules explain`: why a rule matched an event of a file, or what stood in the way."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TextIO

import msgspec
import polars as pl

from tachograph.detectors.explain import Part
from tachograph.detectors.facts import MAX_SAID_CHARS
from tachograph.detectors.language.conditions import And
from tachograph.detectors.language.fields import ACTIONS, RAW, FieldMap
from tachograph.detectors.language.rule import Correlation, Rule
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
from tachograph.detectors.sql.correlations import ahead_us, lead_us
from tachograph.pipeline.backtest.actions import StoredActions
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize.formats.registry import Formats
from tachograph.pipeline.query.place import served
from tachograph.pipeline.rules.asked import Asked, asked_by
from tachograph.pipeline.rules.events import Events, Explained
from tachograph.pipeline.rules.loading import Sources, find
from tachograph.pipeline.rules.windows import Watched, Windows, check_names, wanted_groups
from tachograph.pipeline.rules.windows_text import windows_text
from tachograph.pipeline.scan.feed import Fed, feeder
from tachograph.pipeline.scan.inputs import Format, as_lines, chunks, detect
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
    groups: list[str] = []


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    rule_id: str
    title: str
    events: int
    matched: int
    explained: list[Explained]
    # Of a rule over several actions: how its groups stand.
    windows: Windows | None = None


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
        kind, batches = _batches(question.file, question.format)
        rule, rules = _rule(question, RAW if kind == "raw" else ACTIONS)
    else:
        rule, rules = _rule(question, ACTIONS)
        if question.sample is not None:
            sample = _sample(rule, rules, question.sample)
            rules = rules.knowing(above_shipped([of_tenant(sample.reference, DEFAULT_TENANT)]))
            batches = iter([_fed(_events_of(sample))])
        else:
            batches = _stored(rule, rules.only([rule]), question.event_id or "")
    return _explained(question, rule, rules, batches)


def _explained(question: Question, rule: Rule, rules: RuleSet, batches: Iterator[Fed]) -> Answer:
    """What comes of events for a rule of the set."""
    asked, own = asked_by(rule, rules, question.sources), rules.only([rule])
    events = Events(asked, own, event_id=question.event_id, index=question.index)
    wanted = wanted_groups(question.groups)
    [alone] = own.rules
    watched = None
    if isinstance(alone, Correlation):
        check_names(alone, wanted)
        watched = Watched(alone, own)
    elif wanted:
        raise ConfigError(f"{rule.meta.title} is on single events: it has no groups")
    for fed in batches:
        events.take(fed.frame)
        if watched is not None:
            watched.take(fed)
    explained = [] if wanted and not events.named else list(events.explained())
    ids = [one.event_id for one in explained] if events.named else []
    return Answer(
        rule_id=rule.meta.rule_id,
        title=rule.meta.title,
        events=events.events,
        matched=events.matched,
        explained=explained,
        windows=None if watched is None else watched.told(wanted, ids),
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


def _fed(frame: pl.DataFrame) -> Fed:
    return Fed(frame, [], [])


def _stored(rule: Rule, rules: RuleSet, event_id: str) -> Iterator[Fed]:
    """The action of this id, as ClickHouse has it; of a rule over several actions those around it,
    too. `rules`: with this rule alone.
    """
    reads = Preparation(rules.columns, rules.fields, rules.reference).reads
    kept = [*reads, "tenant", "partition_key"]
    with (
        served(Settings.from_env()) as place,
        Connection(place, reads_only=True) as connection,
    ):
        stored = StoredActions(connection, kept)
        action = stored.of_id(event_id)
        if isinstance(rule, Correlation) and not action.is_empty():
            home = ["tenant"] if rule.across else ["tenant", "partition_key"]
            moment: datetime = action["event_time"][0]
            since = moment - timedelta(microseconds=lead_us(rule))
            until = moment + timedelta(microseconds=ahead_us(rule) + 1)
            for frame, _ in stored.pages(since, until):
                yield _fed(frame.join(action.select(home), home, "semi", nulls_equal=True))
        else:
            yield _fed(action)


def _batches(path: Path, kind: str) -> tuple[Format, Iterator[Fed]]:
    """The events of a file, in batches, and what kind of lines it has."""
    settings = Settings.from_env()
    read = chunks(path)
    first = next(read, None)
    if first is None:
        raise ConfigError(f"{path} is empty")
    first, formats = as_lines(first), Formats()
    found: Format = detect(first.lines, formats) if kind == "auto" else kind
    made_by = feeder(found, settings.home, settings.tenant, None, formats=formats, path=path)
    return found, map(made_by.feed, itertools.chain([first], read))


def _text(answer: Answer) -> str:
    lines = [f"{answer.title}: {answer.matched:,} of {answer.events:,} events matched"]
    for event in answer.explained:
        lines += _told(event)
    if answer.windows is not None:
        lines += windows_text(answer.windows)
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
