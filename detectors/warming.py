"""Rules that are new see what was there before them, so that their first windows are whole."""

from collections.abc import Sequence

import polars as pl

from tachograph.detectors.dedup import Seen
from tachograph.detectors.engine import Engine
from tachograph.detectors.language.rule import Correlation
from tachograph.detectors.partition import PartitionDetector


class Warmer:
    """Shows windowed rules of a detector actions that it judged before it had them. What that makes
    true is not said: it was true before.
    """

    def __init__(self, detector: PartitionDetector, rules: Sequence[Correlation]) -> None:
        self._detector = detector
        self._engine = Engine(detector.rules.only(rules))
        self._seen = Seen()

    def show(self, frame: pl.DataFrame, revision: int) -> list[pl.DataFrame]:
        """Show a batch; match rows for where groups are judged that lie in several partitions."""
        events = self._engine.events(self._detector.links.apply(self._seen.fresh(frame)))
        if events is None:
            return []
        return self._detector.show(events.facts, events.found, revision)
