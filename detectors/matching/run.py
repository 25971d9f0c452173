"""One frame being asked: what is known of its columns so far."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tachograph.detectors.matching import bits
from tachograph.detectors.matching.column import AskedColumn, ColumnTests
from tachograph.detectors.matching.distinct import Distinct
from tachograph.detectors.matching.lowering import attribute_values
from tachograph.detectors.matching.question import Question
from tachograph.schemas.batch import ATTRIBUTES

# Stands for rows that were not looked up yet.
_LATER = -1


class Run:
    """Answers the leaves of conditions for one frame; each is worked out once."""

    def __init__(self, frame: pl.DataFrame, seed: int) -> None:
        self.frame, self.height = frame, frame.height
        self.schema: Mapping[str, pl.DataType] = frame.schema
        self._seed = seed
        self._distinct: dict[str, Distinct] = {}
        self._columns: dict[str, AskedColumn] = {}
        self._keywords: list[AskedColumn] = []
        self._present: dict[str, int] = {}
        # Rows by the number of a test that words tell; a test that no row passes is not here.
        self._told: dict[int, int] = {}
        # The columns in which words told it.
        self._told_by: dict[int, list[AskedColumn]] = {}

    def look(self, columns: Mapping[str, ColumnTests]) -> None:
        """Look for the words of these columns' tests."""
        for name, tests in columns.items():
            if self._has_values(name):
                self._columns[name] = self._looked(name, tests)

    def look_anywhere(self, columns: Sequence[str], tests: ColumnTests) -> None:
        """Look for the words of keywords in these columns."""
        self._keywords = [self._looked(name, tests) for name in columns if self._has_values(name)]

    def _looked(self, name: str, tests: ColumnTests) -> AskedColumn:
        asked = AskedColumn(tests, self._values_of(name))
        for number in asked.look():
            self._told[number] = _LATER
            self._told_by.setdefault(number, []).append(asked)
        return asked

    def _has_values(self, name: str) -> bool:
        column = self.frame.get_column(name, default=None)
        return column is not None and column.null_count() < self.height

    def _values_of(self, name: str) -> Distinct:
        found = self._distinct.get(name)
        if found is None:
            column = self.frame.get_column(name)
            if column.dtype == ATTRIBUTES:
                column = self.frame.select(attribute_values(name)).to_series()
            found = self._distinct[name] = Distinct(column, self._seed)
        return found

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
        return 0 if found is None or not rows else found.asked(number, rows)

    def keyword(self, number: int, rows: int) -> int:
        """Those of the rows that pass a test in any of their texts."""
        found = 0
        for column in self._keywords:
            found |= column.asked(number, rows & ~found)
        return found

    def present(self, column: str) -> int:
        """Rows with a value in the column."""
        found = self._present.get(column)
        if found is None:
            held = self.frame.get_column(column, default=None)
            found = 0 if held is None else bits.of_mask(held.is_not_null().to_numpy())
            self._present[column] = found
        return found

    def row_by_row(self, question: Question, rows: int) -> int:
        """Those of the rows that pass a test of more than one column, or within one."""
        if not rows:
            return 0
        if not question.reads:
            return rows if question.everywhere else 0
        places = bits.rows_of(rows, self.height)
        passed = question.mask(self.frame.select(question.reads)[places])
        mask = np.zeros(self.height, np.bool_)
        mask[places[passed]] = True
        return bits.of_mask(mask)
