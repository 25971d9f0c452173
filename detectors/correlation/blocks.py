"""The events one rule remembers: each group's together, by (time, event id).

A group has a slot; its rows lie in one stretch of long columns. Events that come in order are
written at the end of their group's stretch, others into its middle. A stretch that gets too long
moves to the end of the columns; what stays behind is swept up when it is half of all.

A place is where a row lies now; the next change may move it. An ordinal counts the rows of a group
since it began: it stays when rows move or the oldest go, and changes only where something was put
in or taken out before it.
"""

from collections.abc import Mapping

import numpy as np

from tachograph.detectors.correlation.arrays import (
    Array,
    Bools,
    Growing,
    Ints,
    Words,
    bisect,
    firsts,
    spans,
)
from tachograph.detectors.correlation.hashmap import HashMap

Columns = Mapping[str, Array]

# Of every row. Blind ones are late: remembered so that signals can say that they were left out.
ROW_KINDS: dict[str, tuple[str, int]] = {
    "time": ("<i8", 0),  # event time, microseconds
    "high": ("<u8", 0),  # event id, as two numbers
    "low": ("<u8", 0),
    "twin": ("<u8", 0),  # equal for reports of one action; 0: there is no other
    "origin": ("<u8", 0),  # equal for reports of one action by one source
    "steps": ("<i8", 0),  # bit i: an event of the rule's step i
    "leaf": ("<i2", 0),  # which of the rule's leaves it came by
    "blind": ("|b1", 0),
    "partial": ("|b1", 0),  # a signal that says itself that it may have missed something
    "table": ("<i8", 0),  # its facts in a FactStore
    "row": ("<i8", 0),
}
_GROUP_KINDS: dict[str, tuple[str, int]] = {
    "gid": ("<u8", 0),
    "base": ("<i8", 0),  # place of its first row
    "size": ("<i8", 0),
    "room": ("<i8", 0),  # rows that fit before it has to move
    "first": ("<i8", 0),  # ordinal of its first row
}
_KEY = ("time", "high", "low")
_FIRST_ROWS = 1_024
_FIRST_GROUPS = 64
_SLACK = 4_096


