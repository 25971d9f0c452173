"""Windows of all lengths that are over, in columns, in the order in which they are judged."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.baselines import EPOCH_PANES, Known, busier
from tachograph.detectors.behaviour.features import FEATURES, NEW_TARGETS, SCALES, Scale
from tachograph.detectors.behaviour.levels import amount_of
from tachograph.detectors.behaviour.measures import (
    Words,
    amounts_of,
    levels_of,
    seen_words,
    words_of,
)
from tachograph.detectors.behaviour.novelty import ONE
from tachograph.detectors.behaviour.rows import RECEIVERS, SENT

Ints = npt.NDArray[np.int64]
_PANES = np.array([scale.panes for scale in SCALES])


class Closed(NamedTuple):
    """`frames`: what was added up, by length; of each window its length, its row there, its slot,
    the base pane that it ends before, and what was measured: (windows, features). `sent`: bytes
    by the class of who received them.
    """

    frames: list[pl.DataFrame]
    scales: Ints
    places: Ints
    slots: Ints
    ends: Ints
    amounts: Ints
    levels: Ints
    words: Words
    receivers: Words
    sent: Ints

    def at(self, rows: slice | Ints | npt.NDArray[np.bool_]) -> "Closed":
        """Some of them."""
        return self._replace(**{name: getattr(self, name)[rows] for name in _COLUMNS})

    def columns(self, *names: str) -> list[Ints]:
        """What was added up in each window, by the names of columns."""
        begins = np.cumsum([0, *(frame.height for frame in self.frames)])
        at = begins[self.scales] + self.places
        return [
            np.concatenate([frame[name].to_numpy() for frame in self.frames])[at] for name in names
        ]

    def epochs(self) -> list[tuple[int, slice]]:
        """Which of them belong to each epoch, in order."""
        epochs = (self.ends - 1) // EPOCH_PANES
        found, begins = np.unique(epochs, return_index=True)
        stops = np.append(begins, len(epochs))[1:].tolist()
        return [
            (epoch, slice(begin, stop))
            for epoch, begin, stop in zip(found.tolist(), begins.tolist(), stops, strict=True)
        ]


def closed_of(frames: list[pl.DataFrame]) -> Closed:
    """The windows of these frames, by length; in the order of epochs."""
    heights = [frame.height for frame in frames]
    scales = np.repeat(np.arange(len(frames)), heights)
    places = np.concatenate([np.arange(height) for height in heights])
    slots = np.concatenate([frame["slot"].to_numpy() for frame in frames])
    windows = np.concatenate([frame["window"].to_numpy() for frame in frames])
    amounts = np.concatenate([amounts_of(frame) for frame in frames])
    words = np.concatenate([seen_words(frame) for frame in frames])
    receivers = np.concatenate([words_of(frame, RECEIVERS) for frame in frames])
    sent = np.concatenate(
        [np.stack([frame[name].to_numpy() for name in SENT], 1) for frame in frames]
    )
    ends = (windows + 1) * _PANES[scales]
    levels = levels_of(amounts)
    order = np.argsort((ends - 1) // EPOCH_PANES, kind="stable")
    columns = (scales, places, slots, ends, amounts, levels, words, receivers, sent)
    return Closed(frames, *columns).at(order)


_COLUMNS = Closed._fields[1:]


class Judged(NamedTuple):
    """Windows, by their own length or (`judgement` ADDED_UP) with those before, and what is known
    and said of them. `own`: the windows that this rests on. `expected_new`: where windows are
    added up, the new targets that their acts bring, in 256ths.
    """

    closed: Closed
    judgement: Ints
    scores: Ints
    known: Known
    own: Ints
    expected_new: Ints | None = None

    def scale(self, at: int) -> Scale:
        """The length of a window."""
        return SCALES[int(self.closed.scales[at])]

    def expected(self, at: int, feature: int) -> float:
        """The amount of a feature that a window was held against: usual, of so many acts."""
        if self.expected_new is not None and feature == NEW_TARGETS:
            return float(self.expected_new[at]) / ONE
        known = Known(*(getattr(self.known, name)[[at]] for name in Known.__struct_fields__))
        more = busier(self.closed.levels[[at]], known)
        return amount_of(float((known.centre + more)[0, feature])) * FEATURES[feature].grain

    def row(self, at: int) -> dict[str, Any]:
        """What was added up in a window."""
        closed = self.closed
        frame = closed.frames[int(closed.scales[at])]
        return frame.row(int(closed.places[at]), named=True)


def joined(parts: Sequence[Judged]) -> Judged:
    """Windows of the same frames, one after the other."""
    if len(parts) == 1:
        return parts[0]
    columns = [np.concatenate([getattr(one.closed, name) for one in parts]) for name in _COLUMNS]
    closed = Closed(parts[0].closed.frames, *columns)
    known = {
        name: np.concatenate([getattr(one.known, name) for one in parts])
        for name in Known.__struct_fields__
    }
    judgement, scores, own = (
        np.concatenate(column)
        for column in zip(*((one.judgement, one.scores, one.own) for one in parts), strict=True)
    )
    return Judged(closed, judgement, scores, Known(**known), own)
