"""Windows whose value is a sum: events enter it at their time and leave it a timespan later.

Counts are sums of ones, distinct counts sums of ones for values that are not in the window yet,
and so on (see `metrics`): at each event a row of whole numbers is known, and the condition is a
question to them. Only what enters and what leaves is looked at: the cost does not grow with the
window.
"""

import numpy as np

from tachograph.detectors.correlation.arrays import Array, Bools, Ints, Spans, bisect, firsts, spans
from tachograph.detectors.correlation.blocks import Blocks
from tachograph.detectors.correlation.evidence import Basis, Crossings, late, windows
from tachograph.detectors.correlation.keys import Keys
from tachograph.detectors.correlation.metrics import Metric
from tachograph.detectors.correlation.stretch import FOREVER, NO_GROUPS, Held, Stretch


class Sums:
    """Goes over stretches (a Sweep). State: the sum of each group and where its window opens."""

    reach = 1
    ahead = 0

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        # What goes away when a row leaves: its weight, less that of the next one with its key.
        self.row_kinds = {**metric.row_kinds, "leave": ("<i8", metric.width)}
        self.group_kinds = {"sum": ("<i8", metric.width), "left": ("<i8", 0)}
        self._keys = [(Keys(column), sign) for column, sign in metric.keys]

    def run(self, blocks: Blocks, stretch: Stretch) -> Held:
        """See Sweep."""
        laid = spans(stretch.begin, stretch.end)
        enter = self._entering(blocks, stretch, laid)
        value, opens, ends = _values(blocks, stretch, laid, enter)
        asked = laid.places >= stretch.since[laid.owner]
        asked &= ~blocks.rows["blind"][laid.places]
        holds, unsure = self.metric.holds(value)
        for at in np.flatnonzero(asked & unsure).tolist():
            holds[at] = self.metric.exactly(blocks.rows, slice(int(opens[at]), int(ends[at])))
        found = np.flatnonzero(holds & asked)
        return Held(laid.owner[found], laid.places[found], opens[found], ends[found], NO_GROUPS)

    def whole(self, blocks: Blocks, slots: Ints, begin: Ints, end: Ints) -> Held:
        """See Sweep: the value of a window is that at its last event."""
        laid = spans(begin, end)
        timely = np.flatnonzero(~blocks.rows["blind"][laid.places])
        last = end.copy()
        last[laid.owner[timely]] = laid.places[timely]
        return self.run(blocks, Stretch(slots, begin, end, last, FOREVER, fresh=True, keep=False))

    def bases(self, blocks: Blocks, crossings: Crossings, span_us: int) -> list[Basis]:  # noqa: ARG002
        """See Sweep."""
        rows, metric = blocks.rows, self.metric
        return [
            Basis(*metric.events(rows, window), metric.shown(rows, window), late(rows, window))
            for window in windows(crossings)
        ]

    def needs(self, blocks: Blocks, slots: Ints, until: Ints) -> Bools:
        """See Sweep."""
        found: Bools = until > blocks.place(slots, blocks.groups["left"][slots])
        return found

    def forget(self, blocks: Blocks) -> None:
        """See Sweep."""
        for keys, _ in self._keys:
            keys.tidy(blocks)

    def _entering(self, blocks: Blocks, stretch: Stretch, laid: Spans) -> Array:
        """What each event adds to its window; what it will take away is noted beside it.

        One whose key is in the window adds nothing, and the one before it with that key will take
        nothing away. A sign of −1 undoes that, for events that are alike in still more.
        """
        rows = blocks.rows
        weights = self.metric.weights(rows, laid.places)
        blind = rows["blind"][laid.places]
        if blind.any():
            weights[blind] = 0
        enter = weights.copy() if self._keys else weights
        rows["leave"][laid.places] = weights
        for keys, sign in self._keys:
            again, before = keys.repeats(blocks, stretch, laid)
            enter[again] -= sign * weights[again]
            rows["leave"][before] -= sign * weights[again]
        return enter


def _values(
    blocks: Blocks, stretch: Stretch, laid: Spans, enter: Array
) -> tuple[Array, Ints, Ints]:
    """The sum of the window of each event, and the places [opens, ends) of that window. What goes
    on with the next stretch is kept.
    """
    rows, groups, slots = blocks.rows, blocks.groups, stretch.slots
    time, owner = rows["time"][laid.places], laid.owner
    if stretch.fresh:
        left, before = stretch.begin, np.zeros((len(slots), enter.shape[1]), np.int64)
    else:
        left, before = blocks.place(slots, groups["left"][slots]), groups["sum"][slots]
    opens = bisect(rows["time"], left[owner], laid.places + 1, time - stretch.span_us, right=True)
    some = np.flatnonzero(stretch.end > stretch.begin)
    last = laid.starts[some] + (stretch.end - stretch.begin)[some] - 1
    closes = left.copy()
    closes[some] = opens[last]
    leaving = spans(left, closes)
    entered, gone = _summed(enter), _summed(rows["leave"][leaving.places])
    upto = _same_time(owner, time)
    out = leaving.starts[owner]
    value = (
        before[owner]
        + (entered[upto] - entered[laid.starts[owner]])
        - (gone[out + opens - left[owner]] - gone[out])
    )
    if stretch.keep:
        groups["sum"][slots] = before
        groups["left"][slots] = blocks.ordinal(slots, closes)
        groups["sum"][slots[some]] = value[last]
    return value, opens, laid.places + upto - np.arange(len(owner))


def _summed(weights: Array) -> Array:
    """Sums of the first 0, 1, 2 … rows. Whole numbers wrap around, so differences are exact."""
    out = np.zeros((len(weights) + 1, weights.shape[1]), np.int64)
    np.cumsum(weights, axis=0, out=out[1:])
    return out


def _same_time(owner: Ints, time: Ints) -> Ints:
    """For each event, how many there are up to the last one of its group and time."""
    new = firsts(owner, time)
    ends = np.append(np.flatnonzero(new)[1:], len(new))
    found: Ints = ends[np.cumsum(new) - 1]
    return found
