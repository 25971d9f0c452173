"""The rules over one partition: batches of actions in, new, revised and retracted signals out.

`detect` and `scan` feed it alike. It is pure but for its own state: no I/O, no clock. What stands after any
sequence of calls is a function of the set of actions judged and links learned, not of their order or batches.
"""

from collections import OrderedDict
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.correlator import Correlator, CorrelatorState, group_value
from tachograph.detectors.facts import Facts, FactTable
from tachograph.detectors.fields import FieldMap
from tachograph.detectors.ledger import Group
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked
from tachograph.detectors.lowering import value_of
from tachograph.detectors.matcher import Matcher, Rows
from tachograph.detectors.prepare import columns_needed, prepared
from tachograph.detectors.rule import Correlation, Stateless
from tachograph.detectors.ruleset import RuleSet
from tachograph.detectors.signals import SignalMaker, changed
from tachograph.schemas.alert import Signal

FORMAT = 1


class RuleStats(msgspec.Struct):
    """Counts of one rule since the start."""

    evaluations: int = 0
    candidates: int = 0
    matches: int = 0
    signals: int = 0
    evicted_events: int = 0
    evicted_groups: int = 0
    late: int = 0


class _State(msgspec.Struct, frozen=True):
    format: int
    floor_us: int | None
    # By rule id and semantic hash: a rule that asks something else starts anew.
    correlators: dict[str, CorrelatorState]
    unlinked: dict[str, list[Signal]]


