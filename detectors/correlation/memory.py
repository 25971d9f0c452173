"""The events that one rule holds on to: taken in, let go, held to limits, forgotten."""

from collections.abc import Mapping

import msgspec
import numpy as np

from tachograph.detectors.correlation.arrays import Array, Bools, Ints, Words, firsts, spans
from tachograph.detectors.correlation.blocks import Blocks, Columns, unified
from tachograph.detectors.correlation.stretch import FOREVER, LONG_AGO
from tachograph.detectors.limits import Limits

_GROUP_KINDS: dict[str, tuple[str, int]] = {
    # Last bucket in which it spoke, counted from LONG_AGO: 0 is none.
    "fired": ("<i8", 0),
    # Time of the newest event dropped because the group held too many; counted alike.
    "cut": ("<i8", 0),
    # What was counted does not go on: it has to be counted afresh.
    "stale": ("|b1", 0),
    # Ordinal of its first event that is not judged yet, and whether there may be one.
    "judged": ("<i8", 0),
    "waits": ("|b1", 0),
    # Windows that do not slide: everything up to this time is judged for good; and when the next
    # one may be. Both counted from LONG_AGO.
    "closed": ("<i8", 0),
    "due": ("<i8", 0),
}
_KEPT_OF_GROUPS = ("gid", "size", "fired", "cut", "closed")
# Columns of rows that are counted anew after a load.
_COUNTED = frozenset({"leave"})


class CorrelatorStats(msgspec.Struct):
    """Counts since the start; not part of the state."""

    late: int = 0
    evicted_events: int = 0
    evicted_groups: int = 0
    # Signals that can be revised no more, and values that are known no more.
    evicted_signals: int = 0
    evicted_values: int = 0


class Touched(msgspec.Struct, frozen=True):
    """Groups that changed: from which time on, by how many events, whether only at their end."""

    slots: Ints
    since_us: Ints
    count: Ints
    in_order: Bools


class MemoryState(msgspec.Struct, frozen=True, array_like=True):
    """A memory as it is dumped: columns of rows and of groups as bytes."""

    rows: dict[str, bytes]
    groups: dict[str, bytes]
    evicted_until: int


