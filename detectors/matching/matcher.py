"""Which events match which conditions.

A condition becomes a tree over numbered tests. Of each column the distinct values are taken, and
one pass over them for all words of all tests answers most tests at once; the trees are then asked
of sets of rows (see `bits`), what is cheap before what is dear, so that a dear test is asked only
of values that still matter.
"""

import functools
import secrets
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import polars as pl

from tachograph.detectors.language.conditions import Node
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.matching import bits
from tachograph.detectors.matching.bits import Rows
from tachograph.detectors.matching.run import Run
from tachograph.detectors.matching.silence import Needs, needs, possible
from tachograph.detectors.matching.tree import Ask, Trees

__all__ = ["Matcher", "Rows"]

# Lists of conditions that are kept compiled.
KEPT = 4


def valued_of(frame: pl.DataFrame) -> frozenset[str]:
    """The columns with a value in some row."""
    return frozenset(c.name for c in frame.get_columns() if c.null_count() < frame.height)


class Asked(NamedTuple):
    """The rows that match each condition, and the frame's run; None where nothing was asked."""

    rows: dict[int, Rows]
    run: Run | None


class _Compiled(NamedTuple):
    trees: Trees
    # Of each condition the parts that must all hold, the cheap ones and the others.
    parts: list[tuple[list[Ask], list[Ask]]]
    needs: list[Needs]


@functools.lru_cache(maxsize=KEPT)
def _compiled(conditions: tuple[Node, ...], fields: FieldMap) -> _Compiled:
    """All places of a process ask the same; nothing of one frame is kept in it."""
    trees = Trees(fields)
    parts = [trees.condition(node) for node in conditions]
    return _Compiled(trees, parts, [needs(node, fields) for node in conditions])


class Matcher:
    """Conditions, asked of frames of any schema. `match` is pure but for its counters."""

    def __init__(self, conditions: Sequence[Node], fields: FieldMap) -> None:
        self._fields = fields
        self._trees, self._conditions, self._needs = _compiled(tuple(conditions), fields)
        self._seed = secrets.randbits(63)
        self._candidates = [0] * len(conditions)
        self._spent_ns = [0] * len(conditions)
        # Columns that had a value in any frame: lately, and in the time before.
        self._carried: set[str] = set()
        self._carried_before: set[str] = set()

    def match(self, frame: pl.DataFrame) -> dict[int, Rows]:
        """Row numbers, ascending, that match each condition (by its place in the list)."""
        return self.ask(frame).rows

    def ask(self, frame: pl.DataFrame) -> "Asked":
        """As `match`, with what was learned of the frame on the way."""
        if frame.is_empty() or not self._conditions:
            return Asked({}, None)
        valued = valued_of(frame)
        self.carries(valued)
        run = self._run(frame, valued)
        everything = bits.everything(frame.height)
        matched: dict[int, Rows] = {}
        before_ns = time.perf_counter_ns()
        for at, needed in enumerate(self._needs):
            if not possible(needed, valued):
                continue
            rows = self._ask(at, run, everything)
            if rows:
                matched[at] = bits.rows_of(rows, frame.height)
            now_ns = time.perf_counter_ns()
            self._spent_ns[at] += now_ns - before_ns
            before_ns = now_ns
        return Asked(matched, run)

    def carries(self, columns: AbstractSet[str]) -> None:
        """Events carry values in these columns: those that `match` is given, or others asked."""
        self._carried |= columns

    def _run(self, frame: pl.DataFrame, valued: AbstractSet[str]) -> Run:
        run = Run(frame, self._seed, valued)
        keywords = self._trees.keywords
        anywhere = self._fields.keyword_columns(frame.schema) if keywords is not None else []
        run.look(self._trees.columns, anywhere, keywords)
        return run

    def _ask(self, at: int, run: Run, rows: int) -> int:
        cheap, dear = self._conditions[at]
        for ask in cheap:
            rows = ask(run, rows)
            if not rows:
                return 0
        self._candidates[at] += rows.bit_count()
        for ask in dear:
            rows = ask(run, rows)
            if not rows:
                return 0
        return rows

    def candidates(self, condition: int) -> int:
        """Rows left for the dear parts of a condition, since the start."""
        return self._candidates[condition]

    def spent_ns(self, condition: int) -> int:
        """Time that asking a condition took since the start; what it shares with others is borne by
        the first that asks.
        """
        return self._spent_ns[condition]

    def can_match(self, condition: int) -> bool:
        """Whether any event can match a condition, going by the columns that had values since the
        time before the last.
        """
        return possible(self._needs[condition], self._carried | self._carried_before)

    def age(self) -> None:
        """A new time begins; one without any event is none."""
        if self._carried:
            self._carried, self._carried_before = set(), self._carried
