"""One test asked in full, as Polars expressions, of the rows of a frame."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from tachograph.detectors.language.conditions import Leaf, Test
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.matching.bits import Mask
from tachograph.detectors.matching.lowering import Lowering

_VALUE = "value"
_VALUES = FieldMap("values")


class Question:
    """A test of fields, compiled for frames of one schema."""

    def __init__(self, leaf: Leaf, schema: Mapping[str, pl.DataType], fields: FieldMap) -> None:
        lowering = Lowering(schema, fields)
        self._answer = lowering.expression(leaf).alias("answer")
        # None where the answer is one for all rows, because columns it asks for are not there.
        self.reads = sorted(lowering.reads) if self._answer.meta.root_names() else []
        self._helpers = [added for added in lowering.helpers() if added]

    @property
    def everywhere(self) -> bool:
        """The one answer for all rows, where it asks for columns that are not there."""
        return bool(pl.select(self._answer).item())

    def mask(self, frame: pl.DataFrame) -> Mask:
        """Whether it holds, row by row."""
        if not self.reads:
            return np.full(frame.height, self.everywhere)
        part = frame.select(self.reads)
        for added in self._helpers:
            part = part.with_columns(added)
        return part.select(self._answer).to_series().to_numpy()


class ValueQuestions:
    """Tests of single values, whatever column they come from; each compiled once for each type."""

    def __init__(self) -> None:
        self._known: dict[tuple[Test, pl.DataType], Question] = {}

    def mask(self, test: Test, values: pl.Series) -> Mask:
        """Whether each value passes."""
        key = (test, values.dtype)
        known = self._known.get(key)
        if known is None:
            known = Question(Leaf(_VALUE, test), {_VALUE: values.dtype}, _VALUES)
            self._known[key] = known
        return known.mask(values.alias(_VALUE).to_frame())
