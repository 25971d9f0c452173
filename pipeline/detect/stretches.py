"""Where the stretches of records end that are judged in one go, as it stands beside the committed
offset before anything is said of them.

Who owns a place may die between saying something and committing it. What stood at the end of one
of its stretches may be undone by the very next record: the next owner judges the same stretches,
and so says the same again, or takes it back.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Self

# Each owner that dies before it commits leaves one, if it had read further than the one before.
MAX_ENDS = 128


class Stretches:
    """Offsets behind the last record of each stretch that is not committed yet."""

    def __init__(self, ends: Iterable[int] = ()) -> None:
        self._ends = sorted(set(ends))

    @classmethod
    def noted(cls, note: str, *, start: int, end: int) -> Self:
        """Those of a note that lie behind `start`; no record is at `end` or after it. A note that
        somebody else wrote says nothing.
        """
        told = [int(text) for text in note.split(",")[:MAX_ENDS] if text.isdecimal()]
        return cls(min(told_end, end) for told_end in told if start < min(told_end, end))

    @property
    def note(self) -> str:
        """For `noted`."""
        return ",".join(map(str, self._ends))

    @property
    def last(self) -> int:
        """Where the last one ends; 0: there is none."""
        return self._ends[-1] if self._ends else 0

    def end_of(self, offset: int) -> int | None:
        """Where the stretch of a record ends; None: it is in none of these."""
        at = bisect_right(self._ends, offset)
        return self._ends[at] if at < len(self._ends) else None

    def begin(self, end: int) -> bool:
        """Records before `end` are going to be judged. Whether that has to be noted anew."""
        if end <= self.last or len(self._ends) >= MAX_ENDS:
            return False
        self._ends.append(end)
        return True

    def committed(self, offset: int) -> None:
        """Whatever was said of records before it is settled."""
        self._ends = self._ends[bisect_right(self._ends, offset) :]
