"""What is usual for each agent, by length of window and feature.

Of the levels of past windows in which the agent did something: their centre, their usual distance
from it, and the highest. All in whole numbers, learned once an epoch from the sums of its windows,
so that no order or cut of batches matters. A window is judged by what was known when its epoch
began. Robust: no window moves the centre by more than CLIP spreads.

How far amounts lie apart is known of the windows that have any, too: who seldom sends has windows
of nothing above all, and these say little of how much it is when it does.

An agent begins with the prior, which counts as PRIOR_WINDOWS of its own: how much is known decides
how much is the agent's own.
"""

import zlib
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour import novelty
from tachograph.detectors.behaviour.calibration import Calibration
from tachograph.detectors.behaviour.features import (
    ACTS,
    ADDED_UP,
    AMOUNTS,
    BYTES_OUT,
    FEATURES,
    JUDGEMENTS,
    NEW_TARGETS,
    SCALES,
    TO_NEW,
)
from tachograph.detectors.behaviour.levels import OCTAVE

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
# Slots and lengths, side by side.
Pairs = tuple[Ints, Ints]

# Base panes of an epoch: ten minutes.
EPOCH_PANES: Final = 60
PRIOR_WINDOWS: Final = 12
# Windows that a baseline remembers at most, by length: about a week of an agent that never rests.
MEMORY: Final = np.array([40_000, 10_000, 1_000, 168])
# Windows of its own after which learning stops while an agent is out of line, and how many
# of those in a row are believed to be the new state of things.
WARM: Final = np.array([60, 30, 12, 6])
BELIEVED: Final = np.array([8640, 1440, 144, 48])
CLIP: Final = 4
# Of windows that are added up: what is let pass, in spreads, and what one of them counts at most.
ALLOWED: Final = 1
MOST_ADDED: Final = 3 * 256
# No agent is so regular that a fifth of a doubling is much.
LEAST_SPREAD: Final = OCTAVE // 3
# What a mean distance is times this is about a standard deviation.
_SPREAD_PERCENT: Final = 125
# Above centre by so many spreads is still usual.
USUAL_SPREADS: Final = 2
# The highest level fades towards the centre by this share an epoch, and rises by no more than this
# share of a spread once the agent is known.
_FADE: Final = 2048
_RISE: Final = 4
# By how much the bar of an agent that nothing is known of is higher, in 256ths of a spread: what
# agents at large do says little of one that may work in a place unlike any other.
UNSURE: Final = 384
# The bar of a feature that was out of line is then higher by what it was above it (so much at most)
# and RAISED, in 256ths of a spread, and comes down again by EASED an epoch: a spread in a day. So
# many doublings higher at most: where spreads are wide, nobody is let off for all times.
MOST_ABOVE: Final = 4 * 256
RAISED: Final = 2 * 256
MOST_DOUBLINGS: Final = 3
EASED: Final = 2
# Finer steps of the centre and the spread, so that long memories move at all.
_FINE: Final = 256
_SHAPE: Final = (len(SCALES), len(FEATURES))
_SOME_SHAPE: Final = (len(SCALES), len(AMOUNTS))
_OF_ACTS = np.array([feature.of_acts for feature in FEATURES])


class Known(msgspec.Struct):
    """What is known of some windows' agents: arrays (windows, features), in levels."""

    centre: Ints
    spread: Ints
    usual: Ints
    highest: Ints


def busier(levels: Ints, known: Known) -> Ints:
    """How far what comes of acts may lie above its centre: as far as the acts of the window lie
    above theirs. (windows, features), 0 for what does not come of acts.
    """
    more = np.maximum(levels[:, ACTS] - known.centre[:, ACTS], 0)
    found: Ints = more[:, None] * _OF_ACTS
    return found


class BaselinesState(msgspec.Struct, frozen=True, array_like=True):
    """As it is dumped: each column's bytes, compressed."""

    size: int
    columns: dict[str, bytes]


