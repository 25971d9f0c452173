"""A few dozen conditions: each is first asked roughly of all rows, then in full of the rows that
are left.

The rough question keeps what is cheap (comparing short columns) as it is, and puts in place of what
is dear (regular expressions, long texts) a look for words that must be there, or that the field has
a value at all. It is true wherever the condition is; where nothing dear was in it, it is the
answer.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tachograph.detectors.language.conditions import (
    And,
    Leaf,
    Node,
    Not,
    Number,
    Or,
    Present,
    Text,
    Truth,
    fields_of,
    leaves,
)
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.matching.asked import (
    Asked,
    MatcherStats,
    Rows,
    ask,
    broadcast,
    has_word,
    lacking,
)
from tachograph.detectors.matching.lowering import Lowering
from tachograph.detectors.matching.prefilter import witness

# So few rows are asked in full sooner than words are looked for in them.
FEW_ROWS = 64
FEW_SHARE = 32


class RoughPlan:
    """Conditions compiled for one schema."""

    def __init__(
        self, conditions: Sequence[Node], schema: Mapping[str, pl.DataType], fields: FieldMap
    ) -> None:
        self._conditions = conditions
        self._schema, self._fields = schema, fields
        self._lowering = Lowering(schema, fields)
        # Name of the look → column, and the words looked for in it.
        self._guards: dict[str, tuple[str, pl.Expr]] = {}
        rough = [self._rough(node, positive=True) for node in conditions]
        self._exact = [all(self._cheap(leaf) for leaf in leaves(node)) for node in conditions]
        here = fields.own("event_id")
        self._expressions = [
            broadcast(expression.alias(str(at)), here) for at, expression in enumerate(rough)
        ]
        columns = [[fields.source(name).column for name in fields_of(node)] for node in conditions]
        self._columns = [[name for name in own if name in schema] for own in columns]
        self._reads = [set(expression.meta.root_names()) for expression in self._expressions]
        # Short columns only: helpers in lower case, each made of one column of the frame.
        self._helpers = [
            {expr.meta.output_name(): expr for expr in added} for added in self._lowering.helpers()
        ]
        self._asked = {
            at: Asked({at: node}, schema, fields)
            for at, node in enumerate(conditions)
            if not self._exact[at]
        }

    def match(self, frame: pl.DataFrame, stats: MatcherStats) -> dict[int, Rows]:
        """Row numbers, ascending, by condition."""
        valued = {c.name for c in frame.get_columns() if c.null_count() < frame.height}
        empty = set(self._schema) - valued
        asked = [at for at, node in enumerate(self._conditions) if self._possible(node, empty)]
        if not asked:
            return {}
        wanted = set().union(*(self._reads[at] for at in asked))
        read = {name: self._schema[name] for at in asked for name in self._columns[at]}
        query = frame.lazy().with_columns(lacking(read, frame))
        for helpers in self._helpers:
            query = query.with_columns(expr for name, expr in helpers.items() if name in wanted)
        query = query.with_columns(self._looks(frame, wanted))
        matched: dict[int, Rows] = {}
        few: dict[int, Rows] = {}
        masks = query.select(self._expressions[at] for at in asked).collect()
        for at, mask in zip(asked, masks, strict=True):
            if not mask.any():
                continue
            rows = mask.arg_true().to_numpy().astype(np.int64)
            stats.candidates[at] += len(rows)
            if self._exact[at]:
                matched[at] = rows
            elif len(rows) <= frame.height // FEW_SHARE:
                few[at] = rows
            else:
                matched |= self._asked[at].rows(frame, rows)
        if few:
            # Asking each on its own would cost more than asking all of them of some rows more.
            rows = np.unique(np.concatenate(list(few.values())))
            matched |= ask([self._asked[at] for at in few], frame, rows)
        return matched

    def _looks(self, frame: pl.DataFrame, wanted: set[str]) -> list[pl.Expr]:
        """The looks for words; where few rows have a value, having one is enough of a look."""
        looks = []
        for name in sorted(wanted & set(self._guards)):
            column, look = self._guards[name]
            absent = column not in frame.columns
            valued = 0 if absent else frame.height - frame.get_column(column).null_count()
            few = pl.col(column).is_not_null() if valued else pl.lit(value=False)
            looks.append((look if valued > FEW_ROWS else few).alias(name))
        return looks

    def _possible(self, node: Node, empty: set[str]) -> bool:
        """Whether any row can match when these columns hold no value at all."""
        match node:
            case And(parts):
                return all(self._possible(part, empty) for part in parts)
            case Or(parts):
                return any(self._possible(part, empty) for part in parts)
            case Leaf():
                if node.field is None or node.test == Present(value=False):
                    return True
                return self._fields.source(node.field).column not in empty
        return True

    def _rough(self, node: Node, *, positive: bool) -> pl.Expr:
        match node:
            case And(parts):
                return pl.all_horizontal([self._rough(part, positive=positive) for part in parts])
            case Or(parts):
                return self._rough_or(parts, positive=positive)
            case Not(part):
                return ~self._rough(part, positive=not positive)
            case Leaf():
                if self._cheap(node):
                    return self._lowering.expression(node)
                # Under a `not` the leaf must not be taken for true where it is not.
                return self._guard(node) if positive else pl.lit(value=False)

    def _rough_or(self, parts: Sequence[Node], *, positive: bool) -> pl.Expr:
        """Alternatives; those that look for words in one column look together."""
        words: dict[str, set[str]] = {}
        asked: list[pl.Expr] = []
        for part in parts:
            found = self._words(part) if positive else None
            if found is None:
                asked.append(self._rough(part, positive=positive))
            else:
                column, own = found
                words.setdefault(column, set()).update(own)
        asked += [self._look(column, sorted(own)) for column, own in words.items()]
        return asked[0] if len(asked) == 1 else pl.any_horizontal(asked)

    def _words(self, node: Node) -> tuple[str, list[str]] | None:
        """Column and words of a dear leaf that has some."""
        if not isinstance(node, Leaf) or node.field is None or self._cheap(node):
            return None
        column = self._fields.source(node.field).column
        found = witness(node, self._fields)
        if found is None or self._schema.get(column) != pl.String():
            return None
        return column, [word for _, word in found]

    def _look(self, column: str, words: list[str]) -> pl.Expr:
        name = f"words:{column}:{len(words)}:{hash(tuple(words))}"
        self._guards[name] = (column, has_word(column, words))
        return pl.col(name)

    def _cheap(self, leaf: Leaf) -> bool:
        """Asking it of every row costs little."""
        if leaf.field is None:
            return False
        source = self._fields.source(leaf.field)
        if not source.whole:
            return False
        match leaf.test:
            case Present() | Number() | Truth():
                return True
            case Text():
                return not self._fields.long(source.column)
        return False

    def _guard(self, leaf: Leaf) -> pl.Expr:
        """Something cheap that holds wherever the leaf does."""
        if leaf.field is None:
            return pl.lit(value=True)
        column = self._fields.source(leaf.field).column
        if column not in self._schema:
            return self._lowering.expression(leaf)
        found = self._words(leaf)
        if found is not None:
            return self._look(*found)
        may_lack = isinstance(leaf.test, Present)
        return pl.lit(value=True) if may_lack else pl.col(column).is_not_null()
