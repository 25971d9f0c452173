"""What a window shows of itself: the events it rests on, how many there are, and its value."""

from typing import NamedTuple

import numpy as np

from tachograph.detectors.correlation.arrays import Ints
from tachograph.detectors.correlation.blocks import Columns


class Crossings(NamedTuple):
    """Events at which conditions hold: whose, where, in which bucket, and their windows."""

    slot: Ints
    gid: list[int]
    bucket: list[int]
    place: Ints
    opens: Ints
    ends: Ints
    # The first moment that matters to them: what was forgotten of it, or since, may matter too.
    since_us: list[int]

    def only(self, wanted: list[int]) -> "Crossings":
        """Some of them, by number."""
        at = np.array(wanted, np.int64)
        return Crossings(
            self.slot[at],
            [self.gid[n] for n in wanted],
            [self.bucket[n] for n in wanted],
            self.place[at],
            self.opens[at],
            self.ends[at],
            [self.since_us[n] for n in wanted],
        )


class Basis(NamedTuple):
    """What one of them rests on: places of the first of its events, how many events there are, the
    value that was compared, and how many late ones were left out.
    """

    events: list[int]
    number: int
    value: float
    missed: int

    def footprint(self, rows: Columns, last: int) -> tuple[float, ...]:
        """Numbers that differ when what is said would."""
        ids = [int(rows[half][at]) for at in (last, *self.events) for half in ("high", "low")]
        return (self.number, self.value, self.missed, *ids)


def windows(crossings: Crossings) -> list[slice]:
    """The window of each crossing, as a range of places."""
    pairs = zip(crossings.opens.tolist(), crossings.ends.tolist(), strict=True)
    return [slice(opens, ends) for opens, ends in pairs]


def late(rows: Columns, window: slice) -> int:
    """How many events of a window came too late to count."""
    return int(rows["blind"][window].sum())