class Baselines:
    """Columns of state, a row a slot. Not thread-safe."""

    def __init__(self, calibration: Calibration) -> None:
        self._prior_centre = np.array(calibration.centre, np.int32) * _FINE
        self._prior_spread = np.array(calibration.spread, np.int32) * _FINE
        self._prior_some_centre = np.array(calibration.some_centre, np.int32) * _FINE
        self._prior_some_spread = np.array(calibration.some_spread, np.int32) * _FINE
        self._columns: dict[str, npt.NDArray[np.int32]] = {}
        self._make(0)

    def _make(self, size: int) -> None:
        cells, rows, some = (size, *_SHAPE), (size, _SHAPE[0]), (size, *_SOME_SHAPE)
        self._columns = {
            "centre": np.broadcast_to(self._prior_centre, cells).copy(),
            "spread": np.broadcast_to(self._prior_spread, cells).copy(),
            "highest": np.full(cells, -1, np.int32),
            # Of windows that have any of an amount; how many these were.
            "some_centre": np.broadcast_to(self._prior_some_centre, some).copy(),
            "some_spread": np.broadcast_to(self._prior_some_spread, some).copy(),
            "some": np.zeros(some, np.int32),
            # Of the longest windows, what came above the centre one after the other.
            "added": np.zeros((size, _SHAPE[1]), np.int32),
            # Acts of the longest windows, and the new targets that they brought.
            "acts": np.zeros(size, np.int32),
            "new": np.zeros(size, np.int32),
            # The epoch from which the bar of each judgement is what it was, and that to come.
            "raised": np.zeros((size, len(JUDGEMENTS), _SHAPE[1]), np.int32),
            "raising": np.zeros((size, len(JUDGEMENTS), _SHAPE[1]), np.int32),
            "windows": np.zeros(rows, np.int32),
            "frozen": np.zeros(rows, np.int32),
            # Of this epoch so far.
            "moved": np.zeros(cells, np.int32),
            "strayed": np.zeros(cells, np.int32),
            "top": np.full(cells, -1, np.int32),
            "some_moved": np.zeros(some, np.int32),
            "some_strayed": np.zeros(some, np.int32),
            "some_learned": np.zeros(some, np.int32),
            "learned": np.zeros(rows, np.int32),
            "refused": np.zeros(rows, np.int32),
            # The epoch in which it was told what is usual for it (see company).
            "told": np.full(size, -1, np.int32),
        }

    @property
    def size(self) -> int:
        return len(self._columns["windows"])

    def grow(self, size: int) -> None:
        """Room for slots below `size`."""
        if size <= self.size:
            return
        held, count = self._columns, self.size
        self._make(max(size, 2 * count, 64))
        for name, column in held.items():
            self._columns[name][:count] = column

    def forget(self, slots: list[int]) -> None:
        """These slots begin anew."""
        held = self._columns
        self._make(len(slots))
        for name, fresh in self._columns.items():
            held[name][slots] = fresh
        self._columns = held

    def settled(self) -> Bools:
        """Slots that have learned something."""
        found: Bools = self._columns["windows"].max(axis=1, initial=0) > 0
        return found

    def windows(self, slots: Ints, scales: Ints) -> Ints:
        """Windows that the baselines rest on, of slots and lengths in pairs."""
        found: Ints = self._columns["windows"][slots, scales].astype(np.int64)
        return found

    def known(self, slots: Ints, scales: Ints) -> Known:
        """What is known of windows of these slots and lengths."""
        held = self._columns
        centre = held["centre"][slots, scales].astype(np.int64) // _FINE
        spread = _width(held["spread"][slots, scales].astype(np.int64))
        highest = held["highest"][slots, scales].astype(np.int64)
        usual = np.maximum(centre + USUAL_SPREADS * spread, highest)
        some = _width(held["some_spread"][slots, scales].astype(np.int64))
        spread[:, AMOUNTS] = np.maximum(spread[:, AMOUNTS], some)
        return Known(centre, spread, usual, highest)

    def note(self, at: Pairs, levels: Ints, known: Known, suspect: Bools) -> None:
        """Windows of this epoch, to learn from at its end; suspect ones of a known agent are not
        learned from. A pair of slot and length may occur several times.
        """
        held = self._columns
        slots, scales = at
        frozen = held["frozen"][at] < BELIEVED[scales]
        refuse = suspect & (held["windows"][at] >= WARM[scales]) & frozen
        if refuse.any():
            np.add.at(held["refused"], (slots[refuse], scales[refuse]), 1)
        learn = ~refuse
        pairs = slots[learn], scales[learn]
        most = CLIP * known.spread[learn]
        moved = np.clip(levels[learn] - known.centre[learn], -most, most).astype(np.int32)
        np.add.at(held["moved"], pairs, moved)
        np.add.at(held["strayed"], pairs, np.abs(moved))
        np.maximum.at(held["top"], pairs, levels[learn].astype(np.int32))
        np.add.at(held["learned"], pairs, 1)
        self._note_some(pairs, levels[learn][:, AMOUNTS])

    def _note_some(self, pairs: Pairs, levels: Ints) -> None:
        """Windows to learn from: of AMOUNTS, those that have any."""
        held = self._columns
        rows, amounts = np.nonzero(levels)
        at = pairs[0][rows], pairs[1][rows], amounts
        centre = held["some_centre"][at].astype(np.int64) // _FINE
        most = CLIP * _width(held["some_spread"][at].astype(np.int64))
        moved = np.clip(levels[rows, amounts] - centre, -most, most).astype(np.int32)
        np.add.at(held["some_moved"], at, moved)
        np.add.at(held["some_strayed"], at, np.abs(moved))
        np.add.at(held["some_learned"], at, 1)

    def raised(self, slots: Ints, judgements: Ints, epoch: int) -> Ints:
        """By how much the bars of these are higher in an epoch: of who was out of line lately."""
        until = self._columns["raised"][slots, judgements].astype(np.int64)
        found: Ints = np.maximum(until - epoch, 0) * EASED
        return found

    @staticmethod
    def unsure(scales: Ints, own: Ints) -> Ints:
        """By how much bars are higher, the fewer windows of its own an agent has; (windows, 1)."""
        lacks = np.maximum(WARM[scales] - own, 0)
        found: Ints = (lacks * UNSURE // WARM[scales])[:, None]
        return found

    def raise_bars(
        self, at: tuple[Ints, Ints, Ints], above: Ints, spreads: Ints, epoch: int
    ) -> None:
        """These slots, judgements and features were so far above the bar in this epoch: from the
        next one on it is higher. What is added up is so without a measure of doublings.
        """
        raised = np.minimum(above, MOST_ABOVE) + RAISED
        most = MOST_DOUBLINGS * OCTAVE * 256 // spreads
        raised = np.where(at[1] == ADDED_UP, raised, np.minimum(raised, most))
        until = epoch + raised // EASED
        np.maximum.at(self._columns["raising"], at, until.astype(np.int32))

    def steps(
        self, slots: Ints, amounts: Ints, levels: Ints, known: Known, free_bits: Ints
    ) -> Ints:
        """What the longest windows, one a slot, add to those before them: what came above the
        centre by more than ALLOWED spreads, in 256ths of a spread; of new targets what speaks for
        more of them than so many acts bring. From that is learned, of no hour more than of one
        with twice the usual acts: a long run of one kind says little of all other hours. Where no
        more is sent than usual, what goes to new targets adds nothing.
        """
        above = levels - known.centre - busier(levels, known)
        step = above * 256 // known.spread - ALLOWED * 256
        acts, new = amounts[:, ACTS], amounts[:, NEW_TARGETS]
        expected = self.expected_new(slots, amounts)
        step[:, NEW_TARGETS] = novelty.evidence(new, expected, free_bits)
        sends = known.centre[:, BYTES_OUT] + USUAL_SPREADS * known.spread[:, BYTES_OUT]
        less = levels[:, BYTES_OUT] < sends
        step[less, TO_NEW] = np.minimum(step[less, TO_NEW], 0)
        held = self._columns
        before = held["acts"][slots].astype(np.int64), held["new"][slots].astype(np.int64)
        busy = np.maximum(levels[:, ACTS] - known.centre[:, ACTS], 0) // OCTAVE
        held["acts"][slots], held["new"][slots] = novelty.learned(
            acts >> busy, new >> busy, *before
        )
        return step

    def add_up(self, slots: Ints, step: Ints, bars: Ints) -> Ints:
        """Add these until they come below. Who reaches the bar of a feature begins anew."""
        held = self._columns["added"]
        added: Ints = np.maximum(held[slots] + np.clip(step, -MOST_ADDED, MOST_ADDED), 0)
        held[slots] = np.where(added >= bars, 0, added)
        return added

    def expected_new(self, slots: Ints, amounts: Ints) -> Ints:
        """The new targets that so many acts of these bring, in 256ths."""
        held = self._columns
        known = held["acts"][slots].astype(np.int64), held["new"][slots].astype(np.int64)
        return novelty.expected_new(amounts[:, ACTS], *known)

    def to_tell(self, epoch: int, every: int) -> Ints:
        """Slots that are known, learned something in this epoch, and were not told of for so many
        epochs; they count as told.
        """
        held = self._columns
        learned = (held["learned"] > 0).any(axis=1)
        due = (held["told"] < 0) | (held["told"] <= epoch - every)
        found = np.flatnonzero(learned & due & (held["windows"] >= WARM).any(axis=1))
        held["told"][found] = epoch
        return found

    def fold(self) -> None:
        """The epoch is over: learn from its windows."""
        held = self._columns
        np.maximum(held["raised"], held["raising"], out=held["raised"])
        slots, scales = np.nonzero(held["learned"])
        at = slots, scales
        if len(slots):
            self._learn(at)
        only = np.nonzero((held["refused"] > 0) & (held["learned"] == 0))
        held["frozen"][only] += held["refused"][only]
        held["frozen"][at] = 0
        held["learned"][at] = 0
        held["refused"][:] = 0

    def _learn(self, at: Pairs) -> None:
        held, scales = self._columns, at[1]
        count = held["learned"][at].astype(np.int64)
        windows = held["windows"][at].astype(np.int64)
        weight = (windows + PRIOR_WINDOWS + count)[:, None]
        before = self.known(*at)
        self._move("", at, count[:, None], weight)
        self._learn_some(np.nonzero(held["some_learned"]))
        highest = held["highest"][at].astype(np.int64)
        faded = highest - np.maximum(highest - before.centre, 0) // _FADE
        top = held["top"][at].astype(np.int64)
        known = (windows >= WARM[scales])[:, None]
        rise = np.where(known, highest + before.spread // _RISE, top)
        held["highest"][at] = np.maximum(faded, np.minimum(top, np.maximum(rise, 0)))
        held["windows"][at] = np.minimum(windows + count, MEMORY[scales])
        held["top"][at] = -1

    def _learn_some(self, at: tuple[Ints, ...]) -> None:
        """From what windows had any of."""
        held, scales = self._columns, at[1]
        count = held["some_learned"][at].astype(np.int64)
        windows = held["some"][at].astype(np.int64)
        self._move("some_", at, count, windows + PRIOR_WINDOWS + count)
        held["some"][at] = np.minimum(windows + count, MEMORY[scales])
        held["some_learned"][at] = 0

    def _move(self, of: str, at: tuple[Ints, ...], count: Ints, weight: Ints) -> None:
        """Move the centre and spread of these by so many windows."""
        held = self._columns
        centre = held[f"{of}centre"][at].astype(np.int64)
        spread = held[f"{of}spread"][at].astype(np.int64)
        moved = held[f"{of}moved"][at].astype(np.int64) * _FINE
        strayed = held[f"{of}strayed"][at].astype(np.int64) * _FINE
        held[f"{of}centre"][at] = centre + moved // weight
        held[f"{of}spread"][at] = spread + (strayed - count * spread) // weight
        held[f"{of}moved"][at] = held[f"{of}strayed"][at] = 0

    def state(self, size: int) -> BaselinesState:
        """The rows below `size`."""
        columns = {
            name: zlib.compress(column[:size].astype("<i4").tobytes(), 1)
            for name, column in self._columns.items()
        }
        return BaselinesState(min(size, self.size), columns)

    def restore(self, state: BaselinesState) -> None:
        """Take up a state. Raises ValueError when it is of another shape."""
        self._make(state.size)
        if set(state.columns) != set(self._columns):
            raise ValueError("baselines of other columns")
        for name, packed in state.columns.items():
            flat = np.frombuffer(zlib.decompress(packed), "<i4").astype(np.int32)
            self._columns[name] = flat.reshape(self._columns[name].shape).copy()


def _width(fine: Ints) -> Ints:
    """A spread in levels, never less than the least."""
    found: Ints = np.maximum(fine * _SPREAD_PERCENT // (100 * _FINE), LEAST_SPREAD)
    return found
