"""Conditions asked in full of some rows, and the look for words that comes before."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.language.conditions import Node
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.matching.lowering import Lowering
from tachograph.detectors.matching.prefilter import FOLDING, NON_ASCII

Rows = npt.NDArray[np.int64]


@dataclass
class MatcherStats:
    """What cheap looks spare: rows asked in full, by condition, out of rows seen."""

    rows: int = 0
    candidates: dict[int, int] = field(default_factory=lambda: defaultdict(int))


class Asked:
    """Some conditions, compiled for one schema, asked of the same rows."""

    def __init__(
        self, conditions: Mapping[int, Node], schema: Mapping[str, pl.DataType], fields: FieldMap
    ) -> None:
        lowering = Lowering(schema, fields)
        expressions = {at: lowering.expression(node) for at, node in conditions.items()}
        self.conditions = list(conditions)
        # A column that every frame has is read too: answers must be as long as the frame.
        here = fields.own("event_id")
        self.base = {name: schema[name] for name in sorted({*lowering.reads, here})}
        self.helpers = lowering.helpers()
        self.expressions = [
            broadcast(expression.alias(str(at)), here) for at, expression in expressions.items()
        ]

    def rows(self, frame: pl.DataFrame, places: Rows | None) -> dict[int, Rows]:
        """Row numbers that match, by condition; `places` are the rows to ask, None: all."""
        return ask([self], frame, places)


def ask(asked: Sequence[Asked], frame: pl.DataFrame, places: Rows | None) -> dict[int, Rows]:
    """Row numbers that match, by condition, in one go; `places`: the rows to ask, None: all."""
    base = {name: kind for one in asked for name, kind in one.base.items()}
    part = pl.DataFrame([frame.get_column(name) for name in base if name in frame.columns])
    query = (part if places is None else part[places]).lazy()
    query = query.with_columns(lacking(base, frame))
    for depth in range(len(asked[0].helpers)):
        added = [expr for one in asked for expr in one.helpers[depth]]
        query = query.with_columns({expr.meta.output_name(): expr for expr in added}.values())
    found = query.select([expr for one in asked for expr in one.expressions]).collect()
    matched: dict[int, Rows] = {}
    for mask in found:
        if mask.any():
            hits = mask.arg_true().to_numpy().astype(np.int64)
            matched[int(mask.name)] = hits if places is None else places[hits]
    return matched


def lacking(columns: Mapping[str, pl.DataType], frame: pl.DataFrame) -> list[pl.Expr]:
    """Those of the columns that the frame does not have, without a value."""
    have = set(frame.columns)
    return [pl.lit(None, kind).alias(name) for name, kind in columns.items() if name not in have]


def broadcast(expression: pl.Expr, column: str) -> pl.Expr:
    """A constant becomes a column as long as the others."""
    if expression.meta.root_names():
        return expression
    name = expression.meta.output_name()
    return pl.when(pl.col(column).is_null()).then(expression).otherwise(expression).alias(name)


def has_word(column: str, words: Sequence[str]) -> pl.Expr:
    """Rows whose text holds any of the words, without regard to ASCII case; never null."""
    text = pl.col(column)
    plain = [word for word in words if word != NON_ASCII]
    found = []
    if len(plain) < len(words):
        found.append(text.str.len_bytes() != text.str.len_chars())
    if plain:
        # A lone K, İ or ſ can stand for a letter of a word: rows with one are asked in full.
        found.append(text.str.contains_any([*plain, *FOLDING], ascii_case_insensitive=True))
    return pl.any_horizontal(found).fill_null(value=False)
