"""The samples inside rule files: actions that a rule must find, and actions that it must leave
alone.

A sample is an action as flat fields, or a list of them for rules over time. Fields have the names
that rules use (`tool.name`, `tool.args.path`, attributes by their names) or those of Action.
Beside them an entry may say `at_s` (seconds after the first), and `repeat` with `every_s` to stand
for several. What a sample leaves out is filled with one agent and session.

A sample that has more to say is a mapping with `actions` (as above), and `name`, how many `signals`
there must be, or at which `events` (places from 0, repeats counted).

All samples of all rules are judged in one run, each by its own rule and in a tenant of its own,
for which the rule's `samples.reference` is the reference data.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import polars as pl

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.language.sample_rows import ActionShape, Row, Shape
from tachograph.detectors.reference.entries import Content
from tachograph.detectors.reference.reference import above_shipped, content_of, of_tenant
from tachograph.detectors.signals import micros
from tachograph.schemas.alert import Signal

MAX_EVENTS = 10_000
# Actions judged at once; samples are never cut in two.
RUN_EVENTS = 50_000
# So long after the last action everything that waits for time to pass has been said.
_REST = timedelta(days=60)
_START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
_MORE = frozenset({"actions", "name", "signals", "events"})


class Case(msgspec.Struct, frozen=True):
    """One sample of one rule, and what came of it."""

    rule_id: str
    title: str
    case: str
    wanted: bool
    passed: bool
    reason: str = ""
    file: str = ""


class Sample(msgspec.Struct, frozen=True):
    """One sample of one rule: events as rows of a shape, and what is expected of them."""

    rule: Rule
    name: str
    wanted: bool
    rows: list[Row]
    reference: Content = Content()
    signals: int | None = None
    events: list[int] | None = None

    @property
    def names_tenants(self) -> bool:
        """Its actions say themselves whose they are."""
        return any("tenant" in row for row in self.rows)

    def case(self, reason: str = "") -> Case:
        """What came of it; it passed unless there is a reason why not."""
        meta = self.rule.meta
        passed = not reason
        return Case(meta.rule_id, meta.title, self.name, self.wanted, passed, reason, meta.file)


def cases(rules: RuleSet, shape: Shape | None = None) -> Iterator[Case]:
    """Every sample of every rule of the set, judged; in the order of the rules. `shape`: of the
    events; None: actions.
    """
    shape = shape or ActionShape(fields_asked(rules))
    waiting: list[Sample | Case] = []
    events = 0
    for rule in rules.rules:
        for sample in samples_of(rule, shape):
            waiting.append(sample)
            events += len(sample.rows) if isinstance(sample, Sample) else 0
        if events >= RUN_EVENTS:
            yield from _judged(rules, shape, waiting)
            waiting, events = [], 0
    yield from _judged(rules, shape, waiting)


def fields_asked(rules: RuleSet) -> frozenset[str]:
    """Every field that some rule asks for: a sample may name it even if Action does not."""
    return frozenset(name for detection in rules.detections for name in detection.fields)


def samples_of(rule: Rule, shape: Shape) -> Iterator[Sample | Case]:
    """The samples of a rule; one that is broken comes as a case that failed."""
    named = rule.meta.tacho.samples
    for wanted, kind, entries in (
        (True, "match", named.match),
        (False, "no_match", named.no_match),
    ):
        for place, entry in enumerate(entries):
            name = f"{kind}[{place}]"
            try:
                yield _sample(rule, name, entry, shape, wanted=wanted)
            except (ValueError, TypeError) as error:
                yield Sample(rule, name, wanted, []).case(f"broken sample: {error}")


def _sample(rule: Rule, name: str, entry: Any, shape: Shape, *, wanted: bool) -> Sample:
    more: Mapping[str, Any] = {}
    if isinstance(entry, Mapping) and "actions" in entry:
        entry, more = entry["actions"], entry
        strange = sorted(set(more) - _MORE)
        if strange:
            raise ValueError(f"beside actions there may be {', '.join(sorted(_MORE))}: {strange}")
    if not wanted and ("signals" in more or "events" in more):
        raise ValueError("a sample that must not match has no signals")
    rows = _rows(entry, shape)
    signals = msgspec.convert(more.get("signals"), int | None)
    events = msgspec.convert(more.get("events"), list[int] | None)
    if events is not None and not all(0 <= place < len(rows) for place in events):
        raise ValueError(f"events are places from 0 to {len(rows) - 1}")
    reference = content_of(rule.meta.tacho.samples.reference)
    name = str(more.get("name", name))
    return Sample(rule, name, wanted, rows, reference, signals=signals, events=events)


def _rows(entry: Any, shape: Shape) -> list[Row]:
    entries = entry if isinstance(entry, Sequence) and not isinstance(entry, str) else [entry]
    rows = [row for one in entries for row in _repeated(one, shape)]
    if len(rows) > MAX_EVENTS:
        raise ValueError(f"a sample has at most {MAX_EVENTS} actions")
    if not rows:
        raise ValueError("no action")
    return rows


def _repeated(entry: Any, shape: Shape) -> Iterator[Row]:
    if not isinstance(entry, Mapping):
        raise TypeError("an action is a mapping of fields")
    fields = dict(entry)
    first_s, times = fields.pop("at_s", 0), int(fields.pop("repeat", 1))
    every_s = fields.pop("every_s", 0)
    for place in range(min(times, MAX_EVENTS + 1)):
        moment = _START + timedelta(seconds=first_s + place * every_s)
        yield shape.row(fields, moment)


def _judged(rules: RuleSet, shape: Shape, waiting: Sequence[Sample | Case]) -> Iterator[Case]:
    samples = [one for one in waiting if isinstance(one, Sample)]
    reasons = _broken(samples, shape)
    sound = [place for place in range(len(samples)) if place not in reasons]
    for run in _runs(samples, sound):
        verdicts = _verdicts(rules, shape, [samples[place] for place in run])
        reasons |= dict(zip(run, verdicts, strict=True))
    place = -1
    for one in waiting:
        place += isinstance(one, Sample)
        yield one if isinstance(one, Case) else one.case(reasons[place])


def _runs(samples: Sequence[Sample], places: Sequence[int]) -> Iterator[list[int]]:
    """Which samples are judged together: all, but those that name tenants themselves."""
    named = [at for at in places if samples[at].names_tenants]
    yield [at for at in places if at not in set(named)]
    yield from ([at] for at in named)


def _broken(samples: Sequence[Sample], shape: Shape) -> dict[int, str]:
    """Why the values of some samples are none of their fields, by the sample's place."""
    try:
        shape.frame([row for sample in samples for row in sample.rows])
    except (TypeError, ValueError, pl.exceptions.PolarsError):
        pass
    else:
        return {}
    found: dict[int, str] = {}
    for place, sample in enumerate(samples):
        try:
            shape.frame(sample.rows)
        except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
            found[place] = f"broken sample: {error}"
    return found


