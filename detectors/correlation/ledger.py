"""The events one correlation remembers, as columns of numbers.

A group is the hash of its values; an event refers to its facts by (table, row) of a FactStore.
Blind events are late ones: remembered so that signals can say they were left out, never counted.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Columns = Mapping[str, npt.NDArray[Any]]

_TYPES: dict[str, str] = {
    "gid": "<u8",  # group
    "time": "<i8",  # event time, microseconds
    "high": "<u8",  # event id, as two numbers
    "low": "<u8",
    "key": "<u8",  # equal for two reports of one action
    "steps": "<i8",  # bit i: matches the i-th detection of the rule
    "blind": "|b1",
    "table": "<i8",
    "row": "<i8",
}
_FIRST_CAPACITY = 1_024
# From so many events on, a hash of the groups beats a binary search among them.
_MANY = 50_000


class LedgerState(msgspec.Struct, frozen=True, array_like=True):
    """A ledger as it is dumped."""

    size: int
    columns: dict[str, bytes]
    cuts: dict[int, int]


class Ledger:
    """Append, look up by group, forget. Not thread-safe."""

    def __init__(self) -> None:
        self.size = 0
        self._data = {name: np.empty(_FIRST_CAPACITY, kind) for name, kind in _TYPES.items()}
        # Group → time of the newest event dropped from it because it held too many.
        self.cuts: dict[int, int] = {}

    def column(self, name: str) -> Any:
        """A view of one column; of the kind of number that _TYPES says."""
        return self._data[name][: self.size]

    @property
    def gid(self) -> Words:
        found: Words = self.column("gid")
        return found

    @property
    def time(self) -> Ints:
        found: Ints = self.column("time")
        return found

    @property
    def blind(self) -> Bools:
        found: Bools = self.column("blind")
        return found

    def append(self, columns: Columns) -> None:
        """Remember events."""
        more = len(columns["gid"])
        need = self.size + more
        capacity = len(self._data["gid"])
        if need > capacity:
            capacity = max(need, 2 * capacity)
            for name, old in self._data.items():
                grown = np.empty(capacity, _TYPES[name])
                grown[: self.size] = old[: self.size]
                self._data[name] = grown
        for name, values in columns.items():
            self._data[name][self.size : need] = values
        self.size = need

    def keep(self, mask: Bools) -> None:
        """Forget the events that the mask leaves out."""
        size = int(mask.sum())
        for column in self._data.values():
            column[:size] = column[: self.size][mask]
        self.size = size

    def of(self, gids: Words, *, repeats: bool = False) -> Ints:
        """Places of these groups' events by (group, time, event id); a repeated event once, and
        blind only if every report of it is. `repeats`: all its reports.
        """
        places = np.flatnonzero(_within(self.gid, gids))
        columns = [self.column(name)[places] for name in ("low", "high", "time", "gid")]
        order = np.lexsort([self.blind[places], *columns])
        places = places[order].astype(np.int64)
        if repeats or len(places) < 2:
            return places
        same = np.ones(len(places) - 1, np.bool_)
        for column in columns:
            ordered = column[order]
            same &= ordered[1:] == ordered[:-1]
        return places[np.concatenate([[True], ~same])] if same.any() else places

    def state(self) -> LedgerState:
        columns = {name: self.column(name).tobytes() for name in _TYPES}
        return LedgerState(self.size, columns, self.cuts)

    @classmethod
    def of_state(cls, state: LedgerState) -> "Ledger":
        ledger = cls()
        ledger.append(
            {name: np.frombuffer(state.columns[name], kind) for name, kind in _TYPES.items()}
        )
        ledger.cuts = dict(state.cuts)
        return ledger


def _within(column: Words, gids: Words) -> Bools:
    """Which events are of these groups; `gids` ascending, each once, at least one."""
    if len(column) > _MANY:
        found: Bools = pl.Series(column).is_in(pl.Series(gids).implode()).to_numpy()
        return found
    at = np.searchsorted(gids, column)
    at[at == len(gids)] = 0
    equal: Bools = gids[at] == column
    return equal
