"""The course of an agent's acts: the gaps between them, and which tool comes after which.

A base pane that is over says for each class of tool in which of its 64 slots (156 ms) it was
called. Panes of an agent come in the order of time, so what was last in one is before what is first
in the next, whatever batches they come in. All that comes out are sums, so that longer windows add
up.

How surprising a call is follows from a Markov model of the agent: how often each class came after
the one before it, in panes before this one. A pane teaches each pair once, so that a flood teaches
no more than a quiet hour does.
"""

import zlib
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.concurrency import OpenCalls, OpenState
from tachograph.detectors.behaviour.features import PANE_US
from tachograph.detectors.behaviour.levels import level_of
from tachograph.detectors.behaviour.rows import CLASSES, COURSE, GAP_BINS, ROLL, SLOTS

Ints = npt.NDArray[np.int64]

SLOT_US: Final = PANE_US // SLOTS
# A longer pause is no gap between two acts of one task: a minute.
MOST_GAP: Final = 60_000_000 // SLOT_US
NONE: Final = -1
_PAIRS: Final = CLASSES * CLASSES
_MOST_KNOWN: Final = 60_000
# Of the last act: its slot, its class, the class before it, the gap to that.
_LAST: Final = ("time", "tool", "tool_before", "gap")


class CourseState(msgspec.Struct, frozen=True, array_like=True):
    """As it is dumped: each column's bytes, compressed."""

    size: int
    last: bytes
    known: bytes
    open: OpenState


class _Acts(NamedTuple):
    """Acts in the order of agents and time: the row of their pane, agent, pane, slot, class."""

    row: Ints
    agent: Ints
    pane: Ints
    time: Ints
    tool: Ints


