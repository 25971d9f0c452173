"""Events of a file that are worth explaining, and what came of each condition of a rule."""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.explain import Explainer, Part
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.language.wording import worded
from tachograph.detectors.prepare import Preparation
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.rules.asked import Asked
from tachograph.pipeline.scan.raw_lines import line_of

# Events explained when none is named: those that match, else those that come nearest.
FEW_EVENTS = 3
# Events explained of those that are named.
MAX_EVENTS = 20
_LINE = "raw_offset"


class Step(msgspec.Struct, frozen=True):
    """What came of one condition of a rule; a rule on single events has one. `selections`: the
    named parts of a Sigma detection.
    """

    title: str
    holds: bool
    condition: str
    selections: dict[str, Part]
    why: Part | None = None


class Explained(msgspec.Struct, frozen=True):
    """One event and what came of each condition of the rule. `event_index`: its line, from 0."""

    event_id: str
    event_time: str
    event_index: int | None
    matched: bool
    steps: list[Step]


class Kept(msgspec.Struct, frozen=True):
    """An event worth explaining: a frame of one row, and how near it comes."""

    matched: bool
    nearness: float
    event: pl.DataFrame


class Events:
    """Looks at events batch by batch and explains a few of them."""

    def __init__(
        self,
        asked: Sequence[Asked],
        rules: RuleSet,
        *,
        event_id: str | None = None,
        index: int | None = None,
    ) -> None:
        """`rules`: with the rule that asks; `event_id`, `index`: the events wanted."""
        self._asked, self._fields = asked, rules.fields
        self._prepared = Preparation([*rules.columns, _LINE], rules.fields, rules.reference)
        self._event_id, self._index = event_id, index
        self.events = self.matched = 0
        self._kept: list[Kept] = []

    @property
    def named(self) -> bool:
        """Certain events are wanted, whether they match or not."""
        return self._event_id is not None or self._index is not None

    def take(self, frame: pl.DataFrame) -> None:
        """Look at a batch of events."""
        ready = self._prepared(frame)
        if ready.is_empty():
            return
        explainer = Explainer(ready, [asked.node for asked in self._asked], self._fields)
        nearness = np.max([explainer.nearness(one.node) for one in self._asked], axis=0)
        matched = {row for one in self._asked for row in explainer.matches(one.node).tolist()}
        self.events += ready.height
        self.matched += len(matched)
        wanted = self._wanted(ready)
        if not self.named:
            # Of equal ones the earliest; the sort is stable.
            wanted = sorted(wanted, key=lambda row: (row not in matched, -nearness[row]))
            wanted = wanted[:FEW_EVENTS]
        kept = [Kept(row in matched, float(nearness[row]), ready[row]) for row in wanted]
        self._kept = self._best([*self._kept, *kept])

    def _wanted(self, ready: pl.DataFrame) -> list[int]:
        if not self.named:
            return list(range(ready.height))
        ids = ready[self._fields.own("event_id")]
        if self._event_id is not None:
            return (ids == self._event_id).arg_true().to_list()
        lines = self._lines(ready)
        return [row for row in range(ready.height) if lines[row] == self._index]

    def _best(self, kept: list[Kept]) -> list[Kept]:
        if self.named:
            return kept[:MAX_EVENTS]
        best = sorted(kept, key=lambda one: (not one.matched, -one.nearness))[:FEW_EVENTS]
        return [one for one in best if one.matched == best[0].matched]

    def _lines(self, ready: pl.DataFrame) -> list[int | None]:
        """The line of each event: in raw frames its id, elsewhere the offset it was read at."""
        if self._fields.columns is None:
            return [line_of(one) for one in ready[self._fields.own("event_id")]]
        return ready[_LINE].to_list() if _LINE in ready.columns else [None] * ready.height

    def explained(self) -> Iterator[Explained]:
        """The events chosen, each with what came of it. Raises ConfigError when there is none."""
        if self.named and not self._kept:
            wanted = self._event_id if self._event_id is not None else f"index {self._index}"
            raise ConfigError(f"no event {wanted} among {self.events}")
        for one in self._kept:
            frame = one.event
            nodes = [node for asked in self._asked for node in asked.nodes]
            explainer = Explainer(frame, nodes, self._fields)
            yield Explained(
                event_id=frame[self._fields.own("event_id")][0],
                event_time=frame[self._fields.own("event_time")][0].isoformat(),
                event_index=self._lines(frame)[0],
                matched=one.matched,
                steps=[_step(asked, explainer) for asked in self._asked],
            )


def _step(asked: Asked, explainer: Explainer) -> Step:
    selections = {name: explainer.why(node, 0) for name, node in asked.selections.items()}
    holds = bool(len(explainer.matches(asked.node)))
    why = None if selections else explainer.why(asked.node, 0)
    return Step(asked.title, holds, asked.condition or worded(asked.node), selections, why)
