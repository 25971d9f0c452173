"""Which events match which conditions: a literal prefilter, then the exact conditions on the rows left.

One pass per long text column looks for all words that any condition needs there. Rows without such a word are
never asked; conditions without words are asked of every row. What comes out is exact either way.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.conditions import Node
from tachograph.detectors.fields import FieldMap
from tachograph.detectors.lowering import Lowering
from tachograph.detectors.prefilter import FOLDING, Witness, witness

Rows = npt.NDArray[np.int64]
Schema = tuple[tuple[str, pl.DataType], ...]

# Schemas kept compiled; raw logs can bring one per batch.
MAX_COMPILED = 16
# From so many guarded conditions on, rows are sorted out per condition, not per column.
MANY_CONDITIONS = 48


@dataclass
class MatcherStats:
    """What the prefilter spares: rows asked in full, out of rows seen."""

    rows: int = 0
    candidates: dict[int, int] = field(default_factory=lambda: defaultdict(int))


@dataclass(frozen=True)
class _Asked:
    """Conditions asked of the same rows, compiled for one schema."""

    conditions: list[int]
    base: list[str]
    values: list[pl.Expr]
    texts: list[pl.Expr]
    expressions: list[pl.Expr]

    def rows(self, frame: pl.DataFrame, places: Rows | None) -> dict[int, Rows]:
        """Row numbers that match, by condition; `places` are the rows to ask (None: all)."""
        asked = frame.select(self.base)
        if places is not None:
            asked = asked[places]
        for helpers in (self.values, self.texts):
            if helpers:
                asked = asked.with_columns(helpers)
        found = asked.select(self.expressions)
        matched: dict[int, Rows] = {}
        for condition, mask in zip(self.conditions, found, strict=True):
            if mask.any():
                hits = mask.arg_true().to_numpy().astype(np.int64)
                matched[condition] = hits if places is None else places[hits]
        return matched


@dataclass(frozen=True)
class _Plan:
    """Everything asked of frames of one schema."""

    direct: _Asked | None
    # Words to look for in each column, and the conditions whose words they are.
    words: dict[str, list[str]]
    guarded: dict[frozenset[str], _Asked]
    single: dict[int, _Asked]
    owners: dict[str, dict[str, list[int]]]


class Matcher:
    """Compiled conditions. `match` is pure but for its counters."""

    def __init__(self, conditions: Sequence[Node], fields: FieldMap) -> None:
        self._conditions = list(conditions)
        self._fields = fields
        self._witnesses = [witness(node, fields) for node in conditions]
        self._plans: dict[Schema, _Plan] = {}
        self.stats = MatcherStats()

    def match(self, frame: pl.DataFrame) -> dict[int, Rows]:
        """Row numbers, ascending, that match each condition (by its place in the list)."""
        if frame.is_empty() or not self._conditions:
            return {}
        plan = self._plan(frame.schema)
        self.stats.rows += frame.height
        matched = plan.direct.rows(frame, None) if plan.direct is not None else {}
        hits = {column: _hits(frame[column], words) for column, words in plan.words.items()}
        for columns, asked in plan.guarded.items():
            places = _places([hits[column] for column in columns])
            if len(places):
                self._count(asked, len(places))
                matched |= asked.rows(frame, places)
        if plan.single:
            for condition, places in _owned_rows(frame, hits, plan).items():
                self.stats.candidates[condition] += len(places)
                matched |= plan.single[condition].rows(frame, places)
        return matched

    def _count(self, asked: _Asked, rows: int) -> None:
        for condition in asked.conditions:
            self.stats.candidates[condition] += rows

    def _plan(self, schema: Mapping[str, pl.DataType]) -> _Plan:
        key = tuple(schema.items())
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MAX_COMPILED:
                self._plans.pop(next(iter(self._plans)))
            plan = self._plans[key] = self._compile(dict(schema))
        return plan

    def _compile(self, schema: dict[str, pl.DataType]) -> _Plan:
        direct: list[int] = []
        guarded: dict[frozenset[str], list[int]] = defaultdict(list)
        owners: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for at, found in enumerate(self._witnesses):
            if found is None or not _searchable(found, schema):
                direct.append(at)
                continue
            present = [(column, word) for column, word in found if column in schema]
            if not present:
                continue  # its words cannot stand in columns that are not there
            guarded[frozenset(column for column, _ in present)].append(at)
            for column, word in present:
                owners[column][word].append(at)
        single = sum(map(len, guarded.values())) > MANY_CONDITIONS
        return _Plan(
            direct=self._asked(direct, schema) if direct else None,
            words={column: [*words, *FOLDING] for column, words in owners.items()},
            guarded={}
            if single
            else {columns: self._asked(ats, schema) for columns, ats in guarded.items()},
            single={at: self._asked([at], schema) for ats in guarded.values() for at in ats}
            if single
            else {},
            owners={column: dict(words) for column, words in owners.items()},
        )

    def _asked(self, conditions: list[int], schema: dict[str, pl.DataType]) -> _Asked:
        lowering = Lowering(schema, self._fields)
        expressions = [
            lowering.expression(self._conditions[at]).alias(str(at)) for at in conditions
        ]
        base = sorted(lowering.reads) or [next(iter(schema))]
        return _Asked(
            conditions=conditions,
            base=base,
            values=[expr.alias(name) for name, expr in lowering.values.items()],
            texts=[expr.alias(name) for name, expr in lowering.texts.items()],
            expressions=[_broadcast(expr, base[0]) for expr in expressions],
        )


def _broadcast(expression: pl.Expr, column: str) -> pl.Expr:
    """A constant becomes a column as long as the others."""
    if expression.meta.root_names():
        return expression
    name = expression.meta.output_name()
    return pl.when(pl.col(column).is_null()).then(expression).otherwise(expression).alias(name)


def _searchable(found: Witness, schema: Mapping[str, pl.DataType]) -> bool:
    return all(schema.get(column, pl.String()) == pl.String() for column, _ in found)


def _hits(column: pl.Series, words: list[str]) -> npt.NDArray[np.bool_]:
    found = column.str.contains_any(words, ascii_case_insensitive=True)
    return found.fill_null(value=False).to_numpy()


def _places(masks: list[npt.NDArray[np.bool_]]) -> Rows:
    return np.flatnonzero(np.logical_or.reduce(masks)).astype(np.int64)


def _owned_rows(
    frame: pl.DataFrame, hits: Mapping[str, npt.NDArray[np.bool_]], plan: _Plan
) -> dict[int, Rows]:
    """For each condition the rows in which one of its own words stands."""
    found: dict[int, list[Rows]] = defaultdict(list)
    for column, mask in hits.items():
        places = np.flatnonzero(mask).astype(np.int64)
        if not len(places):
            continue
        for word, rows in _rows_by_word(frame[column][places], plan.words[column]).items():
            owners = plan.owners[column].get(word)
            for condition in plan.single if owners is None else owners:
                found[condition].append(places[rows])
    return {at: np.unique(np.concatenate(rows)) for at, rows in found.items()}


def _rows_by_word(texts: pl.Series, words: list[str]) -> dict[str, Rows]:
    """Row numbers by the word found there, in lower case."""
    found = (
        pl.DataFrame(
            {"word": texts.str.extract_many(words, ascii_case_insensitive=True, overlapping=True)}
        )
        .with_row_index("row")
        .explode("word")
        .drop_nulls()
        .with_columns(pl.col("word").str.to_lowercase())
        .unique()
        .group_by("word")
        .agg("row")
    )
    return {
        word: rows.to_numpy().astype(np.int64)
        for word, rows in zip(found["word"], found["row"], strict=True)
    }