class Course:
    """Columns of state, a row a slot of an agent. Not thread-safe."""

    def __init__(self) -> None:
        self._last = np.full((len(_LAST), 0), NONE, np.int64)
        self._known = np.zeros((0, _PAIRS), np.uint16)
        self.open = OpenCalls()

    def grow(self, size: int) -> None:
        """Room for slots below `size`."""
        more = size - len(self._known)
        if more > 0:
            more = max(more, len(self._known))
            self._last = np.hstack([self._last, np.full((len(_LAST), more), NONE, np.int64)])
            self._known = np.vstack([self._known, np.zeros((more, _PAIRS), np.uint16)])

    def forget(self, slots: list[int]) -> None:
        """These slots begin anew."""
        self._last[:, slots] = NONE
        self._known[slots] = 0
        self.open.forget(slots)

    def follow(self, panes: pl.DataFrame) -> pl.DataFrame:
        """Base panes that are over, without ROLL and with COURSE. A pane comes once, after those of
        its agent that are earlier.
        """
        acts, height = _acts_of(panes), panes.height
        sums = self._sums(acts, height) if len(acts.row) else np.zeros((len(COURSE), height), int)
        # Calls of one class in one slot are one there, and no gap lies between them.
        together = panes["acts"].to_numpy() - np.bincount(acts.row, minlength=height)
        sums[0] += np.maximum(together, 0)
        found = [pl.Series(name, column) for name, column in zip(COURSE, sums, strict=True)]
        return panes.drop(ROLL).hstack(found)

    def _sums(self, acts: _Acts, height: int) -> Ints:
        """COURSE of each pane, and what was last is remembered."""
        time, tool, tool_before, gap_before = self._last[:, acts.agent]
        first = np.append(True, acts.agent[1:] != acts.agent[:-1])
        time_before = _before(acts.time, time, first)
        one_back = _before(acts.tool, tool, first)
        two_back = _before(one_back, tool_before, first)
        gap = acts.time - time_before
        near = (time_before != NONE) & (gap <= MOST_GAP)
        gap = np.where(near, gap, NONE)
        last_gap = _before(gap, gap_before, first)
        both = near & (last_gap != NONE)
        three = near & (two_back != NONE)
        bits = self._surprise(acts, one_back, near)
        one = np.ones(len(gap), np.int64)
        there_and_back = three & (two_back == acts.tool) & (one_back != acts.tool)
        parts: list[tuple[npt.NDArray[np.bool_], Ints]] = [
            (near, gap), (near, gap * gap), (both, gap * last_gap), (both, one), (near, one),
            (near, bits), (three, one), (there_and_back, one),
        ]  # fmt: skip
        bins = np.minimum(np.frexp(gap.astype(np.float64))[1], GAP_BINS - 1)
        counted = np.zeros((GAP_BINS, height), np.int64)
        np.add.at(counted, (bins[near], acts.row[near]), 1)
        last = np.append(first[1:], True)
        now = np.stack([acts.time, acts.tool, one_back, gap])
        self._last[:, acts.agent[last]] = now[:, last]
        added = [_summed(acts.row, np.where(where, what, 0), height) for where, what in parts]
        return np.vstack([counted, *added])

    def _surprise(self, acts: _Acts, tool_before: Ints, near: npt.NDArray[np.bool_]) -> Ints:
        """Of moves 256ths of bits, by what was known before their pane; the panes are then learned
        from.
        """
        found = np.zeros(len(near), np.int64)
        if not near.any():
            return found
        agent, pane = acts.agent[near], acts.pane[near] - acts.pane.min()
        span = int(pane.max()) + 1
        pair = tool_before[near] * CLASSES + acts.tool[near]
        taught, which = np.unique((agent * _PAIRS + pair) * span + pane, return_inverse=True)
        of_pair, of_pane = np.divmod(taught, span)
        of_first = of_pair // CLASSES
        whom, what = np.divmod(of_pair, _PAIRS)
        seen = self._known[whom, what] + _earlier(of_pair, of_pane)
        rows = self._known.reshape(-1, CLASSES, CLASSES)[whom, what // CLASSES]
        seen_of_first = rows.sum(axis=1, dtype=np.int64) + _earlier(of_first, of_pane)
        bits = level_of(seen_of_first + CLASSES - 1) - level_of(seen)
        pairs, at = np.unique(of_pair, return_inverse=True)
        learned = np.bincount(at)
        whom, what = np.divmod(pairs, _PAIRS)
        self._known[whom, what] = np.minimum(self._known[whom, what] + learned, _MOST_KNOWN)
        found[near] = bits[which]
        return found

    def state(self, size: int) -> CourseState:
        """The rows below `size`."""
        last = zlib.compress(self._last[:, :size].astype("<i8").tobytes(), 1)
        known = zlib.compress(self._known[:size].astype("<u2").tobytes(), 1)
        return CourseState(min(size, len(self._known)), last, known, self.open.state())

    def restore(self, state: CourseState) -> None:
        """Take up a state. Raises ValueError when it is of another shape."""
        last = np.frombuffer(zlib.decompress(state.last), "<i8").astype(np.int64)
        known = np.frombuffer(zlib.decompress(state.known), "<u2").astype(np.uint16)
        self._last = last.reshape(len(_LAST), state.size)
        self._known = known.reshape(state.size, _PAIRS)
        self.open.restore(state.open)


def _acts_of(panes: pl.DataFrame) -> _Acts:
    slots, windows = panes["slot"].to_numpy(), panes["window"].to_numpy()
    order = np.lexsort((windows, slots))
    roll = np.stack([panes[name].to_numpy()[order] for name in ROLL], axis=1)
    bits = np.unpackbits(roll.astype("<u8").view(np.uint8), axis=1, bitorder="little")
    at, slot, tool = np.nonzero(bits.reshape(-1, CLASSES, SLOTS).transpose(0, 2, 1))
    row = order[at]
    return _Acts(row, slots[row], windows[row], windows[row] * SLOTS + slot, tool)


def _before(values: Ints, held: Ints, first: npt.NDArray[np.bool_]) -> Ints:
    """The value of the act before each; of an agent's first one what was held of it."""
    return np.where(first, held, np.append(NONE, values[:-1]))


def _summed(rows: Ints, values: Ints, height: int) -> Ints:
    found = np.zeros(height, np.int64)
    np.add.at(found, rows, values)
    return found


def _earlier(groups: Ints, panes: Ints) -> Ints:
    """Of each entry how many of its group are of earlier panes."""
    order = np.lexsort((panes, groups))
    group, pane = groups[order], panes[order]
    place = np.arange(len(order))
    begins = np.append(True, group[1:] != group[:-1])
    same = np.append(False, (group[1:] == group[:-1]) & (pane[1:] == pane[:-1]))
    start = np.maximum.accumulate(np.where(begins, place, 0))
    first = np.maximum.accumulate(np.where(same, 0, place))
    found = np.zeros(len(order), np.int64)
    found[order] = first - start
    return found
