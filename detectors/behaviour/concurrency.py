"""How many calls of an agent were open at once.

A call is told of when it is over, so a base pane says of the calls that ended in it how many were
open at some instants: a few in the pane itself, and the beginnings of the panes before it. Panes of
an agent come in the order of time; what those just before it said of the same instants is added. So
the most that were open at once is known of calls that were over by the end of a pane, and sums in
any order and in any batches say it. Calls between two instants are not seen, and of a call that
lasted for longer than the instants reach back, its last minute.
"""

import zlib
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.features import PANE_US

Ints = npt.NDArray[np.int64]

_SECOND_US: Final = 1_000_000
# From the beginning of the pane: that of this pane, of those before it, and instants within.
BEFORE: Final = 5
_BEGINS: Final = [-at * PANE_US for at in range(BEFORE + 1)]
_WITHIN: Final = [at * _SECOND_US for at in (2, 4, 6, 8)]
_INSTANTS: Final = np.array([*_BEGINS, *_WITHIN], np.int64)
OPEN: Final = tuple(f"open{place}" for place in range(len(_INSTANTS)))
# In a window: the most calls open at once, and the most sessions that acted in one minute.
MOST_OPEN: Final = "most_open"
MOST_SESSIONS: Final = "most_sessions"
_KEY: Final = 2


def open_at(ends_us: Ints, busy_ms: Ints) -> list[pl.Series]:
    """OPEN of single calls, by when they ended and how long they took."""
    found = np.zeros((len(OPEN), len(ends_us)), np.int64)
    took = np.flatnonzero(busy_ms > 0)
    if len(took):
        ended = ends_us[took] % PANE_US
        began = ended - busy_ms[took] * 1000
        instants = _INSTANTS[:, None]
        found[:, took] = (began <= instants) & (instants < ended)
    return [pl.Series(name, column) for name, column in zip(OPEN, found, strict=True)]


class OpenState(msgspec.Struct, frozen=True, array_like=True):
    """As it is dumped: how many panes, and their bytes, compressed."""

    panes: int
    held: bytes


class OpenCalls:
    """The newest panes that others to come may share an instant with. Not thread-safe."""

    def __init__(self) -> None:
        # A row a pane: slot, window, and what it says of beginnings.
        self._held: Ints = np.zeros((0, _KEY + BEFORE + 1), np.int64)

    def follow(self, panes: pl.DataFrame) -> pl.DataFrame:
        """Base panes that are over, without OPEN and with MOST_OPEN. A pane comes once, after those
        of its agent that are earlier.
        """
        most = (panes["busy_ms"].to_numpy() > 0).astype(np.int64)
        said = np.stack([panes[name].to_numpy() for name in OPEN], axis=1)
        some = np.flatnonzero(said.any(axis=1))
        if len(some):
            places = np.stack([panes[name].to_numpy()[some] for name in ("slot", "window")], axis=1)
            begins = said[some, : BEFORE + 1]
            whole = np.concatenate([self._held, np.hstack([places, begins])])
            at_begins = np.where(begins > 0, _together(whole)[len(self._held) :], 0).max(axis=1)
            within = said[some, BEFORE + 1 :].max(axis=1)
            most[some] = np.maximum(most[some], np.maximum(at_begins, within))
            self._held = whole
        if panes.height and len(self._held):
            newest = int(panes["window"].max())  # type: ignore[arg-type]
            self._held = self._held[self._held[:, 1] > newest - BEFORE]
        return panes.drop(OPEN).with_columns(pl.Series(MOST_OPEN, most))

    def forget(self, slots: list[int]) -> None:
        """These slots begin anew."""
        self._held = self._held[~np.isin(self._held[:, 0], slots)]

    def state(self) -> OpenState:
        """All of it."""
        held = self._held[np.lexsort((self._held[:, 1], self._held[:, 0]))]
        return OpenState(len(held), zlib.compress(held.astype("<i8").tobytes(), 1))

    def restore(self, state: OpenState) -> None:
        """Take up a state. Raises ValueError when it is of another shape."""
        flat = np.frombuffer(zlib.decompress(state.held), "<i8").astype(np.int64)
        self._held = flat.reshape(state.panes, _KEY + BEFORE + 1)


def _together(rows: Ints) -> Ints:
    """What each row (slot, window, beginnings) says of beginnings, with what its agent's panes
    before it say of the same.
    """
    slots, windows, begins = rows[:, 0], rows[:, 1], rows[:, _KEY:]
    least = windows.min() - BEFORE
    span = windows.max() - least + 1
    keys = slots * span + windows - least
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    found = begins.copy()
    for back in range(1, BEFORE + 1):
        at = np.minimum(np.searchsorted(ordered, keys - back), len(keys) - 1)
        there = ordered[at] == keys - back
        found[there, back:] += begins[order[at[there]], : BEFORE + 1 - back]
    return found
