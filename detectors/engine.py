"""The rules over one partition: batches of actions in, new, revised and retracted signals out.

`detect` and `scan` feed it alike. It is pure but for its own state: no I/O, no clock. What stands
after any sequence of calls is a function of the set of actions judged and links learned, not of
their order or batches.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.correlation.bank import END_US, CorrelatorBank, Outcome
from tachograph.detectors.correlation.matched import (
    Leaves,
    Matched,
    Matches,
    chain_of,
    shown_fields,
    wanted_by,
)
from tachograph.detectors.correlation.outbound import UNLINKED_S, Outbound, OutboundState
from tachograph.detectors.facts import FactTable, fact_frame
from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.language.possible import may_fire
from tachograph.detectors.language.rule import MICROS, Correlation, Stateless
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked, Trace
from tachograph.detectors.matching.matcher import Matcher, Rows, valued_of
from tachograph.detectors.prepare import preparation
from tachograph.detectors.signals import SignalMaker, changed, micros
from tachograph.detectors.subjects import SUBJECT, asks_behaviour, subjects_of
from tachograph.schemas import behaviour
from tachograph.schemas.alert import Signal

FORMAT = 5
IN_TIME, LATE, FAR = 0, 1, 2


class RuleStats(msgspec.Struct):
    """Counts of one rule since the start."""

    evaluations: int = 0
    candidates: int = 0
    matches: int = 0
    signals: int = 0
    evicted_events: int = 0
    evicted_groups: int = 0
    evicted_signals: int = 0
    evicted_values: int = 0
    late: int = 0
    # Processor time of its conditions, as far as they are its own.
    spent_ns: int = 0
    # Event time of the newest event that matched.
    last_match_us: int | None = None
    # False: no field that would let it fire has had a value so far, or for a while (see `age`).
    can_fire: bool = True

    def note(self, times_us: npt.NDArray[np.int64]) -> None:
        """Some events matched, at these times."""
        self.matches += len(times_us)
        self.last_match_us = max(self.last_match_us or 0, int(times_us.max()))


class Events(NamedTuple):
    """Actions that are events of correlations: which rows of their frame, ascending; a fact frame
    of those, and rows of that by rule.
    """

    rows: Rows
    facts: pl.DataFrame
    found: list[tuple[Correlation, Matched]]

    def between(self, begin: int, end: int) -> "Events | None":
        """Of the rows from `begin` to before `end`, counted from `begin`; None if none is any."""
        first, last = np.searchsorted(self.rows, (begin, end)).tolist()
        if first == last:
            return None
        cut = [(rule, matched.between(first, last)) for rule, matched in self.found]
        found = [(rule, matched) for rule, matched in cut if matched is not None]
        return Events(self.rows[first:last] - begin, self.facts.slice(first, last - first), found)


class Matching(NamedTuple):
    """Prepared actions, the columns in which they or those beside them hold values, which of them
    match each condition, and which are events of correlations: all that rules say of actions by
    themselves.
    """

    prepared: pl.DataFrame
    valued: frozenset[str]
    matched: Mapping[int, Rows]
    events: Events | None

    def between(self, begin: int, end: int) -> "Matching":
        """The same of the rows from `begin` to before `end`."""
        matched = {}
        for at, rows in self.matched.items():
            first, last = np.searchsorted(rows, (begin, end)).tolist()
            if last > first:
                matched[at] = rows[first:last] - begin
        events = self.events.between(begin, end) if self.events is not None else None
        return Matching(self.prepared.slice(begin, end - begin), self.valued, matched, events)


class _State(msgspec.Struct, frozen=True):
    format: int
    bank: bytes
    outbound: OutboundState
    unlinked: list[tuple[Trace, list[Signal]]]


class Engine:
    """Judges one partition. Not thread-safe; the caller gives each action once."""

    def __init__(
        self, rules: RuleSet, *, fields: FieldMap | None = None, limits: Limits | None = None,
        also: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """`also`: columns that a prepared frame has beside those that the rules read."""
        self.rules = rules
        self._fields = fields or rules.fields
        self._limits = limits or Limits()
        self._matcher = Matcher([d.condition for d in rules.detections], self._fields)
        self._prepared = preparation(rules, self._fields, also)
        # Detections that ask for what is measured of behaviour.
        self.of_behaviour = {
            at
            for at, detection in enumerate(rules.detections)
            if asks_behaviour(detection.fields, self._fields)
        }
        # What is part of an agent, or shared, is told to those that name what they ask of.
        self._of_subjects = {
            at
            for at in self.of_behaviour
            if subjects_of(rules.detections[at].condition, self._fields)
        }
        self._stateless = [
            (rule, SignalMaker(rule.meta, rules.versions))
            for rule in rules.rules
            if isinstance(rule, Stateless)
        ]
        self._correlations = rules.correlations
        self._chain = chain_of(self._correlations)
        self._leaves = [Leaves(rule) for rule in self._chain]
        self._wanted = wanted_by(self._correlations, rules.detections)
        self.bank = CorrelatorBank(
            self._correlations, rules, across=False, fields=self._fields, limits=self._limits
        )
        across = [rule for rule in self._chain if rule.across]
        self.outbound = Outbound(across, self._limits.unlinked_matches)
        # Signals of single events whose session or agent may still become known, by trace.
        self._unlinked: OrderedDict[Trace, list[Signal]] = OrderedDict()
        self._unlinked_count = 0
        # Signals that no link will revise any more, because there were too many.
        self.unlinked_evicted = 0
        self._stats = {rule.meta.rule_id: RuleStats() for rule in rules.rules}

    def judge(self, actions: pl.DataFrame, revision: int) -> Outcome:
        """Judge actions that were not judged before; their order does not matter.

        `actions`: columns of an action batch, absent ones allowed (or a raw frame, for RAW).
        Signals are what is new, revised or retracted, each with this revision.
        """
        return self.judge_matching(self.match(actions), revision)

    def match(self, actions: pl.DataFrame) -> Matching:
        """What the rules say of actions by themselves, whatever came before them."""
        prepared = self._prepared(actions)
        matched = self._matcher.match(prepared)
        valued = valued_of(prepared)
        return Matching(prepared, valued, matched, self._correlated(prepared, matched))

    def judge_matching(self, matching: Matching, revision: int) -> Outcome:
        """As `judge`, where it is known already what matches."""
        for rule_stats in self._stats.values():
            rule_stats.evaluations += matching.prepared.height
        # Another engine of the same rules may have asked.
        self._matcher.carries(matching.valued)
        return self._judged(matching, revision)

    def judge_measured(self, rows: pl.DataFrame, revision: int) -> Outcome:
        """Judge rows of behaviour: only rules that ask for a measure are asked of them."""
        frame, asked = self._measured(rows)
        events = self._correlated(frame, asked)
        return self._judged(Matching(frame, frozenset(), asked, events), revision)

    def judge_measured_alone(self, rows: pl.DataFrame, revision: int) -> list[Signal]:
        """As judge_measured, but only rules of single events are asked. Keeps nothing."""
        frame, asked = self._measured(rows)
        for rule, _ in self._stateless:
            if rule.detection in self._of_subjects:
                self._stats[rule.meta.rule_id].evaluations += frame.height
        return self._events(frame, asked, revision)

    def _measured(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, Rows]]:
        frame = self._prepared(rows)
        usual = rows[SUBJECT].is_in([behaviour.AGENT, behaviour.PERSON]).to_numpy()
        matched = self._matcher.match(frame)
        told = {
            at: own if at in self._of_subjects else own[usual[own]]
            for at, own in matched.items()
            if at in self.of_behaviour
        }
        return frame, {at: own for at, own in told.items() if len(own)}

    def _judged(self, matching: Matching, revision: int) -> Outcome:
        if not matching.matched:
            return Outcome()
        found = self._events(matching.prepared, matching.matched, revision)
        windows = self._windows(matching.events, revision)
        return Outcome([*found, *windows.signals], windows.matches)

    def _events(
        self, frame: pl.DataFrame, matched: Mapping[int, Rows], revision: int
    ) -> list[Signal]:
        """Signals of single events."""
        found = [matched[r.detection] for r, _ in self._stateless if r.detection in matched]
        if not found:
            return []
        table = FactTable(frame, _union(found), self._fields)
        times_us = self._times_us(frame)
        out: list[Signal] = []
        for rule, maker in self._stateless:
            rows = matched.get(rule.detection)
            if rows is None:
                continue
            facts = table.at(rows, shown_fields(self.rules.detections[rule.detection]))
            signals = [maker.of_event(rule, event, revision) for event in facts]
            self._stats[rule.meta.rule_id].note(times_us[rows])
            self._count_signals(signals)
            for signal in signals:
                if signal.trace_id and _unlinked(signal):
                    place = signal.partition_key or ""
                    self._remember((signal.tenant, place, signal.trace_id), signal)
            out += signals
        return out

    def events(self, actions: pl.DataFrame) -> Events | None:
        """What matches correlations of these actions, without judging it; None: nothing."""
        return self.match(actions).events

    def _correlated(self, frame: pl.DataFrame, matched: Mapping[int, Rows]) -> Events | None:
        """The events of correlations; None: none is any."""
        if not matched:
            return None
        marks = _late_rows(frame, self._fields)
        kept = {at: rows[marks[rows] != FAR] for at, rows in matched.items()}
        near = {at: rows for at, rows in kept.items() if len(rows)}
        late = marks == LATE
        stepped = [(one.rule, one.matched(near, late)) for one in self._leaves]
        some = [(rule, found) for rule, found in stepped if found is not None]
        if not some:
            return None
        used = np.unique(np.concatenate([found.rows for _, found in some]))
        facts = fact_frame(frame, used, self._fields, self._wanted)
        placed = [
            (rule, msgspec.structs.replace(found, rows=np.searchsorted(used, found.rows)))
            for rule, found in some
        ]
        return Events(used, facts, placed)

    def _windows(self, events: Events | None, revision: int) -> Outcome:
        """What these events change of correlations, and of which judged elsewhere they are."""
        if events is None:
            return Outcome()
        times_us = events.facts["event_time"].to_numpy()
        for rule, found in events.found:
            # What only others rest on has no counts of its own.
            if rule.meta.rule_id in self._stats:
                self._stats[rule.meta.rule_id].note(times_us[found.rows])
        return self.take(events.facts, events.found, revision)

    def take(
        self, facts: pl.DataFrame, found: Sequence[tuple[Correlation, Matched]], revision: int
    ) -> Outcome:
        """Judge what matched: facts with what this engine's rules want, and rows of them by
        rule.
        """
        outcome = self.bank.judge(facts, [one for one in found if not one[0].across], revision)
        sent = self.outbound.send(facts, [one for one in found if one[0].across])
        self._count_signals(outcome.signals)
        return Outcome(outcome.signals, [*outcome.matches, *_there(sent)])

    def relink(self, links: Mapping[Trace, Linked], revision: int) -> Outcome:
        """Sessions and agents of traces became known: judge again what fell back to the trace."""
        if not links:
            return Outcome()
        out: list[Signal] = []
        for trace, link in links.items():
            signals = self._unlinked.pop(trace, [])
            self._unlinked_count -= len(signals)
            for signal in signals:
                revised = _linked(signal, link, revision)
                if _unlinked(revised):
                    self._remember(trace, revised)
                if revised != msgspec.structs.replace(
                    signal, change=revised.change, revision=revision
                ):
                    out.append(revised)
        windows = self.bank.relink(links, revision)
        self._count_signals(windows.signals)
        sent = self.outbound.relink(links)
        return Outcome([*out, *windows.signals], [*windows.matches, *_there(sent)])

    def advance(self, watermark_us: int, revision: int) -> Outcome:
        """Forget what no action to come can change; say what can be said only now.

        `watermark_us`: observed time that all sources reached.
        """
        floor = watermark_us - self._limits.allowed_lateness_us
        outcome = self.bank.advance(watermark_us, revision)
        self._count_signals(outcome.signals)
        self.outbound.advance(floor)
        self._forget_unlinked(floor - UNLINKED_S * MICROS)
        return outcome

    def close(self, revision: int) -> Outcome:
        """Nothing comes any more: say all that had to wait."""
        return self.advance(END_US, revision)

    def dump(self) -> bytes:
        """The state, for `load` of an engine with the same or changed rules."""
        unlinked = list(self._unlinked.items())
        return msgspec.msgpack.encode(
            _State(FORMAT, self.bank.dump(), self.outbound.state(), unlinked)
        )

    def load(self, state: bytes) -> None:
        """Take up a dump; rules that changed in what they ask start empty.

        Raises ValueError when it is none of ours, of another format, or hashed by another Polars.
        """
        kept = msgspec.msgpack.decode(state, type=_State)
        if kept.format != FORMAT:
            raise ValueError(f"engine state of format {kept.format}, not {FORMAT}")
        self.bank.load(kept.bank)
        self.outbound.restore(kept.outbound)
        self._unlinked = OrderedDict(kept.unlinked)
        self._unlinked_count = sum(len(signals) for _, signals in kept.unlinked)

    def evicted(self) -> dict[str, int]:
        """What was forgotten at a limit since the start, by kind."""
        # Not `stats`: it is asked for after every judgement.
        stats = [counts for _, counts in self.bank.stats()]
        return {
            "window_events": sum(one.evicted_events for one in stats),
            "window_groups": sum(one.evicted_groups for one in stats),
            "window_signals": sum(one.evicted_signals for one in stats),
            "chained_signals": self.bank.chained_evicted,
            "known_values": sum(one.evicted_values for one in stats),
            "unlinked_signals": self.unlinked_evicted,
            "unlinked_matches": self.outbound.evicted,
        }

    @property
    def stats(self) -> dict[str, RuleStats]:
        """Counts by rule id since the start."""
        matcher = self._matcher
        for rule in self.rules.rules:
            asked = [rule.detection] if isinstance(rule, Stateless) else rule.detections
            own = self._stats[rule.meta.rule_id]
            own.candidates = sum(map(matcher.candidates, asked))
            own.spent_ns = sum(map(matcher.spent_ns, asked))
            # Before the first event nothing is known of any field.
            own.can_fire = not own.evaluations or may_fire(rule, matcher.can_match)
        for correlation, counts in self.bank.stats():
            # One that is only a step of another has no other counts.
            own = self._stats.setdefault(correlation.meta.rule_id, RuleStats())
            own.evicted_events = counts.evicted_events
            own.evicted_groups = counts.evicted_groups
            own.evicted_signals = counts.evicted_signals
            own.evicted_values = counts.evicted_values
            own.late = counts.late
        return self._stats

    def age(self) -> None:
        """What can fire is told by the fields seen since the call before the last."""
        self._matcher.age()

    def _times_us(self, frame: pl.DataFrame) -> npt.NDArray[np.int64]:
        column = frame.get_column(self._fields.own("event_time"))
        return column.to_physical().to_numpy()

    def _count_signals(self, signals: list[Signal]) -> None:
        for rule_id, number in Counter(signal.rule_id for signal in signals).items():
            self._stats[rule_id].signals += number

    def _forget_unlinked(self, before_us: int) -> None:
        """A link that comes so late changes nothing any more; oldest traces are first."""
        while self._unlinked:
            trace, signals = next(iter(self._unlinked.items()))
            if any(micros(signal.event_time) >= before_us for signal in signals):
                return
            del self._unlinked[trace]
            self._unlinked_count -= len(signals)

    def _remember(self, trace: Trace, signal: Signal) -> None:
        self._unlinked.setdefault(trace, []).append(signal)
        self._unlinked_count += 1
        while self._unlinked_count > self._limits.unlinked_signals:
            _, dropped = self._unlinked.popitem(last=False)
            self._unlinked_count -= len(dropped)
            self.unlinked_evicted += len(dropped)


def _union(found: list[Rows]) -> Rows:
    return found[0] if len(found) == 1 else np.unique(np.concatenate(found))


def _late_rows(frame: pl.DataFrame, fields: FieldMap) -> npt.NDArray[np.int8]:
    """IN_TIME, LATE or FAR for each row."""
    marks = np.zeros(frame.height, np.int8)
    for name, mark in (("late", LATE), ("far", FAR)):
        column = frame.get_column(fields.own(name), default=None)
        if column is not None and column.any():
            marks[column.fill_null(value=False).to_numpy()] = mark
    return marks


def _there(matches: Matches | None) -> list[Matches]:
    return [] if matches is None else [matches]


def _unlinked(signal: Signal) -> bool:
    """Its session fell back to the trace, or its agent is not known."""
    no_session = signal.session_id is None or signal.session_id == signal.trace_id
    return no_session or signal.agent_id is None


def _linked(signal: Signal, link: Linked, revision: int) -> Signal:
    fallen_back = signal.session_id is None or signal.session_id == signal.trace_id
    agent = signal.agent_id or link.agent_id
    name = signal.agent_name or link.agent_name
    return msgspec.structs.replace(
        changed(signal, "revised", revision),
        session_id=link.session_id if fallen_back else signal.session_id,
        agent_id=agent,
        agent_name=name,
        principal_id=signal.principal_id or link.principal_id,
        entity=agent or name or signal.entity,
    )
