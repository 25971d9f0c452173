"""What matched of rules that reach across partitions, on its way to where they are judged.

An event whose session or agent becomes known later may belong to another group: it leaves the old
one and enters the new. Rows that a link can still tell something are remembered for that, bounded.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.correlation.matched import Matched, Matches, rule_key
from tachograph.detectors.fact_store import UNLINKED_OR_NOBODYS, FactStore
from tachograph.detectors.facts import Rows
from tachograph.detectors.language.rule import MICROS, Correlation
from tachograph.detectors.links import Linked, Trace, changed_rows, linked

# So long a link is waited for, beyond the allowed lateness.
UNLINKED_S = 3600


class _Sent(msgspec.Struct, frozen=True, array_like=True):
    """Rows of one remembered table that were sent for one rule."""

    rule: str
    rows: list[int]
    steps: list[int]
    leaf: list[int]
    late: list[bool]


class OutboundState(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered, as it is dumped."""

    facts: bytes = b""
    sent: dict[int, list[_Sent]] = {}


class Outbound:
    """Remembers what was sent and may have to be sent again. Not thread-safe."""

    def __init__(self, rules: Iterable[Correlation], limit: int) -> None:
        self._rules = {rule_key(rule): rule for rule in rules}
        self._store = FactStore(UNLINKED_OR_NOBODYS)
        self._sent: dict[int, list[_Sent]] = {}
        self._limit = limit
        # Rows that no link will move any more, because there were too many.
        self.evicted = 0

    def __len__(self) -> int:
        return sum(table.height for table in self._store.tables.values())

    def send(
        self, facts: pl.DataFrame, found: Sequence[tuple[Correlation, Matched]]
    ) -> Matches | None:
        """What is to be sent of a fact frame; None: nothing."""
        if not found:
            return None
        self._remember(facts, found)
        return Matches(facts, list(found))

    def relink(self, links: Mapping[Trace, Linked]) -> Matches | None:
        """What is to be sent because sessions and agents of traces became known; None: nothing."""
        frames: list[pl.DataFrame] = []
        found: list[tuple[Correlation, Matched]] = []
        at = 0
        for number in self._store.waiting(links):
            before = self._store.tables[number]
            after = linked(before, links)
            moved = changed_rows(before, after)
            if not moved.any():
                continue
            self._store.tables[number] = after
            frames += [before, after]
            for sent in self._sent[number]:
                found += self._again(sent, moved, at, before.height)
            at += 2 * before.height
        return Matches(pl.concat(frames, how="diagonal"), found) if found else None

    def _again(
        self, sent: _Sent, moved: npt.NDArray[np.bool_], at: int, height: int
    ) -> list[tuple[Correlation, Matched]]:
        """The moved rows leave as they were, at `at`, and enter as they are, `height` below."""
        rows = np.array(sent.rows, np.int64)
        asked = moved[rows]
        rule = self._rules.get(sent.rule)
        if rule is None or not asked.any():
            return []
        old = rows[asked] + at
        both = Matched(
            rows=np.concatenate([old, old + height]),
            steps=np.tile(np.array(sent.steps, np.int64)[asked], 2),
            leaf=np.tile(np.array(sent.leaf, np.int64)[asked], 2),
            late=np.tile(np.array(sent.late, np.bool_)[asked], 2),
            gone=np.arange(2 * len(old)) < len(old),
        )
        return [(rule, both)]

    def _remember(self, facts: pl.DataFrame, found: Sequence[tuple[Correlation, Matched]]) -> None:
        used = np.unique(np.concatenate([matched.rows for _, matched in found]))
        waits = facts.select(UNLINKED_OR_NOBODYS.fill_null(value=False)).to_series().to_numpy()
        kept = used[waits[used]]
        if not len(kept):
            return
        number = self._store.add(facts[kept])
        self._sent[number] = [_sent(rule, matched, kept) for rule, matched in found]
        while len(self) > self._limit and len(self._store.tables) > 1:
            oldest = next(iter(self._store.tables))
            self.evicted += self._store.tables[oldest].height
            self._keep(set(self._store.tables) - {oldest})

    def advance(self, floor_us: int) -> None:
        """A link that comes so late changes nothing any more."""
        before = floor_us - UNLINKED_S * MICROS
        tables = self._store.tables
        self._keep({n for n, table in tables.items() if _newest(table) >= before})

    def _keep(self, numbers: set[int]) -> None:
        self._store.keep(numbers)
        self._sent = {number: sent for number, sent in self._sent.items() if number in numbers}

    def state(self) -> OutboundState:
        return OutboundState(self._store.dump(), self._sent)

    def restore(self, state: OutboundState) -> None:
        self._store.load(state.facts)
        self._sent = dict(state.sent)


def _newest(table: pl.DataFrame) -> int:
    newest: int = table.select(pl.col("event_time").max()).item()
    return newest


def _sent(rule: Correlation, matched: Matched, kept: Rows) -> _Sent:
    """What was sent for a rule of the rows that are kept; rows as they are numbered there."""
    asked = np.isin(matched.rows, kept)
    places = np.searchsorted(kept, matched.rows[asked])
    return _Sent(
        rule_key(rule),
        places.tolist(),
        matched.steps[asked].tolist(),
        matched.leaf[asked].tolist(),
        matched.late[asked].tolist(),
    )
