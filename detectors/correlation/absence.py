"""One thing and then not another: events of the first step that, within the timespan, none of the
second follows.
"""

import numpy as np

from tachograph.detectors.correlation.arrays import Bools, Ints, bisect, spans
from tachograph.detectors.correlation.blocks import Blocks
from tachograph.detectors.correlation.evidence import Basis, Crossings, windows
from tachograph.detectors.correlation.stretch import NO_GROUPS, Held, Stretch

_FIRST, _SECOND = 1, 2


class Absence:
    """Goes over stretches (a Sweep); what comes after one is looked at, too. Nothing is kept."""

    reach = 0
    ahead = 1

    def __init__(self) -> None:
        self.row_kinds: dict[str, tuple[str, int]] = {}
        self.group_kinds: dict[str, tuple[str, int]] = {}

    def run(self, blocks: Blocks, stretch: Stretch) -> Held:
        """See Sweep."""
        rows = blocks.rows
        laid = spans(stretch.begin, blocks.bounds(stretch.slots)[1])
        steps = np.where(rows["blind"][laid.places], 0, rows["steps"][laid.places])
        asked = (laid.places >= stretch.since[laid.owner]) & (steps & _FIRST != 0)
        at = np.flatnonzero(asked & (laid.places < stretch.end[laid.owner]))
        places = laid.places[at]
        last = blocks.bounds(stretch.slots)[1][laid.owner[at]]
        until = rows["time"][places] + stretch.span_us
        ends = bisect(rows["time"], places + 1, last, until, right=True)
        # How many of the second step there are up to each event.
        seconds = np.concatenate([[0], np.cumsum((steps & _SECOND) != 0)])
        alone = seconds[at + ends - places] == seconds[at + 1]
        for number in np.flatnonzero(~alone & (rows["twin"][places] != 0)).tolist():
            alone[number] = self._only_itself(blocks, int(places[number]), int(ends[number]))
        found = at[alone]
        return Held(laid.owner[found], places[alone], places[alone], ends[alone], NO_GROUPS)

    def _only_itself(self, blocks: Blocks, place: int, end: int) -> bool:
        """Whether all that follows of the second step are reports of the very action."""
        rows = blocks.rows
        after = slice(place + 1, end)
        seconds = (rows["steps"][after] & _SECOND != 0) & ~rows["blind"][after]
        itself = (rows["twin"][after] == rows["twin"][place]) & (
            rows["origin"][after] != rows["origin"][place]
        )
        return bool((itself | ~seconds).all())

    def whole(self, blocks: Blocks, slots: Ints, begin: Ints, end: Ints) -> Held:
        """See Sweep: windows that do not slide have no absence."""
        raise NotImplementedError

    def bases(self, blocks: Blocks, crossings: Crossings, span_us: int) -> list[Basis]:  # noqa: ARG002
        """See Sweep. Left out are late events of the second step."""
        rows = blocks.rows
        return [
            Basis(
                [window.start],
                1,
                1,
                int((rows["blind"][window] & (rows["steps"][window] & _SECOND != 0)).sum()),
            )
            for window in windows(crossings)
        ]

    def needs(self, blocks: Blocks, slots: Ints, until: Ints) -> Bools:  # noqa: ARG002
        """See Sweep."""
        return np.zeros(len(slots), np.bool_)

    def forget(self, blocks: Blocks) -> None:
        """See Sweep."""
