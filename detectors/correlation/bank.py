"""All correlations of one place, fed with facts of events and what matched of them.

`Engine` feeds one with its own rows; another may be fed with rows that came from other partitions.
It does not care: a group is the hash of its values, an event is known by its id.
"""

import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.correlation.arrays import Array, Bools
from tachograph.detectors.correlation.blocks import Columns
from tachograph.detectors.correlation.chained import Fed, FedState, Feed, events_of, feeds_of
from tachograph.detectors.correlation.correlator import CorrelatorState
from tachograph.detectors.correlation.held import HeldGroups
from tachograph.detectors.correlation.judges import Judge, judge_of, settled_us
from tachograph.detectors.correlation.lacking import stacked
from tachograph.detectors.correlation.matched import (
    Asks,
    Matched,
    Matches,
    Reading,
    chain_of,
    meanings,
    rule_key,
    shown_fields,
)
from tachograph.detectors.correlation.memory import CorrelatorStats
from tachograph.detectors.correlation.reports import Fired, Voice
from tachograph.detectors.fact_store import FactStore
from tachograph.detectors.facts import group_value
from tachograph.detectors.ids import Hasher
from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.language.rule import Correlation, FirstSeen, Leaf
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked, Trace, changed_rows, linked
from tachograph.detectors.signals import SignalMaker
from tachograph.schemas.alert import Signal

FORMAT = 3
SPARE_TABLES = 16
# A watermark beyond all others: nothing comes any more.
END_US = 2**60


class Floors(NamedTuple):
    """No action before this time can come any more; and no signal of a group across partitions
    about one before that.
    """

    plain_us: int
    chained_us: int


class Outcome(msgspec.Struct):
    """What came of one call: signals, events of rules that are judged elsewhere, and match rows
    of flows (detectors/intent) that are. `measured`: rows of behaviour that rules are asked of.
    `held`: signals that may be said elsewhere, of what is seen here.
    """

    signals: list[Signal] = []
    matches: list[Matches] = []
    flows: list[pl.DataFrame] = []
    measured: list[pl.DataFrame] = []
    held: list[Signal] = []


class _State(msgspec.Struct, frozen=True):
    format: int
    polars: str
    seed: int
    # Of each rule, by its key; none where time has not begun for it.
    floors: dict[str, Floors]
    facts: bytes
    # By rule id and semantic hash: a rule that asks something else starts anew.
    judges: dict[str, CorrelatorState]
    fed: dict[str, FedState]


