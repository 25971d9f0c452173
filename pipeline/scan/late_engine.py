"""The engine of a scan of raw events, made when an event comes that any of its rules may match: to
load it takes longer than to read many a file.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.matching.silence import needs, possible
from tachograph.schemas.alert import Signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tachograph.detectors.across import WholeDetector
    from tachograph.schemas.records import SessionLink


class LateEngine:
    """Judges as WholeDetector does, from the first frame that can matter to it."""

    def __init__(self, rules: RuleSet, model: Path | None) -> None:
        self._rules, self._model = rules, model
        self._made: WholeDetector | None = None
        conditions = (detection.condition for detection in rules.detections)
        self._needs = {needs(one, rules.fields) for one in conditions}
        # Who follows more than rules sees every event.
        if model is not None or rules.fields.columns is not None:
            self._made = _engine(rules, model)

    def process(
        self, frame: pl.DataFrame, links: "Sequence[SessionLink]", revision: int
    ) -> list[Signal]:
        """As WholeDetector; its signals."""
        if self._made is None and self._may_match(frame):
            self._made = _engine(self._rules, self._model)
        return [] if self._made is None else self._made.process(frame, links, revision).signals

    def close(self, revision: int) -> list[Signal]:
        """As WholeDetector; its signals."""
        return [] if self._made is None else self._made.close(revision).signals

    def _may_match(self, frame: pl.DataFrame) -> bool:
        valued = {c.name for c in frame.get_columns() if c.null_count() < frame.height}
        return any(possible(one, valued) for one in self._needs)


def _engine(rules: RuleSet, model: Path | None) -> "WholeDetector":
    from tachograph.detectors.across import WholeDetector

    if model is None:
        return WholeDetector(rules)
    from tachograph.detectors.behaviour.models import Models
    from tachograph.pipeline.models.activating import read_model

    return WholeDetector(rules, models=Models.always(read_model(model)[0]))
