"""Groups that lack a step. A rule that asks for several steps says nothing of a group before the
group has had an event of each; until then its events need not be gone over, and only wait.
"""

from collections.abc import Sequence

import numpy as np

from tachograph.detectors.correlation.arrays import Array, spans
from tachograph.detectors.correlation.blocks import Blocks, Columns
from tachograph.detectors.correlation.stretch import FOREVER
from tachograph.detectors.language.bounds import satisfies
from tachograph.detectors.language.rule import Correlation, Ordered, Together

# Events of one rule that wait; with more they are taken in, as if something could come of them.
MAX_ROWS = 4_096
_SLACK = 1_024


def needed(rule: Correlation) -> tuple[int, ...]:
    """Sets of steps (bit i: step i). Before a group has had all steps of one of them, nothing holds
    of it. Empty: that cannot be said of the rule.
    """
    number = len(rule.steps)
    if rule.closed or any(step.inner is not None for step in rule.steps):
        return ()
    match rule.asks:
        case Ordered(paths=paths) if paths:
            sets = {frozenset(link.step for link in path) for path in paths}
            return tuple(sorted(sum(1 << step for step in one) for one in sets))
        case Together(expression=None, bounds=bounds):
            fewer = any(satisfies(bounds, some) for some in range(number))
            return () if fewer else ((1 << number) - 1,)
    return ()


class Lacking:
    """Events of groups that lack a step. Not thread-safe."""

    def __init__(self, needed: Sequence[int], max_rows: int = MAX_ROWS) -> None:
        """`needed`: see `needed`."""
        self._needed = tuple(needed)
        self._max_rows = max_rows
        # The steps that a group has had, as far as something of them is held; or more. Mostly few
        # events come at once, for which arrays cost ten times what this does.
        self._had: dict[int, int] = {}
        self._waiting: list[Columns] = []
        self._rows = 0
        # No event that waits is older.
        self.oldest_us = FOREVER

    def keep(self, columns: Columns) -> bool:
        """Keep events waiting, if every group of theirs lacks a step. False: they are to be judged,
        together with those that wait.
        """
        if not self.note(columns):
            return False
        size = len(columns["gid"])
        if not size:
            return True
        if self._rows + size > self._max_rows:
            return False
        self._waiting.append(columns)
        self._rows += size
        self.oldest_us = min(self.oldest_us, int(columns["time"].min()))
        return True

    def note(self, columns: Columns) -> bool:
        """Note which steps groups have had; whether each of these is known to lack one still."""
        if not self._needed:
            return False
        all_had, needed, lack = self._had, self._needed, True
        for gid, steps in zip(columns["gid"].tolist(), columns["steps"].tolist(), strict=True):
            all_had[gid] = had = all_had.get(gid, 0) | steps
            for mask in needed:
                if had & mask == mask:
                    lack = False
        return lack

    def take(self) -> list[Columns]:
        """Those that wait, which then wait no longer."""
        taken, self._waiting, self._rows = self._waiting, [], 0
        self.oldest_us = FOREVER
        return taken

    def forget(self, blocks: Blocks, *, all_of_it: bool = False) -> None:
        """Know only of groups that are held, if there are many others; nothing waits."""
        if not self._needed or (not all_of_it and len(self._had) <= 2 * blocks.size + _SLACK):
            return
        self._had.clear()
        slots = blocks.used()
        if len(slots):
            whole = spans(*blocks.bounds(slots))
            had = np.bitwise_or.reduceat(blocks.rows["steps"][whole.places], whole.starts)
            gids = blocks.groups["gid"][slots]
            self._had.update(zip(gids.tolist(), had.tolist(), strict=True))


def stacked(parts: Sequence[Columns]) -> dict[str, Array]:
    """Events one after the other; at least one part."""
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
