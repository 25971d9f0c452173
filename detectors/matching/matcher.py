"""Which events match which conditions: something cheap first, then the exact conditions on the rows
left.

Two ways of being cheap, one result. A few dozen conditions are asked roughly (see `rough`); with
hundreds, words are looked for once per column and say which condition may match which row (see
`bulk`).
"""

from collections.abc import Mapping, Sequence

import polars as pl

from tachograph.detectors.language.conditions import Node
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.matching.asked import MatcherStats, Rows
from tachograph.detectors.matching.bulk import BulkPlan
from tachograph.detectors.matching.rough import RoughPlan

# Schemas kept compiled; raw logs can bring one per batch.
MAX_COMPILED = 16
# From so many conditions on, finding words once for all of them is cheaper.
MANY_CONDITIONS = 64

__all__ = ["MANY_CONDITIONS", "MAX_COMPILED", "Matcher", "Rows"]


class Matcher:
    """Conditions, compiled for the schemas that come. `match` is pure but for its counters."""

    def __init__(self, conditions: Sequence[Node], fields: FieldMap) -> None:
        # Equal conditions of several rules are asked once.
        self._distinct = list(dict.fromkeys(conditions))
        place = {node: at for at, node in enumerate(self._distinct)}
        self._place = [place[node] for node in conditions]
        self._fields = fields
        self._plans: dict[tuple[tuple[str, pl.DataType], ...], RoughPlan | BulkPlan] = {}
        self._stats = MatcherStats()

    def match(self, frame: pl.DataFrame) -> dict[int, Rows]:
        """Row numbers, ascending, that match each condition (by its place in the list)."""
        if frame.is_empty() or not self._distinct:
            return {}
        self._stats.rows += frame.height
        # Actions have one schema, of which a frame may lack columns; raw frames have their own.
        schema = self._fields.columns or frame.schema
        matched = self._plan(schema).match(frame, self._stats)
        return {at: matched[place] for at, place in enumerate(self._place) if place in matched}

    def candidates(self, condition: int) -> int:
        """Rows that were asked the condition in full, since the start."""
        return self._stats.candidates.get(self._place[condition], 0)

    def _plan(self, schema: Mapping[str, pl.DataType]) -> RoughPlan | BulkPlan:
        key = () if schema is self._fields.columns else tuple(schema.items())
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MAX_COMPILED:
                self._plans.pop(next(iter(self._plans)))
            kind = BulkPlan if len(self._distinct) > MANY_CONDITIONS else RoughPlan
            plan = self._plans[key] = kind(self._distinct, dict(schema), self._fields)
        return plan