class Blocks:
    """Append, merge, look up by group, forget. Not thread-safe."""

    def __init__(
        self,
        row_kinds: Mapping[str, tuple[str, int]] | None = None,
        group_kinds: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        """More columns of rows and of groups, with kind of number and width (0: one number)."""
        self._rows = Growing({**ROW_KINDS, **(row_kinds or {})}, _FIRST_ROWS)
        self._groups = Growing({**_GROUP_KINDS, **(group_kinds or {})}, _FIRST_GROUPS)
        self._slots = HashMap()
        self._free = np.empty(0, np.int64)
        # Slots that were ever used, and rows of the columns that are or were.
        self.top = 0
        self._end = 0
        self.size = 0

    @property
    def rows(self) -> dict[str, Array]:
        """Columns of the rows; not to be kept over a change."""
        return self._rows.columns

    @property
    def groups(self) -> dict[str, Array]:
        """Columns of the groups by slot; not to be kept over an `open`."""
        return self._groups.columns

    # --- groups -----------------------------------------------------------------------------------

    def find(self, gids: Words) -> Ints:
        """Slots of groups; -1 for those not known."""
        return self._slots.get(gids)

    def open(self, gids: Words) -> tuple[Ints, Bools]:
        """Slots of groups, each given once; and which of them are new: their columns are zero."""
        slots = self._slots.get(gids)
        new = slots < 0
        wanted = int(new.sum())
        if wanted:
            reused = self._free[:wanted]
            self._free = self._free[wanted:]
            made = np.arange(self.top, self.top + wanted - len(reused))
            self.top += len(made)
            self._groups.grow(self.top)
            fresh = np.concatenate([reused, made])
            for column in self.groups.values():
                column[fresh] = 0
            self.groups["gid"][fresh] = gids[new]
            self._slots.put(gids[new], fresh)
            slots[new] = fresh
        return slots, new

    def used(self) -> Ints:
        """Slots of all groups that have rows."""
        return np.flatnonzero(self.groups["size"][: self.top])

    def free(self, slots: Ints) -> None:
        """Forget groups."""
        if not len(slots):
            return
        self.size -= int(self.groups["size"][slots].sum())
        for column in self.groups.values():
            column[slots] = 0
        self._free = np.concatenate([self._free, slots])
        gone = np.zeros(self.top, np.bool_)
        gone[self._free] = True
        kept = np.flatnonzero(~gone)
        self._slots.clear()
        self._slots.put(self.groups["gid"][kept], kept)

    def bounds(self, slots: Ints) -> tuple[Ints, Ints]:
        """Places [begin, end) of the rows of groups."""
        begin = self.groups["base"][slots]
        return begin, begin + self.groups["size"][slots]

    def place(self, slots: Ints, ordinals: Ints) -> Ints:
        """Where rows with these ordinals are (or would be)."""
        found: Ints = self.groups["base"][slots] + ordinals - self.groups["first"][slots]
        return found

    def ordinal(self, slots: Ints, places: Ints) -> Ints:
        """The ordinals of rows."""
        found: Ints = places - self.groups["base"][slots] + self.groups["first"][slots]
        return found

    def newest(self, slots: Ints) -> Ints:
        """Time of the last row of groups that have rows."""
        found: Ints = self.rows["time"][self.bounds(slots)[1] - 1]
        return found

    def since(self, slots: Ints, time: Ints, *, after: bool = False) -> Ints:
        """Place of the first row of each group at a time or later (`after`: only later)."""
        return bisect(self.rows["time"], *self.bounds(slots), time, right=after)

    # --- rows -------------------------------------------------------------------------------------

    def append(self, slots: Ints, counts: Ints, columns: Columns) -> None:
        """Rows of groups, laid out one group after the other, that come after all they have."""
        self._reserve(slots, counts)
        end = self.bounds(slots)[1]
        at = spans(end, end + counts).places
        for name, values in columns.items():
            self.rows[name][at] = values
        self.groups["size"][slots] += counts
        self.size += int(counts.sum())

    def merge(self, slots: Ints, counts: Ints, columns: Columns) -> None:
        """Rows of groups, laid out one group after the other, wherever they belong. An event that
        the group has already is not taken twice; it is blind only if every report of it is.
        """
        group = np.repeat(np.arange(len(slots)), counts)
        earliest = np.full(len(slots), np.iinfo(np.int64).max)
        np.minimum.at(earliest, group, columns["time"])
        begin, end = self.since(slots, earliest), self.bounds(slots)[1]
        old = spans(begin, end)
        owner = np.concatenate([old.owner, group])
        whole = {name: column[old.places] for name, column in self.rows.items()}
        for name, column in whole.items():
            more = columns.get(name)
            if more is None:
                more = np.zeros((len(group), *column.shape[1:]), column.dtype)
            whole[name] = np.concatenate([column, more])
        order, kept = unified(owner, whole)
        self._replace(slots, begin, owner[order][kept], whole, order[kept])

    def remove(self, places: Ints, slots: Ints) -> None:
        """Take rows out; `slots` has the group of each."""
        touched, owner = np.unique(slots, return_inverse=True)
        earliest = np.full(len(touched), np.iinfo(np.int64).max)
        np.minimum.at(earliest, owner, places)
        tail = spans(earliest, self.bounds(touched)[1])
        kept = ~np.isin(tail.places, places)
        left = {name: column[tail.places] for name, column in self.rows.items()}
        self._replace(touched, earliest, tail.owner[kept], left, np.flatnonzero(kept))

    def _replace(
        self, slots: Ints, begin: Ints, owner: Ints, columns: Columns, order: Ints
    ) -> None:
        """From place `begin` on each group has these rows, in this order; `owner` says whose."""
        held = begin - self.groups["base"][slots]
        counts = np.bincount(owner, minlength=len(slots))
        self.size += int((held + counts - self.groups["size"][slots]).sum())
        self.groups["size"][slots] = held
        self._reserve(slots, counts)
        start = self.groups["base"][slots] + held
        at = spans(start, start + counts).places
        for name, values in columns.items():
            self.rows[name][at] = values[order]
        self.groups["size"][slots] += counts

    def drop(self, slots: Ints, until: Ints) -> None:
        """Forget the rows of groups before these places."""
        gone = until - self.groups["base"][slots]
        self.groups["base"][slots] += gone
        self.groups["first"][slots] += gone
        self.groups["size"][slots] -= gone
        self.groups["room"][slots] -= gone
        self.size -= int(gone.sum())

    def locate(self, gids: Words, time: Ints, high: Words, low: Words) -> tuple[Ints, Ints]:
        """Slot and place of events that are known to be of these groups; -1 where one is not."""
        slots = self.find(gids)
        known = np.maximum(slots, 0)
        at = self.since(known, time)
        end = self.bounds(known)[1]
        rows = self.rows
        found = np.full(len(gids), -1)
        todo = np.flatnonzero((slots >= 0) & (at < end))
        while len(todo):
            todo = todo[(at[todo] < end[todo])]
            todo = todo[rows["time"][at[todo]] == time[todo]]
            same = (rows["high"][at[todo]] == high[todo]) & (rows["low"][at[todo]] == low[todo])
            found[todo[same]] = at[todo[same]]
            todo = todo[~same]
            at[todo] += 1
        return slots, found

    # --- room -------------------------------------------------------------------------------------

    def _reserve(self, slots: Ints, counts: Ints) -> None:
        """Room for more rows at the end of groups."""
        need = self.groups["size"][slots] + counts
        short = need > self.groups["room"][slots]
        if not short.any():
            return
        if self._end + _room(need).sum() > self._rows.capacity and self._sparse():
            self._pack()
            # Which leaves others less room than they had.
            short = need > self.groups["room"][slots]
        slots, need = slots[short], need[short]
        room = _room(need)
        more = int(room.sum())
        self._rows.grow(self._end + more)
        base = self._end + np.cumsum(room) - room
        size = self.groups["size"][slots]
        old = spans(self.groups["base"][slots], self.groups["base"][slots] + size).places
        new = spans(base, base + size).places
        for column in self.rows.values():
            column[new] = column[old]
        self.groups["base"][slots], self.groups["room"][slots] = base, room
        self._end += more

    def _sparse(self) -> bool:
        return self._end > 2 * self.size + _SLACK

    def _pack(self) -> None:
        """All rows one after the other again."""
        slots = np.arange(self.top)
        size = self.groups["size"][slots]
        room = np.where(size > 0, _room(size), 0)
        base = np.cumsum(room) - room
        old = spans(self.groups["base"][slots], self.groups["base"][slots] + size).places
        new = spans(base, base + size).places
        packed = Growing(self._rows.kinds, max(int(room.sum()), _FIRST_ROWS))
        for name, column in self.rows.items():
            packed.columns[name][new] = column[old]
        self._rows = packed
        self.groups["base"][slots], self.groups["room"][slots] = base, room
        self._end = int(room.sum())


def _room(rows: Ints) -> Ints:
    """Rows to have room for where there are so many."""
    return rows + rows // 2 + 2


def unified(owner: Ints, columns: Columns) -> tuple[Ints, Bools]:
    """The order of rows by (owner, time, event id), and which of them in that order are no
    repetition; what several reports of one event match is put together in the first, in place.
    """
    order = np.lexsort([columns["blind"], columns["low"], columns["high"], columns["time"], owner])
    kept = firsts(owner[order], *(columns[name][order] for name in _KEY))
    if not kept.all():
        begins = np.flatnonzero(kept)
        steps = np.bitwise_or.reduceat(columns["steps"][order], begins)
        columns["steps"][order[begins]] = steps
    return order, kept
