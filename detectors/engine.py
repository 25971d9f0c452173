"""The rules over one partition: batches of actions in, new, revised and retracted signals out.

`detect` and `scan` feed it alike. It is pure but for its own state: no I/O, no clock. What stands
after any sequence of calls is a function of the set of actions judged and links learned, not of
their order or batches.
"""

import secrets
from collections import OrderedDict
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.correlation.correlator import Correlator, CorrelatorState
from tachograph.detectors.facts import (
    MAX_SAID_FIELDS,
    FactStore,
    FactTable,
    fact_frame,
    group_value,
)
from tachograph.detectors.ids import Hasher, Words, halves
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.language.rule import MICROS, Correlation, Stateless
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked, Trace, linked
from tachograph.detectors.matching.matcher import Matcher, Rows
from tachograph.detectors.prepare import Preparation
from tachograph.detectors.signals import SignalMaker, changed, micros
from tachograph.schemas.alert import Signal

FORMAT = 4
IN_TIME, LATE, FAR = 0, 1, 2
# Signals of single events wait so long, beyond the allowed lateness, for their session to be named.
UNLINKED_S = 3600
SPARE_TABLES = 16


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
    polars: str
    seed: int
    floor_us: int | None
    facts: bytes
    # By rule id and semantic hash: a rule that asks something else starts anew.
    correlators: dict[str, CorrelatorState]
    unlinked: list[tuple[Trace, list[Signal]]]


