"""Hundreds of conditions: words are looked for once per column, and say which condition may match
which row.

Conditions from which no words follow are asked of every row.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.language.conditions import Node
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.matching.asked import Asked, MatcherStats, Rows, has_word
from tachograph.detectors.matching.lowering import attribute_values
from tachograph.detectors.matching.prefilter import ANYWHERE, FOLDING, NON_ASCII, Witness, witness
from tachograph.schemas.batch import ATTRIBUTES


class BulkPlan:
    """Conditions compiled for one schema, each when it is first asked."""

    def __init__(
        self, conditions: Sequence[Node], schema: Mapping[str, pl.DataType], fields: FieldMap
    ) -> None:
        self._conditions, self._schema, self._fields = conditions, schema, fields
        # Column → word → conditions of which it is a witness.
        self._owners: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        direct: dict[int, Node] = {}
        for at, node in enumerate(conditions):
            found = witness(node, fields)
            if found is None or not _searchable(found, schema):
                direct[at] = node
                continue
            # Words cannot stand in a column that is not there.
            for column, word in found:
                if column in schema or column == ANYWHERE:
                    self._owners[column][word].append(at)
        self._direct = Asked(direct, schema, fields) if direct else None
        self._asked: dict[int, Asked] = {}

    def match(self, frame: pl.DataFrame, stats: MatcherStats) -> dict[int, Rows]:
        """Row numbers, ascending, by condition."""
        matched = self._direct.rows(frame, None) if self._direct is not None else {}
        for at, places in self._candidates(frame).items():
            stats.candidates[at] += len(places)
            asked = self._asked.get(at)
            if asked is None:
                asked = Asked({at: self._conditions[at]}, self._schema, self._fields)
                self._asked[at] = asked
            matched |= asked.rows(frame, places)
        return matched

    def _candidates(self, frame: pl.DataFrame) -> dict[int, Rows]:
        """For each condition the rows in which one of its words stands."""
        if ANYWHERE in self._owners:
            frame = frame.with_columns(self._everything(frame.schema).alias(ANYWHERE))
        here = {c.name for c in frame.get_columns() if c.null_count() < frame.height}
        owned = {column: words for column, words in self._owners.items() if column in here}
        if not owned:
            return {}
        looks = [has_word(column, list(words)).alias(column) for column, words in owned.items()]
        hits = frame.select(looks)
        found: dict[int, list[Rows]] = defaultdict(list)
        for column, owners in owned.items():
            places = hits[column].arg_true().to_numpy().astype(np.int64)
            if not len(places):
                continue
            for word, rows in _rows_by_word(frame[column][places], list(owners)).items():
                whole = {at for ats in owners.values() for at in ats}
                for condition in owners.get(word, whole):
                    found[condition].append(places[rows])
        return {at: np.unique(np.concatenate(rows)) for at, rows in found.items()}

    def _everything(self, schema: Mapping[str, pl.DataType]) -> pl.Expr:
        """All text that a keyword is looked for in, in one."""
        texts = []
        for name in self._fields.keyword_columns(schema):
            column = pl.col(name) if schema[name] != ATTRIBUTES else attribute_values(name)
            if isinstance(schema[name], pl.List):
                column = column.cast(pl.List(pl.String)).list.join("\n", ignore_nulls=True)
            texts.append(column.cast(pl.String))
        nothing = pl.lit(None, pl.String)
        return pl.concat_str(texts, separator="\n", ignore_nulls=True) if texts else nothing


def _searchable(found: Witness, schema: Mapping[str, pl.DataType]) -> bool:
    return all(schema.get(column, pl.String()) == pl.String() for column, _ in found)


def _rows_by_word(texts: pl.Series, words: list[str]) -> dict[str, npt.NDArray[np.int64]]:
    """Row numbers by the word found there, in lower case; by FOLDING characters too."""
    plain = [word for word in words if word != NON_ASCII]
    every = [*plain, *FOLDING]
    table = (
        pl.DataFrame(
            {"word": texts.str.extract_many(every, ascii_case_insensitive=True, overlapping=True)}
        )
        .with_row_index("row")
        .explode("word")
        .drop_nulls()
        .with_columns(pl.col("word").str.to_lowercase())
        .unique()
        .group_by("word")
        .agg("row")
    )
    found = {
        word: rows.to_numpy().astype(np.int64)
        for word, rows in zip(table["word"], table["row"], strict=True)
    }
    if len(plain) < len(words):
        beyond = (texts.str.len_bytes() != texts.str.len_chars()).arg_true()
        found[NON_ASCII] = beyond.to_numpy().astype(np.int64)
    return found