class Memory:
    """Events of groups, bounded. Not thread-safe."""

    def __init__(
        self,
        limits: Limits,
        row_kinds: Mapping[str, tuple[str, int]] | None = None,
        group_kinds: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        self.blocks = Blocks(row_kinds, {**_GROUP_KINDS, **(group_kinds or {})})
        self.stats = CorrelatorStats()
        self._limits = limits
        # The last moment of which some group was forgotten at a limit.
        self.evicted_until = LONG_AGO

    def useful(self, columns: Columns, horizon_us: int) -> dict[str, Array]:
        """Events that some window can still hold; the others are too late, too."""
        useful = columns["time"] >= horizon_us
        self.stats.late += int((columns["blind"] | ~useful).sum())
        if useful.all():
            return dict(columns)
        return {name: values[useful] for name, values in columns.items()}

    def take(self, columns: Columns) -> Touched:
        """Remember events, at least one; `columns` are those of rows, and gid."""
        order, kept = unified(columns["gid"].view(np.int64), columns)
        order = order[kept]
        rows = {name: values[order] for name, values in columns.items()}
        new = firsts(rows.pop("gid"))
        begins = np.flatnonzero(new)
        count = np.diff(np.append(begins, len(order)))
        slots, _ = self.blocks.open(columns["gid"][order[begins]])
        since = rows["time"][begins]
        groups = self.blocks.groups
        in_order = ~np.logical_or.reduceat(rows["blind"], begins) & ~groups["stale"][slots]
        old = np.flatnonzero(in_order & (groups["size"][slots] > 0))
        in_order[old] = self.blocks.newest(slots[old]) < since[old]
        owner = np.cumsum(new) - 1
        for wanted, put in ((in_order, self.blocks.append), (~in_order, self.blocks.merge)):
            if wanted.all():
                put(slots, count, rows)
            elif wanted.any():
                mine = wanted[owner]
                put(slots[wanted], count[wanted], {n: v[mine] for n, v in rows.items()})
        groups["waits"][slots] = True
        return Touched(slots, since, count, in_order)

    def let_go(self, gone: Columns, *, judged: bool = True) -> Touched | None:
        """Forget events, known by gid, time and id, where they are. `judged`: such, too, that were
        judged already.
        """
        slots, places = self.blocks.locate(gone["gid"], gone["time"], gone["high"], gone["low"])
        known = places >= 0
        if not judged:
            of = slots[known]
            known[known] = places[known] >= self.blocks.place(of, self.blocks.groups["judged"][of])
        if not known.any():
            return None
        slots, time = slots[known], gone["time"][known]
        self.blocks.remove(places[known], slots)
        touched, owner = np.unique(slots, return_inverse=True)
        since = np.full(len(touched), FOREVER)
        np.minimum.at(since, owner, time)
        none = np.zeros(len(touched), np.int64)
        return Touched(touched, since, none, none.astype(np.bool_))

    def held(self, gid: Words, time: Ints, high: Words, low: Words) -> tuple[Bools, Ints]:
        """Which of these events it holds, and the places of those."""
        _, places = self.blocks.locate(gid, time, high, low)
        found = places >= 0
        return found, places[found]

    # --- limits -----------------------------------------------------------------------------------

    def hold(self, slots: Ints) -> Bools:
        """Of groups that hold too much the newest events stay, a tenth less than may; which groups
        those are.
        """
        limit, groups = self._limits.events_per_group, self.blocks.groups
        over = groups["size"][slots] > limit
        if over.any():
            slots = slots[over]
            begin, end = self.blocks.bounds(slots)
            until = end - (limit - limit // 10)
            self.stats.evicted_events += int((until - begin).sum())
            groups["cut"][slots] = self.blocks.rows["time"][until - 1] - LONG_AGO
            groups["stale"][slots] = True
            self.blocks.drop(slots, until)
        return over

    def trim(self) -> bool:
        """Hold the rule to its limits: groups quiet for longest go first, a tenth more than need
        be. Whether any went.
        """
        limits, blocks = self._limits, self.blocks
        if blocks.size <= min(limits.groups_per_rule, limits.events_per_rule):
            return False
        slots = blocks.used()
        if len(slots) <= limits.groups_per_rule and blocks.size <= limits.events_per_rule:
            return False
        newest = blocks.newest(slots)
        order = np.argsort(newest, kind="stable")
        sizes = np.cumsum(blocks.groups["size"][slots[order]])
        over = max(blocks.size - limits.events_per_rule * 9 // 10, 0)
        by_events = int(np.searchsorted(sizes, over)) + 1 if over else 0
        evicted = order[: max(len(slots) - limits.groups_per_rule * 9 // 10, by_events)]
        self.stats.evicted_groups += len(evicted)
        self.stats.evicted_events += int(sizes[len(evicted) - 1])
        self.evicted_until = max(self.evicted_until, int(newest[evicted].max()))
        blocks.free(slots[evicted])
        return True

    def crowd(self, name: str) -> None:
        """Hold the number of groups to the limit; those go first of which a column is smallest."""
        blocks, groups = self.blocks, self.blocks.groups
        known = np.flatnonzero(groups["gid"][: blocks.top])
        most = self._limits.groups_per_rule
        if len(known) <= most:
            return
        evicted = known[
            np.argsort(groups[name][known], kind="stable")[: len(known) - most * 9 // 10]
        ]
        self.stats.evicted_groups += len(evicted)
        self.stats.evicted_events += int(groups["size"][evicted].sum())
        newest = int(groups[name][evicted].max()) + LONG_AGO
        self.evicted_until = max(self.evicted_until, newest)
        blocks.free(evicted)

    def expired(self, horizon_us: int) -> tuple[Ints, Ints]:
        """Groups with events before this time, and the place after the last such one."""
        slots = self.blocks.used()
        until = self.blocks.since(slots, np.full(len(slots), horizon_us))
        old = until > self.blocks.bounds(slots)[0]
        return slots[old], until[old]

    def sweep(self, horizon_us: int) -> None:
        """Forget groups that hold no events, and cuts before this time."""
        groups, blocks = self.blocks.groups, self.blocks
        cut = groups["cut"]
        cut[cut < horizon_us - LONG_AGO] = 0
        known = np.flatnonzero(groups["gid"][: blocks.top])
        over = groups["closed"][known] < horizon_us - LONG_AGO
        blocks.free(known[(groups["size"][known] == 0) & (cut[known] == 0) & over])

    def cut(self, slot: int) -> int:
        """The last moment of which events of the group were forgotten at a limit."""
        return max(int(self.blocks.groups["cut"][slot]) + LONG_AGO, self.evicted_until)

    # --- what is kept of it -----------------------------------------------------------------------

    def used_facts(self) -> tuple[Ints, Ints]:
        """Table and row of the facts it may still show, one each event."""
        whole = spans(*self.blocks.bounds(self.blocks.used())).places
        return self.blocks.rows["table"][whole], self.blocks.rows["row"][whole]

    def move_facts(self, moved: Mapping[int, tuple[int, Ints]]) -> None:
        """Facts lie elsewhere: of each table that moved its new number, and the new row of each."""
        whole = spans(*self.blocks.bounds(self.blocks.used())).places
        rows = self.blocks.rows
        tables = rows["table"][whole]
        for table, (number, places) in moved.items():
            at = whole[tables == table]
            rows["row"][at] = places[rows["row"][at]]
            rows["table"][at] = number

    def state(self) -> MemoryState:
        blocks = self.blocks
        slots = blocks.used()
        whole = spans(*blocks.bounds(slots)).places
        return MemoryState(
            {n: c[whole].tobytes() for n, c in blocks.rows.items() if n not in _COUNTED},
            {n: blocks.groups[n][slots].tobytes() for n in _KEPT_OF_GROUPS},
            self.evicted_until,
        )

    def restore(self, state: MemoryState) -> None:
        """Take up a dump. What was counted has to be counted afresh: all groups are stale."""
        blocks = self.blocks
        self.evicted_until = state.evicted_until
        kinds = {name: column.dtype for name, column in blocks.rows.items()}
        rows = {name: np.frombuffer(kept, kinds[name]) for name, kept in state.rows.items()}
        slots, _ = blocks.open(np.frombuffer(state.groups["gid"], "<u8"))
        blocks.append(slots, np.frombuffer(state.groups["size"], "<i8"), rows)
        groups = blocks.groups
        for name in ("fired", "cut", "closed"):
            groups[name][slots] = np.frombuffer(state.groups[name], "<i8")
        groups["stale"][slots] = groups["waits"][slots] = True