class Engine:
    """Judges one partition. Not thread-safe; the caller gives each action once."""

    def __init__(
        self, rules: RuleSet, *, fields: FieldMap | None = None, limits: Limits | None = None
    ) -> None:
        self.rules = rules
        self._fields = fields or rules.fields
        self._limits = limits or Limits()
        self._matcher = Matcher([d.condition for d in rules.detections], self._fields)
        self._prepared = Preparation(rules.columns, self._fields, rules.reference)
        self._store = FactStore()
        self._hasher = Hasher(secrets.randbits(63))
        self._stateless = [
            (rule, SignalMaker(rule.meta, rules.versions))
            for rule in rules.rules
            if isinstance(rule, Stateless)
        ]
        self._correlators = [
            self._correlator(rule) for rule in rules.rules if not isinstance(rule, Stateless)
        ]
        correlated = [c.rule for c in self._correlators]
        shown = (f for rule in correlated for at in rule.detections for f in self._shown(at))
        self._said = list(dict.fromkeys(shown))
        self._by = list(dict.fromkeys(field for rule in correlated for field in rule.group_by))
        # Signals of single events whose session or agent may still become known, by trace.
        self._unlinked: OrderedDict[Trace, list[Signal]] = OrderedDict()
        self._unlinked_count = 0
        # Signals that no link will revise any more, because there were too many.
        self.unlinked_evicted = 0
        self._floor_us: int | None = None
        # Fact frames that may be held before those that the limits let go of are looked for.
        self._tables_max = SPARE_TABLES
        self._stats = {rule.meta.rule_id: RuleStats() for rule in rules.rules}

    def _shown(self, detection: int) -> list[str]:
        return self.rules.detections[detection].fields[:MAX_SAID_FIELDS]

    def _correlator(self, rule: Correlation) -> Correlator:
        return Correlator(
            rule,
            {step: self._shown(at) for step, at in enumerate(rule.detections)},
            [group_value(field, self._fields) for field in rule.group_by],
            maker=SignalMaker(rule.meta, self.rules.versions),
            store=self._store,
            limits=self._limits,
        )

    def judge(self, actions: pl.DataFrame, revision: int) -> list[Signal]:
        """Judge actions that were not judged before; their order does not matter.

        `actions`: columns of an action batch, absent ones allowed (or a raw frame, for RAW).
        Returns what is new, revised or retracted, each with this revision.
        """
        frame = self._prepared(actions)
        if frame.is_empty():
            return []
        for rule_stats in self._stats.values():
            rule_stats.evaluations += frame.height
        matched = self._matcher.match(frame)
        if not matched:
            return []
        return [*self._events(frame, matched, revision), *self._windows(frame, matched, revision)]

    def _events(
        self, frame: pl.DataFrame, matched: Mapping[int, Rows], revision: int
    ) -> list[Signal]:
        """Signals of single events."""
        found = [matched[r.detection] for r, _ in self._stateless if r.detection in matched]
        if not found:
            return []
        table = FactTable(frame, _union(found), self._fields)
        out: list[Signal] = []
        for rule, maker in self._stateless:
            rows = matched.get(rule.detection)
            if rows is None:
                continue
            facts = table.at(rows, self._shown(rule.detection))
            signals = [maker.of_event(rule, event, revision) for event in facts]
            self._count(rule.meta.rule_id, len(rows), len(signals))
            for signal in signals:
                if signal.trace_id and _unlinked(signal):
                    place = signal.partition_key or ""
                    self._remember((signal.tenant, place, signal.trace_id), signal)
            out += signals
        return out

    def _windows(
        self, frame: pl.DataFrame, matched: Mapping[int, Rows], revision: int
    ) -> list[Signal]:
        """Signals of correlations that these events change."""
        late = _late_rows(frame, self._fields)
        stepped = [(c, *_stepped(c.rule, matched, late)) for c in self._correlators]
        found = [rows for _, rows, _ in stepped if len(rows)]
        if not found:
            return []
        rows = _union(found)
        table = fact_frame(frame, rows, self._fields, self._said, self._by)
        number = self._store.add(table)
        high, low = halves(table["event_id"])
        key = self._hasher.of(table.select(pl.coalesce("twin_key", "event_id")).to_series())
        shared = {"time": table["event_time"].to_numpy(), "high": high, "low": low, "key": key}
        shared["blind"] = late[rows] == LATE
        out: list[Signal] = []
        evicted = self._evicted_events()
        groups: dict[tuple[str, ...], tuple[Words, npt.NDArray[np.bool_]]] = {}
        for correlator, own, steps in stepped:
            if not len(own):
                continue
            by = tuple(correlator.rule.group_by)
            if by not in groups:
                groups[by] = self._groups(correlator, table)
            gid, complete = groups[by]
            places = np.searchsorted(rows, own)
            whole = complete[places]
            places = places[whole]
            columns = {name: values[places] for name, values in shared.items()}
            columns |= {"gid": gid[places], "steps": steps[whole], "row": places}
            columns["table"] = np.full(len(places), number)
            signals = correlator.judge(correlator.take(columns), revision) if len(places) else []
            self._count(correlator.rule.meta.rule_id, len(own), len(signals))
            out += signals
        if self._evicted_events() > evicted and len(self._store.tables) > self._tables_max:
            # While the watermark stands still nothing else frees what the limits have let go of.
            self._keep_used()
        return out

    def _evicted_events(self) -> int:
        return sum(correlator.stats.evicted_events for correlator in self._correlators)

    def _groups(
        self, correlator: Correlator, table: pl.DataFrame
    ) -> tuple[Words, npt.NDArray[np.bool_]]:
        """Group of each row of a fact frame, and whether it has one: no group value is missing."""
        # Of a place, so that what shares a partition by chance is not one group.
        place = pl.col("partition_key").fill_null("")
        values = table.select(pl.col("tenant"), place, *correlator.by)
        whole = np.ones(values.height, np.bool_)
        for column in values:
            if column.null_count():
                whole &= column.is_not_null().to_numpy()
        return self._hasher.of_rows(values), whole

    def relink(self, links: Mapping[Trace, Linked], revision: int) -> list[Signal]:
        """Sessions and agents of traces became known: judge again what fell back to the trace."""
        if not links:
            return []
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
        moved = self._relinked_tables(links)
        for correlator in self._correlators if moved else ():
            out += self._relinked(correlator, moved, revision)
        return out

    def _relinked_tables(self, links: Mapping[Trace, Linked]) -> dict[int, npt.NDArray[np.bool_]]:
        """Fill in what is known now; the rows that changed, by table."""
        moved: dict[int, npt.NDArray[np.bool_]] = {}
        filled = ("session_id", "agent_id", "agent_name", "principal_id")
        for number in self._store.waiting(links):
            table = self._store.tables[number]
            after = linked(table, links)
            mask = np.zeros(table.height, np.bool_)
            for name in filled:
                mask |= table[name].ne_missing(after[name]).to_numpy()
            if mask.any():
                self._store.tables[number] = after
                moved[number] = mask
        return moved

    def _relinked(
        self, correlator: Correlator, moved: Mapping[int, npt.NDArray[np.bool_]], revision: int
    ) -> list[Signal]:
        table_of, row_of = (correlator.ledger.column(name) for name in ("table", "row"))
        places: list[Rows] = []
        gids: list[Words] = []
        for number, mask in moved.items():
            at = np.flatnonzero(table_of == number)
            at = at[mask[row_of[at].astype(np.int64)]]
            if not len(at):
                continue
            gid, whole = self._groups(correlator, self._store.tables[number])
            rows = row_of[at]
            places.append(at[whole[rows]])
            gids.append(gid[rows][whole[rows]])
        if not places:
            return []
        return correlator.moved(np.concatenate(places), np.concatenate(gids), revision)

    def advance(self, watermark_us: int) -> None:
        """Forget what no action to come can change.

        `watermark_us`: observed time that all sources reached.
        """
        floor = watermark_us - self._limits.allowed_lateness_us
        if self._floor_us is not None and floor <= self._floor_us:
            return
        self._floor_us = floor
        for correlator in self._correlators:
            correlator.advance(watermark_us)
        self._keep_used()
        self._forget_unlinked(floor - UNLINKED_S * MICROS)

    def _keep_used(self) -> None:
        """Forget the facts that no correlation refers to any more."""
        used: set[int] = set()
        for correlator in self._correlators:
            used |= set(np.unique(correlator.ledger.column("table")).tolist())
        self._store.keep(used)
        self._tables_max = 2 * len(self._store.tables) + SPARE_TABLES

    def dump(self) -> bytes:
        """The state, for `load` of an engine with the same or changed rules."""
        return msgspec.msgpack.encode(
            _State(
                format=FORMAT,
                polars=pl.__version__,
                seed=self._hasher.seed,
                floor_us=self._floor_us,
                facts=self._store.dump(),
                correlators={_state_key(c.rule): c.state() for c in self._correlators},
                unlinked=list(self._unlinked.items()),
            )
        )

    def load(self, state: bytes) -> None:
        """Take up a dump; rules that changed in what they ask start empty.

        Raises ValueError when it is none of ours, of another format, or hashed by another Polars.
        """
        kept = msgspec.msgpack.decode(state, type=_State)
        if kept.format != FORMAT:
            raise ValueError(f"engine state of format {kept.format}, not {FORMAT}")
        if kept.polars != pl.__version__:
            raise ValueError(f"engine state hashed by polars {kept.polars}, not {pl.__version__}")
        self._hasher = Hasher(kept.seed)
        self._floor_us = kept.floor_us
        self._store.load(kept.facts)
        for correlator in self._correlators:
            found = kept.correlators.get(_state_key(correlator.rule))
            if found is not None:
                correlator.restore(found, kept.floor_us)
        self._unlinked = OrderedDict(kept.unlinked)
        self._unlinked_count = sum(len(signals) for _, signals in kept.unlinked)

    @property
    def stats(self) -> dict[str, RuleStats]:
        """Counts by rule id since the start."""
        candidates = self._matcher.candidates
        for rule, _ in self._stateless:
            self._stats[rule.meta.rule_id].candidates = candidates(rule.detection)
        for correlator in self._correlators:
            found = self._stats[correlator.rule.meta.rule_id]
            found.candidates = sum(map(candidates, correlator.rule.detections))
            found.evicted_events = correlator.stats.evicted_events
            found.evicted_groups = correlator.stats.evicted_groups
            found.late = correlator.stats.late
        return self._stats

    def _count(self, rule_id: str, matches: int, signals: int) -> None:
        found = self._stats[rule_id]
        found.matches += matches
        found.signals += signals

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


def _state_key(rule: Correlation) -> str:
    return f"{rule.meta.rule_id}:{rule.meta.version}"


def _union(found: list[Rows]) -> Rows:
    return found[0] if len(found) == 1 else np.unique(np.concatenate(found))


def _late_rows(frame: pl.DataFrame, fields: FieldMap) -> npt.NDArray[np.int8]:
    """IN_TIME, LATE or FAR for each row."""
    marks = np.zeros(frame.height, np.int8)
    for name, mark in (("late", LATE), ("far", FAR)):
        column = fields.own(name)
        if column in frame.columns:
            marks[frame[column].fill_null(value=False).to_numpy()] = mark
    return marks


def _stepped(
    rule: Correlation, matched: Mapping[int, Rows], late: npt.NDArray[np.int8]
) -> tuple[Rows, Rows]:
    """Rows that match any detection of the rule and are not far, and bit i for each step i they
    match.
    """
    found = [(step, matched[at]) for step, at in enumerate(rule.detections) if at in matched]
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows = _union([own for _, own in found])
    steps = np.zeros(len(rows), np.int64)
    for step, own in found:
        steps[np.searchsorted(rows, own)] |= 1 << step
    near = late[rows] != FAR
    return rows[near], steps[near]


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
