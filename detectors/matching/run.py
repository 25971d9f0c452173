"""One frame being asked: what is known of its columns so far."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property

import numpy as np
import polars as pl

from tachograph.detectors.matching import bits
from tachograph.detectors.matching.bits import Rows
from tachograph.detectors.matching.column import AskedColumn, ColumnTests
from tachograph.detectors.matching.distinct import Distinct, distinct
from tachograph.detectors.matching.lowering import attribute_values
from tachograph.detectors.matching.question import Question
from tachograph.schemas.batch import ATTRIBUTES

# Stands for rows that were not looked up yet.
_LATER = -1


class Run:
    """Answers the leaves of conditions for one frame; each is worked out once."""

    def __init__(self, frame: pl.DataFrame, seed: int, valued: AbstractSet[str]) -> None:
        """`valued`: columns of the frame with a value in some row."""
        self._valued = valued
        self.frame, self.height = frame, frame.height
        self.schema: Mapping[str, pl.DataType] = frame.schema
        self._seed = seed
        self._columns: dict[str, AskedColumn] = {}
        self._keywords: list[AskedColumn] = []
        self._last: tuple[int, Rows] = (0, np.empty(0, np.int64))
        # Rows by the number of a test that words tell; a test that no row passes is not here.
        self._told: dict[int, int] = {}
        # The columns in which words told it.
        self._told_by: dict[int, list[AskedColumn]] = {}

    def look(
        self,
        columns: Mapping[str, ColumnTests],
        anywhere: Sequence[str],
        keywords: ColumnTests | None,
    ) -> None:
        """Look for the words of these columns' tests, and for keywords `anywhere`."""
        valued = [name for name in {*columns, *anywhere} if name in self._valued]
        values = distinct(self._texts(valued), self._seed)
        for name, tests in columns.items():
            if name in values:
                self._columns[name] = self._looked(tests, values[name])
        if keywords is not None:
            here = [values[name] for name in anywhere if name in values]
            self._keywords = [self._looked(keywords, found) for found in here]

    def _texts(self, names: Sequence[str]) -> pl.DataFrame:
        """These columns; attributes as the list of their values."""
        part = self.frame.select(names)
        maps = [name for name, kind in part.schema.items() if kind == ATTRIBUTES]
        return part.with_columns(attribute_values(name) for name in maps) if maps else part

    def _looked(self, tests: ColumnTests, values: Distinct) -> AskedColumn:
        asked = AskedColumn(tests, values)
        for number in asked.look():
            self._told[number] = _LATER
            self._told_by.setdefault(number, []).append(asked)
        return asked

    def distinct(self, column: str) -> Distinct | None:
        """The values of a column that tests were asked of."""
        found = self._columns.get(column)
        return None if found is None else found.distinct

    def told(self, number: int) -> int:
        """Rows that pass a test that words tell."""
        found = self._told.get(number, 0)
        if found == _LATER:
            found = 0
            for column in self._told_by[number]:
                found |= column.told(number)
            self._told[number] = found
        return found

    def any_told(self, numbers: Sequence[int]) -> int:
        """Rows that pass any of these tests."""
        found, told = 0, self._told
        for number in numbers:
            if number in told:
                found |= self.told(number)
        return found

    def asked(self, column: str, number: int, rows: int) -> int:
        """Those of the rows that pass a test of a column's values."""
        found = self._columns.get(column)
        return found.asked(number, rows) if found is not None and rows else 0

    def keyword(self, number: int, rows: int) -> int:
        """Those of the rows that pass a test in any of their texts."""
        found = 0
        for column in self._keywords if rows else ():
            found |= column.asked(number, rows)
        return found

    def _places(self, rows: int) -> Rows:
        """Row numbers; the same rows are asked of one column after the other."""
        if rows != self._last[0]:
            self._last = rows, bits.rows_of(rows, self.height)
        return self._last[1]

    def present(self, column: str) -> int:
        """Rows with a value in the column."""
        if column not in self._valued:
            return 0
        return self._presences[column]

    @cached_property
    def _presences(self) -> dict[str, int]:
        """Of every column with a value in some row, the rows: one question for all of them."""
        partly = [name for name in self._valued if self.frame.get_column(name).null_count()]
        there = self.frame.select(pl.col(partly).is_not_null()) if partly else pl.DataFrame()
        found = dict.fromkeys(self._valued, bits.everything(self.height))
        return found | {column.name: bits.of_mask(column.to_numpy()) for column in there}

    def held(self, column: str) -> int:
        """Rows with a value in the column that is more than an empty list."""
        held = self.frame.get_column(column, default=None)
        if held is None or not isinstance(held.dtype, pl.List):
            return self.present(column)
        some = held.list.drop_nulls().list.len().fill_null(0) > 0
        return bits.of_mask(some.to_numpy())

    def row_by_row(self, question: Question, rows: int) -> int:
        """Those of the rows that pass a test of more than one column, or within one."""
        if not rows:
            return 0
        if not question.reads:
            return rows if question.everywhere else 0
        places = self._places(rows)
        passed = question.mask(self.frame.select(question.reads)[places])
        mask = np.zeros(self.height, np.bool_)
        mask[places[passed]] = True
        return bits.of_mask(mask)