class CorrelatorBank:
    """Judges windows of one place. Not thread-safe, no I/O, no clock."""

    def __init__(
        self,
        rules: Iterable[Correlation],
        rule_set: RuleSet,
        *,
        across: bool,
        fields: FieldMap | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`rules`: correlations of the rule set. Judged here are those of them, and of the ones
        they rest on, that reach across partitions, or (`across` false) those that do not.
        """
        self._rule_set = rule_set
        self._fields = fields or rule_set.fields
        self._limits = limits or Limits()
        self._asks = Asks(self._fields)
        self._store = FactStore()
        self._hasher = Hasher(secrets.randbits(63))
        chain = chain_of(rules)
        self._judges = {rule_key(r): self._judge(r) for r in chain if r.across == across}
        self._feeds = feeds_of(chain)
        self._fed = {
            _feed_key(inner, feed): Fed(feed, self._limits.signals_per_rule)
            for inner, feeds in self._feeds.items()
            for feed in feeds
        }
        self._speaking = {rule_key(rule) for rule in rule_set.correlations}
        # How far time has come for each rule: for one that is held it stands still.
        self._floors: dict[str, Floors] = {}
        # Fact frames that may be held before those that nobody needs any more are looked for.
        self._tables_max = SPARE_TABLES

    def _judge(self, rule: Correlation) -> Judge:
        detections = self._rule_set.detections
        leaves = rule.leaves
        voice = Voice(
            rule,
            {place: shown_fields(detections[leaf.detection]) for place, leaf in enumerate(leaves)},
            [[group_value(field, self._fields) for field in _named(rule, leaf)] for leaf in leaves],
            SignalMaker(rule.meta, self._rule_set.versions),
            self._store,
        )
        return judge_of(voice, self._limits)

    def judge(
        self, facts: pl.DataFrame, found: Iterable[tuple[Correlation, Matched]], revision: int
    ) -> Outcome:
        """Take in rows of a fact frame; what is new, revised or retracted, with this revision.

        `facts`: made by `fact_frame` with what `wanted_by` says of the rules.
        """
        if facts.is_empty():
            return Outcome()
        reading = Reading(facts, self._store.add(facts), self._hasher, self._asks)
        found = list(found)
        reading.ready(rule for rule, _ in found)
        return self._process(_changes(reading, found), revision)

    def relink(self, links: Mapping[Trace, Linked], revision: int) -> Outcome:
        """Sessions and agents of traces became known: judge again what fell back to the trace."""
        moved = self._relinked_tables(links)
        if not moved:
            return Outcome()
        readings = [
            (
                Reading(before, number, self._hasher, self._asks),
                Reading(self._store.tables[number], number, self._hasher, self._asks),
                mask,
            )
            for number, (before, mask) in moved.items()
        ]
        changes: dict[str, _Change] = {}
        for key, judge in self._judges.items():
            judge.settle()
            gone, come = [], []
            for before, after, mask in readings:
                for old, new in _moved(judge, before, after, mask):
                    gone.append(old)
                    come.append(new)
            if gone:
                changes[key] = _Change(stacked(come), stacked(gone))
        return self._process(changes, revision)

    def _relinked_tables(
        self, links: Mapping[Trace, Linked]
    ) -> dict[int, tuple[pl.DataFrame, Bools]]:
        """Fill in what is known now; tables as they were, and the rows that changed."""
        moved: dict[int, tuple[pl.DataFrame, Bools]] = {}
        for number in self._store.waiting(links):
            table = self._store.tables[number]
            after = linked(table, links)
            mask = changed_rows(table, after)
            if mask.any():
                self._store.tables[number] = after
                moved[number] = (table, mask)
        return moved

    def advance(
        self,
        watermark_us: int,
        revision: int,
        chained_us: int | None = None,
        held: Collection[str] = (),
    ) -> Outcome:
        """Say what had to wait until nothing could change it; forget what nothing can change.

        `watermark_us`: observed time that all sources of actions reached; END_US: nothing comes any
        more. `chained_us`: that which all places reached which send events of rules that rest on
        groups across partitions (None: the same). `held`: rules, by key, whose events of before
        that may still come.
        """
        lateness = self._limits.allowed_lateness_us
        floors = Floors(watermark_us, watermark_us if chained_us is None else chained_us)
        floors = Floors(floors.plain_us - lateness, min(floors) - lateness)
        moved = {
            key: Floors(*map(max, floors, self._floors.get(key, floors)))
            for key in self._judges
            if key not in held
        }
        moved = {key: now for key, now in moved.items() if now != self._floors.get(key)}
        if not moved:
            return Outcome()
        self._floors |= moved
        judged = self._process({}, revision, moved)
        for key, feeds in self._feeds.items():
            for feed in feeds:
                self._forget_fed(key, feed, floors)
        if not any(judge.memory.blocks.size for judge in self._judges.values()):
            self._keep_used()
        return judged

    def _forget_fed(self, inner: str, feed: Feed, floors: Floors) -> None:
        """Forget what was handed on so long ago that the rule it was handed to needs it no more.
        `floors`: of rules that are judged elsewhere.
        """
        outer = rule_key(feed.outer)
        judge = self._judges.get(outer)
        now = floors if judge is None else self._floors.get(outer)
        if now is not None:
            before = floor_of(feed.outer, now) - 3 * feed.outer.timespan_us
            size = judge.memory.blocks.size if judge is not None else 0
            self._fed[_feed_key(inner, feed)].forget(before, size)

    def _process(
        self,
        changes: Mapping[str, "_Change"],
        revision: int,
        floors: Mapping[str, Floors] | None = None,
    ) -> Outcome:
        """Bring events to their rules, and signals to the rules that rest on them: inner ones
        first. `floors`: of rules for which time has gone on.
        """
        out = Outcome([], [])
        arrived: dict[str, list[tuple[Feed, str, list[Fired]]]] = {}
        for key, judge in self._judges.items():
            fired: list[Fired] = []
            change = changes.get(key)
            if change is not None:
                fired += judge.process(change.come, revision, gone=change.gone)
            for feed, inner, signals in arrived.get(key, ()):
                fired += self._feed(judge, feed, inner, signals, revision)
            if floors is not None and key in floors:
                fired += judge.advance(floor_of(judge.rule, floors[key]), revision)
            if not fired:
                continue
            if key in self._speaking:
                out.signals += [one.signal for one in fired]
            for feed in self._feeds.get(key, ()):
                if rule_key(feed.outer) in self._judges and not feed.outer.across:
                    arrived.setdefault(rule_key(feed.outer), []).append((feed, key, fired))
                else:
                    matches = self._fed[_feed_key(key, feed)].sent(fired, self._store)
                    out.matches += [matches] if matches is not None else []
        if len(self._store.tables) > self._tables_max:
            self._keep_used()
        return out

    def _feed(
        self, judge: Judge, feed: Feed, inner: str, fired: Sequence[Fired], revision: int
    ) -> list[Fired]:
        """Signals of an inner rule as events of this one."""
        fed = self._fed[_feed_key(inner, feed)]
        # Of a signal that changed twice only the last word counts.
        last = {one.signal.signal_id: one for one in fired}
        gone = fed.gone(last.values())
        new = [one for one in last.values() if one.signal.change != "retracted"]
        if not new:
            return judge.process(NOTHING, revision, gone=gone) if gone is not None else []
        facts, matched = events_of(feed, new, self._store)
        reading = Reading(facts, -1, self._hasher, self._asks)
        columns, whole = reading.columns(judge.rule, matched)
        ids = [one.signal.signal_id for one, there in zip(new, whole, strict=True) if there]
        fed.entered(ids, columns)
        return judge.process(columns, revision, gone=gone)

    def _keep_used(self) -> None:
        """Forget the facts that no correlation refers to any more, and put the others together."""
        for judge in self._judges.values():
            judge.settle()
        moved = self._store.repack([judge.memory.used_facts() for judge in self._judges.values()])
        if moved:
            for judge in self._judges.values():
                judge.memory.move_facts(moved)
        self._tables_max = 2 * len(self._store.tables) + SPARE_TABLES

    def dump(self) -> bytes:
        """The state, for `load` of a bank with the same or changed rules."""
        return msgspec.msgpack.encode(
            _State(
                format=FORMAT,
                polars=pl.__version__,
                seed=self._hasher.seed,
                floors=self._floors,
                facts=self._store.dump(),
                judges={key: judge.state() for key, judge in self._judges.items()},
                fed={key: fed.state() for key, fed in self._fed.items()},
            )
        )

    def load(self, state: bytes) -> None:
        """Take up a dump; rules that changed in what they ask start empty.

        Raises ValueError when it is none of ours, of another format, or hashed by another Polars.
        """
        kept = msgspec.msgpack.decode(state, type=_State)
        if kept.format != FORMAT:
            raise ValueError(f"correlations of format {kept.format}, not {FORMAT}")
        if kept.polars != pl.__version__:
            raise ValueError(f"correlations hashed by polars {kept.polars}, not {pl.__version__}")
        self._hasher = Hasher(kept.seed)
        self._floors = {key: kept.floors[key] for key in self._judges.keys() & kept.floors.keys()}
        self._store.load(kept.facts)
        for key, judge in self._judges.items():
            found, floors = kept.judges.get(key), self._floors.get(key)
            if found is not None:
                judge.restore(found, None if floors is None else floor_of(judge.rule, floors))
        for key, fed in self._fed.items():
            if key in kept.fed:
                fed.restore(kept.fed[key])

    def groups(self, rule: Correlation) -> HeldGroups | None:
        """What is held of a rule's groups now; None: it is not judged here."""
        judge = self._judges.get(rule_key(rule))
        if judge is None:
            return None
        judge.settle()
        return HeldGroups(judge, self._store, self._fields)

    @property
    def chained_evicted(self) -> int:
        """Signals that can be taken back from the rules which rest on them no more."""
        return sum(fed.evicted for fed in self._fed.values())

    def stats(self) -> Iterator[tuple[Correlation, CorrelatorStats]]:
        """Counts of each rule since the start."""
        for judge in self._judges.values():
            yield judge.rule, judge.memory.stats


class _Change(msgspec.Struct, frozen=True):
    """Events that come to a rule, and such that go, as columns."""

    come: Columns
    gone: Columns | None = None


NOTHING: dict[str, Array] = {"gid": np.empty(0, np.uint64), "time": np.empty(0, np.int64),
                             "blind": np.empty(0, np.bool_)}  # fmt: skip


def _named(rule: Correlation, leaf: Leaf) -> list[str]:
    """The fields that tell signals of a rule apart."""
    return [*leaf.group, *(leaf.values if isinstance(rule.asks, FirstSeen) else [])]


def _feed_key(inner: str, feed: Feed) -> str:
    return f"{inner}>{rule_key(feed.outer)}"


def rests_across(rule: Correlation) -> bool:
    """Whether it rests on rules whose groups lie in several partitions."""
    return any(step.inner is not None and step.inner.across for step in rule.steps)


def floor_of(rule: Correlation, floors: Floors) -> int:
    """No event of the rule before this time can come any more: signals that it rests on may come
    later than the actions they are about.
    """
    inner = [step.inner for step in rule.steps if step.inner is not None]
    floor = floors.chained_us if rests_across(rule) else floors.plain_us
    return min([floor, *(settled_us(one, floor) for one in inner)])


def _changes(reading: Reading, found: Iterable[tuple[Correlation, Matched]]) -> dict[str, _Change]:
    come: dict[str, list[dict[str, Array]]] = {}
    gone: dict[str, list[dict[str, Array]]] = {}
    for rule, matched in found:
        columns, whole = reading.columns(rule, matched)
        if matched.gone is not None:
            left = matched.gone[whole]
            gone.setdefault(rule_key(rule), []).append({n: v[left] for n, v in columns.items()})
            columns = {name: values[~left] for name, values in columns.items()}
        come.setdefault(rule_key(rule), []).append(columns)
    return {
        key: _Change(stacked(parts), stacked(gone[key]) if key in gone else None)
        for key, parts in come.items()
    }


def _moved(
    judge: Judge, before: Reading, after: Reading, mask: Bools
) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
    """Events that a judge holds of rows whose facts changed: as they were, and as they are."""
    rule = judge.rule
    meaning = meanings(rule)
    rows = np.flatnonzero(mask)
    for first in np.unique(meaning).tolist():
        size = len(rows)
        asked = Matched(
            rows, np.ones(size, np.int64), np.full(size, first), np.zeros(size, np.bool_)
        )
        old, whole = before.columns(rule, asked)
        held, places = judge.memory.held(old["gid"], old["time"], old["high"], old["low"])
        kept = {n: judge.memory.blocks.rows[n][places] for n in ("steps", "leaf", "blind")}
        alike = meaning[kept["leaf"]] == first
        if not alike.any():
            continue
        at = np.flatnonzero(held)[alike]
        now = Matched(rows[whole][at], *(kept[n][alike] for n in ("steps", "leaf", "blind")))
        new, _ = after.columns(rule, now)
        yield {name: old[name][at] for name in ("gid", "time", "high", "low")}, new
