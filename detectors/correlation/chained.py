"""Chains: the signals of one correlation as events of another.

The event has the time and the id of the signal, and the facts of the action that made it true. A
signal that is taken back takes its event with it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.correlation.arrays import Array
from tachograph.detectors.correlation.matched import SIGNAL, Matched, Matches, rule_key
from tachograph.detectors.correlation.reports import Fired
from tachograph.detectors.fact_store import FactStore
from tachograph.detectors.facts import number_column
from tachograph.detectors.ids import halves
from tachograph.detectors.language.rule import Correlation

_SLACK = 1_024
_BOOLEANS = frozenset({"synthetic", "replay", "partial"})
_NUMBERS = number_column("")

Row = dict[str, Any]


class Feed(msgspec.Struct, frozen=True):
    """A correlation that rests on another, the step it does so by, and the first leaf of that."""

    outer: Correlation
    step: int
    first_leaf: int


def feeds_of(rules: Iterable[Correlation]) -> dict[str, list[Feed]]:
    """By correlation (rule_key) those that rest on it."""
    found: dict[str, list[Feed]] = {}
    for outer in rules:
        leaf = 0
        for place, step in enumerate(outer.steps):
            if step.inner is not None:
                found.setdefault(rule_key(step.inner), []).append(Feed(outer, place, leaf))
            leaf += len(step.leaves)
    return found


def events_of(feed: Feed, fired: Sequence[Fired], store: FactStore) -> tuple[pl.DataFrame, Matched]:
    """The events that signals are for another correlation: a fact frame, and how they matched."""
    table = np.array([one.table for one in fired], np.int64)
    row = np.array([one.row for one in fired], np.int64)
    facts = store.rows(table, row).with_columns(
        pl.Series(SIGNAL, [one.signal.signal_id for one in fired], pl.String),
        pl.Series("partial", [bool(one.signal.blind_spots) for one in fired], pl.Boolean),
        pl.Series("table", table),
        pl.Series("row", row),
        pl.lit(None, pl.String).alias("twin_key"),
    )
    size = len(fired)
    matched = Matched(
        rows=np.arange(size),
        steps=np.full(size, 1 << feed.step),
        leaf=np.array([feed.first_leaf + one.leaf for one in fired], np.int64),
        late=np.zeros(size, np.bool_),
    )
    return facts, matched


class FedState(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of a feed, as it is dumped."""

    events: dict[str, tuple[int, int]] = {}
    rows: dict[str, tuple[Row, int]] = {}


class Fed:
    """Where the events of signals went, so that they can be taken back: within this place the group
    and time of each; elsewhere the facts that were sent of it.
    """

    def __init__(self, feed: Feed, limit: int) -> None:
        self._feed = feed
        self._limit = limit
        self._events: dict[str, tuple[int, int]] = {}
        self._rows: dict[str, tuple[Row, int]] = {}
        # Events that can be taken back no more, because there were too many.
        self.evicted = 0

    def entered(self, ids: Sequence[str], columns: dict[str, Array]) -> None:
        """These signals are events of these columns."""
        pairs = zip(columns["gid"].tolist(), columns["time"].tolist(), strict=True)
        self._events.update(zip(ids, pairs, strict=True))

    def gone(self, fired: Iterable[Fired]) -> dict[str, Array] | None:
        """Columns by which the events are known that signals were before they changed."""
        ids = [f.signal.signal_id for f in fired if f.signal.signal_id in self._events]
        if not ids:
            return None
        old = [self._events.pop(one) for one in ids]
        high, low = halves(pl.Series(ids))
        return {
            "gid": np.array([gid for gid, _ in old], np.uint64),
            "time": np.array([time for _, time in old], np.int64),
            "high": high,
            "low": low,
        }

    def forget(self, before_us: int, held: int) -> None:
        """Signals before this time change no more. `held`: how many events there are of them."""
        if len(self._events) > 2 * held + _SLACK:
            self._events = {n: one for n, one in self._events.items() if one[1] >= before_us}
        if len(self._rows) > _SLACK:
            self._rows = {n: r for n, r in self._rows.items() if r[0]["event_time"] >= before_us}

    # --- events that are sent elsewhere -----------------------------------------------------------

    def sent(self, fired: Sequence[Fired], store: FactStore) -> Matches | None:
        """What is to be sent because of signals that are new, revised or retracted."""
        ids = [one.signal.signal_id for one in fired]
        old = [self._rows.pop(one) for one in ids if one in self._rows]
        new = [one for one in fired if one.signal.change != "retracted"]
        frames, parts = [], []
        if old:
            frames.append(_frame([row for row, _ in old]))
            leaf = np.array([leaf for _, leaf in old], np.int64)
            parts.append(self._matched(leaf, gone=True))
        if new:
            facts, matched = events_of(self._feed, new, store)
            facts = facts.drop("table", "row")
            frames.append(facts)
            parts.append(self._matched(matched.leaf, gone=False))
            for one, row, leaf in zip(new, facts.to_dicts(), matched.leaf.tolist(), strict=True):
                self._rows[one.signal.signal_id] = (_known(row), leaf)
        while len(self._rows) > self._limit:
            del self._rows[next(iter(self._rows))]
            self.evicted += 1
        if not frames:
            return None
        whole = Matched(
            rows=np.arange(sum(len(part.rows) for part in parts)),
            steps=np.concatenate([part.steps for part in parts]),
            leaf=np.concatenate([part.leaf for part in parts]),
            late=np.concatenate([part.late for part in parts]),
            gone=np.concatenate([part.gone for part in parts if part.gone is not None]),
        )
        return Matches(pl.concat(frames, how="diagonal"), [(self._feed.outer, whole)])

    def _matched(self, leaf: Array, *, gone: bool) -> Matched:
        size = len(leaf)
        return Matched(
            np.arange(size),
            np.full(size, 1 << self._feed.step),
            leaf,
            np.zeros(size, np.bool_),
            np.full(size, gone),
        )

    def state(self) -> FedState:
        return FedState(self._events, self._rows)

    def restore(self, state: FedState) -> None:
        self._events, self._rows = dict(state.events), dict(state.rows)


def _known(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is not None}


def _frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Rows of fact frames as a frame again."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame(rows, schema={name: _kind(name) for name in names})


def _kind(name: str) -> pl.DataType:
    if name == "event_time":
        return pl.Int64()
    if name == "observed_time":
        return pl.Datetime("us", "UTC")
    if name in _BOOLEANS:
        return pl.Boolean()
    return pl.Float64() if name.startswith(_NUMBERS) else pl.String()