class Engine:
    """Judges one partition. Not thread-safe; the caller gives each action once."""

    def __init__(
        self, rules: RuleSet, *, fields: FieldMap | None = None, limits: Limits | None = None
    ) -> None:
        self.rules = rules
        self._fields = fields or rules.fields
        self._limits = limits or Limits()
        self._matcher = Matcher([d.condition for d in rules.detections], self._fields)
        self._needed = columns_needed(rules.columns, self._fields)
        self._makers = {id(rule): SignalMaker(rule.meta, rules.rules_hash) for rule in rules.rules}
        self._stateless = [rule for rule in rules.rules if isinstance(rule, Stateless)]
        self._correlators = [
            self._correlator(rule) for rule in rules.rules if not isinstance(rule, Stateless)
        ]
        # Signals of single events whose session or agent may still become known, by trace.
        self._unlinked: OrderedDict[str, list[Signal]] = OrderedDict()
        self._unlinked_count = 0
        self._floor_us: int | None = None
        self._stats = {rule.meta.rule_id: RuleStats() for rule in rules.rules}

    def _correlator(self, rule: Correlation) -> Correlator:
        columns = [self._fields.source(name).column for name in rule.group_by]
        return Correlator(rule, columns, self._makers[id(rule)], self._limits)

    def judge(self, actions: pl.DataFrame, revision: int) -> list[Signal]:
        """Judge actions that were not judged before; their order does not matter.

        `actions`: columns of an action batch, absent ones allowed (or a raw frame, for RAW). Returns what is new,
        revised or retracted, each with this revision.
        """
        frame = prepared(actions, self._needed, self._fields)
        if frame.is_empty():
            return []
        matched = self._matcher.match(frame)
        for rule_stats in self._stats.values():
            rule_stats.evaluations += frame.height
        if not matched:
            return []
        table = FactTable(frame, _all_rows(matched), self._fields)
        out: list[Signal] = []
        for rule in self._stateless:
            if rule.detection in matched:
                out += self._events(rule, matched[rule.detection], table, revision)
        late = _late_rows(frame, self._fields)
        for correlator in self._correlators:
            out += self._correlate(correlator, frame, matched, late, table, revision)
        return out

    def _events(self, rule: Stateless, rows: Rows, table: FactTable, revision: int) -> list[Signal]:
        maker = self._makers[id(rule)]
        facts = table.at(rows, self.rules.detections[rule.detection])
        signals = [maker.of_event(rule, event, revision) for event in facts]
        self._count(rule.meta.rule_id, len(rows), len(signals))
        for event, signal in zip(facts, signals, strict=True):
            if event.trace_id and _unlinked(signal):
                self._remember(event.trace_id, signal)
        return signals

    def _correlate(
        self,
        correlator: Correlator,
        frame: pl.DataFrame,
        matched: Mapping[int, Rows],
        late: npt.NDArray[np.int8],
        table: FactTable,
        revision: int,
    ) -> list[Signal]:
        rule = correlator.rule
        rows, steps = _stepped(rule, matched)
        rows, steps = rows[late[rows] != FAR], steps[late[rows] != FAR]
        if not len(rows):
            return []
        # What a window says it saw are the fields of the first detection that an event matched.
        facts = self._facts_of(rule, rows, matched, table)
        groups = self._groups(rule, frame, rows, facts)
        whole = np.fromiter((group is not None for group in groups), np.bool_, len(groups))
        chosen = np.flatnonzero(whole).tolist()
        if not chosen:
            return []
        gids = correlator.take(
            [group for group in groups if group is not None],
            steps[whole],
            late[rows][whole] == LATE,
            [facts[at] for at in chosen],
        )
        signals = correlator.judge(sorted(gids), revision)
        self._count(rule.meta.rule_id, len(rows), len(signals))
        return signals

    def _facts_of(
        self, rule: Correlation, rows: Rows, matched: Mapping[int, Rows], table: FactTable
    ) -> list[Facts]:
        found: dict[int, Facts] = {}
        for at in reversed(rule.detections):
            if at in matched:
                own = matched[at][np.isin(matched[at], rows)]
                facts = table.at(own, self.rules.detections[at])
                found |= zip(own.tolist(), facts, strict=True)
        return [found[row] for row in rows.tolist()]

    def _groups(
        self, rule: Correlation, frame: pl.DataFrame, rows: Rows, facts: list[Facts]
    ) -> list[Group | None]:
        """Tenant and group values of each row; None where a value is missing, which belongs to no group."""
        columns: list[list[str | None]] = []
        sources = [self._fields.source(name) for name in rule.group_by]
        names = sorted({source.column for source in sources} & set(frame.columns))
        part = frame.select(names)[rows] if names else pl.DataFrame()
        for source in sources:
            if self._fields.columns is not None and source.column in {"agent_id", "session_id"}:
                columns.append([group_value(event, source.column) for event in facts])
            elif source.column in part.columns:
                columns.append(part.select(value_of(source).cast(pl.String)).to_series().to_list())
            else:
                columns.append([None] * len(rows))
        tenants = [event.tenant for event in facts]
        rows_of = zip(tenants, *columns, strict=True)
        return [None if None in values else values for values in rows_of]  # type: ignore[misc]

    def relink(self, links: Mapping[str, Linked], revision: int) -> list[Signal]:
        """Sessions and agents of traces became known: judge again what fell back to the trace."""
        if not links:
            return []
        out: list[Signal] = []
        for trace, link in links.items():
            for signal in self._unlinked.pop(trace, []):
                self._unlinked_count -= 1
                revised = _linked(signal, link, revision)
                if _unlinked(revised):
                    self._remember(trace, revised)
                if revised.session_id != signal.session_id or revised.agent_id != signal.agent_id:
                    out.append(revised)
        for correlator in self._correlators:
            out += correlator.relink(links, revision)
        return out

    def advance(self, watermark_us: int) -> None:
        """Forget what no action to come can change. `watermark_us`: observed time that all sources reached."""
        floor = watermark_us - self._limits.allowed_lateness_us
        if self._floor_us is None or floor > self._floor_us:
            self._floor_us = floor
        for correlator in self._correlators:
            correlator.advance(watermark_us)

    def dump(self) -> bytes:
        """The state, for `load` of an engine with the same or changed rules."""
        correlators = {_state_key(c.rule): c.state() for c in self._correlators}
        return msgspec.msgpack.encode(
            _State(FORMAT, self._floor_us, correlators, dict(self._unlinked))
        )

    def load(self, state: bytes) -> None:
        """Take up a dump; rules that changed in what they ask start empty. Raises ValueError."""
        kept = msgspec.msgpack.decode(state, type=_State)
        if kept.format != FORMAT:
            raise ValueError(f"engine state of format {kept.format}, not {FORMAT}")
        self._floor_us = kept.floor_us
        for correlator in self._correlators:
            found = kept.correlators.get(_state_key(correlator.rule))
            if found is not None:
                correlator.restore(found, kept.floor_us)
        self._unlinked = OrderedDict(kept.unlinked)
        self._unlinked_count = sum(map(len, kept.unlinked.values()))

    @property
    def stats(self) -> dict[str, RuleStats]:
        """Counts by rule id since the start."""
        candidates = self._matcher.stats.candidates
        for rule in self._stateless:
            self._stats[rule.meta.rule_id].candidates = candidates.get(rule.detection, 0)
        for correlator in self._correlators:
            found = self._stats[correlator.rule.meta.rule_id]
            found.candidates = sum(candidates.get(at, 0) for at in correlator.rule.detections)
            found.evicted_events = correlator.stats.evicted_events
            found.evicted_groups = correlator.stats.evicted_groups
            found.late = correlator.stats.late
        return self._stats

    def _count(self, rule_id: str, matches: int, signals: int) -> None:
        found = self._stats[rule_id]
        found.matches += matches
        found.signals += signals

    def _remember(self, trace: str, signal: Signal) -> None:
        self._unlinked.setdefault(trace, []).append(signal)
        self._unlinked_count += 1
        while self._unlinked_count > self._limits.unlinked_signals:
            _, dropped = self._unlinked.popitem(last=False)
            self._unlinked_count -= len(dropped)


IN_TIME, LATE, FAR = 0, 1, 2


def _state_key(rule: Correlation) -> str:
    return f"{rule.meta.rule_id}:{rule.meta.version}"


def _all_rows(matched: Mapping[int, Rows]) -> Rows:
    found = list(matched.values())
    return found[0] if len(found) == 1 else np.unique(np.concatenate(found))


def _late_rows(frame: pl.DataFrame, fields: FieldMap) -> npt.NDArray[np.int8]:
    """IN_TIME, LATE or FAR for each row."""
    marks = np.zeros(frame.height, np.int8)
    for name, mark in (("late", LATE), ("far", FAR)):
        column = fields.own(name)
        if column in frame.columns:
            marks[frame[column].fill_null(value=False).to_numpy()] = mark
    return marks


def _stepped(rule: Correlation, matched: Mapping[int, Rows]) -> tuple[Rows, Rows]:
    """Rows that match any detection of the rule, and bit i for each step i they match."""
    found = [(step, matched[at]) for step, at in enumerate(rule.detections) if at in matched]
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows = np.unique(np.concatenate([own for _, own in found]))
    steps = np.zeros(len(rows), np.int64)
    for step, own in found:
        steps[np.searchsorted(rows, own)] |= 1 << step
    return rows, steps


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
