"""What is judged in one go: of each of some groups a stretch of events, in order."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tachograph.detectors.correlation.arrays import Bools, Ints
from tachograph.detectors.correlation.blocks import Blocks
from tachograph.detectors.correlation.evidence import Basis, Crossings

# Longer than any span of time there is: a window that nothing leaves.
FOREVER = 2**61
LONG_AGO = -(2**62)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Places [begin, end) of events of groups; those from `since` on are asked whether the
    condition holds at them.

    `fresh`: nothing before `begin` counts, else what was counted up to it goes on.
    `keep`: what is counted now is gone on with the next time.
    """

    slots: Ints
    begin: Ints
    end: Ints
    since: Ints
    span_us: int
    fresh: bool
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Held:
    """Events at which the condition holds, in order: whose, where, and their window [opens, ends).

    `doubtful`: groups of the stretch that can only be judged afresh.
    """

    group: Ints
    place: Ints
    opens: Ints
    ends: Ints
    doubtful: Ints

    def of(self, wanted: Bools) -> "Held":
        """Only some of the events."""
        return Held(
            self.group[wanted],
            self.place[wanted],
            self.opens[wanted],
            self.ends[wanted],
            self.doubtful,
        )


class Sweep(Protocol):
    """How one kind of rule goes over a stretch. Its columns in Blocks are its own."""

    row_kinds: dict[str, tuple[str, int]]
    group_kinds: dict[str, tuple[str, int]]
    # Timespans before and after an event that tell whether the condition holds at it.
    reach: int
    ahead: int

    def run(self, blocks: Blocks, stretch: Stretch) -> Held:
        """Where the condition holds."""
        ...

    def whole(self, blocks: Blocks, slots: Ints, begin: Ints, end: Ints) -> Held:
        """Which of the windows [begin, end), each judged as a whole, satisfy the condition; the
        event that a signal names is the last, or the one that ends what is looked for.
        """
        ...

    def bases(self, blocks: Blocks, crossings: Crossings, span_us: int) -> list[Basis]:
        """What each of some events rests on at which the condition holds."""
        ...

    def needs(self, blocks: Blocks, slots: Ints, until: Ints) -> Bools:
        """Groups whose count does not go on if their rows before these places are dropped."""
        ...

    def forget(self, blocks: Blocks) -> None:
        """Rows went away or moved: forget what is remembered of rows outside of Blocks."""
        ...


NO_GROUPS = np.empty(0, np.int64)