def _verdicts(rules: RuleSet, shape: Shape, samples: Sequence[Sample]) -> Iterator[str]:
    """Why each sample failed; empty where it did not."""
    ids: dict[str, tuple[int, int]] = {}
    rows: list[Row] = []
    for number, sample in enumerate(samples):
        for place, row in enumerate(sample.rows):
            # Actions of one moment are ordered by their ids: here as they are written.
            # All in the second half: the first names a producer's id, which no two may share.
            event_id = f"{number << 32 | place:032x}"
            ids[event_id] = (number, place)
            own = {shape.own("tenant"): f"sample-{number}"}
            rows.append({**own, **row, shape.own("event_id"): event_id})
    known = [
        one.reference if one.names_tenants else of_tenant(one.reference, f"sample-{number}")
        for number, one in enumerate(samples)
    ]
    rules = rules.knowing(above_shipped(known))
    standing: dict[int, list[Signal]] = defaultdict(list)
    for signal in _standing(rules, shape.frame(rows)) if rows else ():
        number, _ = ids[signal.event_ids[0]]
        if signal.rule_id == samples[number].rule.meta.rule_id:
            standing[number].append(signal)
    for number, sample in enumerate(samples):
        times = [row[shape.own("event_time")] for row in sample.rows]
        places = [_place(times, signal, ids) for signal in standing[number]]
        yield _verdict(sample, times, sorted(places))


def _standing(rules: RuleSet, frame: pl.DataFrame) -> Iterable[Signal]:
    """The signals that stand when all is judged and time has passed."""
    detector = WholeDetector(rules)
    newest = frame[rules.fields.own("event_time")].max()
    after_us = micros(newest + _REST) if isinstance(newest, datetime) else 0
    signals = [*detector.process(frame, [], 1).signals, *detector.tick(after_us, 2).signals]
    found = {signal.signal_id: signal for signal in signals}
    return [signal for signal in found.values() if signal.change != "retracted"]


def _place(times: Sequence[datetime], signal: Signal, ids: Mapping[str, tuple[int, int]]) -> int:
    """The action at which a signal stands; of several of one moment, the first."""
    if signal.kind == "stateless":
        return ids[signal.event_ids[0]][1]
    return times.index(signal.event_time)


def _verdict(sample: Sample, times: Sequence[datetime], places: list[int]) -> str:
    if not sample.wanted:
        return f"fired at {places}" if places else ""
    if not places:
        return "did not fire"
    if sample.signals is not None and len(places) != sample.signals:
        return f"fired {len(places)} times, not {sample.signals}"
    if sample.events is not None:
        stateless = sample.rule.meta.kind == "stateless"
        expected = sorted(at if stateless else times.index(times[at]) for at in sample.events)
        if places != expected:
            return f"fired at {places}, not at {expected}"
    return ""
