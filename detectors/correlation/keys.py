"""Which events repeat what is in the window already: the same value, or the same action."""

import numpy as np

from tachograph.detectors.correlation.arrays import Ints, Spans, Words, firsts, lasts, spans
from tachograph.detectors.correlation.blocks import Blocks
from tachograph.detectors.correlation.hashmap import HashMap
from tachograph.detectors.correlation.stretch import Stretch

_ODD = np.uint64(0x9E3779B97F4A7C15)
_SLACK = 1_024


class Keys:
    """The last event of each group with each value of a column; 0 is no value.

    What is remembered may be outdated and is checked when used. It is made anew from the rows that
    are held when there is twice as much of it.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self._last = HashMap()

    def repeats(self, blocks: Blocks, stretch: Stretch, laid: Spans) -> tuple[Ints, Ints]:
        """Events of the stretch (by their number in it) that come within the timespan after one of
        their group with the same value, and the place of that one.
        """
        rows = blocks.rows
        keys = rows[self._column][laid.places]
        known = np.flatnonzero((keys != 0) & ~rows["blind"][laid.places])
        if not len(known):
            return known, known
        owner, places = laid.owner[known], laid.places[known]
        slots = stretch.slots[owner]
        # Several stretches may be of one group, if none is kept: they have nothing to do with each
        # other.
        mixed = _mixed(blocks, slots, keys[known], None if stretch.keep else owner)
        order = np.argsort(mixed, kind="stable")
        new = firsts(mixed[order])
        before = np.full(len(known), -1)
        before[order[~new]] = places[order[np.flatnonzero(~new) - 1]]
        if not stretch.fresh:
            first = order[new]
            remembered = self._place(blocks, slots[first], mixed[first], keys[known[first]])
            begin = stretch.begin[owner[first]]
            before[first] = np.where(remembered < begin, remembered, -1)
        if stretch.keep:
            last = order[lasts(np.flatnonzero(new), len(order))]
            self._last.put(mixed[last], blocks.ordinal(slots[last], places[last]))
            self.tidy(blocks)
        near = before >= 0
        time = rows["time"]
        near[near] = time[places[near]] - time[before[near]] < stretch.span_us
        return known[near], before[near]

    def _place(self, blocks: Blocks, slots: Ints, mixed: Words, keys: Words) -> Ints:
        """Place of the last event that is remembered; −1 where none is held."""
        ordinals = self._last.get(mixed)
        at = blocks.place(slots, ordinals)
        begin, end = blocks.bounds(slots)
        at[(ordinals < 0) | (at < begin) | (at >= end)] = -1
        at[(at >= 0) & (blocks.rows[self._column][np.maximum(at, 0)] != keys)] = -1
        return at

    def tidy(self, blocks: Blocks) -> None:
        """Let go of what is not held any more, if it is much."""
        if len(self._last) <= 2 * blocks.size + _SLACK:
            return
        slots = blocks.used()
        whole = spans(*blocks.bounds(slots))
        keys = blocks.rows[self._column][whole.places]
        known = np.flatnonzero((keys != 0) & ~blocks.rows["blind"][whole.places])
        owner = slots[whole.owner[known]]
        mixed = _mixed(blocks, owner, keys[known], None)
        order = np.argsort(mixed, kind="stable")
        last = order[lasts(np.flatnonzero(firsts(mixed[order])), len(order))]
        self._last.clear()
        self._last.put(mixed[last], blocks.ordinal(owner[last], whole.places[known[last]]))


def _mixed(blocks: Blocks, slots: Ints, keys: Words, apart: Ints | None) -> Words:
    gids: Words = blocks.groups["gid"][slots]
    if apart is not None:
        gids = gids + apart.astype(np.uint64)
    mixed: Words = (gids * _ODD) ^ keys
    return mixed
