"""Windows of one length that may still change, until time has passed them."""

import io
from collections.abc import Collection, Sequence

import polars as pl

from tachograph.detectors.behaviour.concurrency import MOST_SESSIONS
from tachograph.detectors.behaviour.course import Course
from tachograph.detectors.behaviour.features import SCALES
from tachograph.detectors.behaviour.levels import different_few
from tachograph.detectors.behaviour.rows import (
    LINKED,
    NO_PANES,
    NO_WINDOWS,
    SESSIONS,
    UNLINKED,
    merged,
)

# Parts that are held before they are put together.
_MAX_PARTS = 64
_SPARE_SHARE = 8
# The length of window whose sessions count as open at once.
_MINUTE = 1


class Pending:
    """One row an agent and window, put together when asked for. Not thread-safe."""

    def __init__(self, limit: int, by: tuple[str, ...] = LINKED, *, replaces: bool = False) -> None:
        """`limit`: rows held; beyond it the windows furthest ahead go first. `by`: what tells rows
        apart. `replaces`: of rows that are alike in that, one counts, not their sum.
        """
        self._replaces = replaces
        self._by = by
        self._nothing = NO_PANES if by == UNLINKED else NO_WINDOWS
        self._parts: list[pl.DataFrame] = []
        self._rows = self._whole_rows = 0
        self._first: int | None = None
        self._limit = limit
        self.evicted = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows in."""
        if rows.is_empty():
            return
        self._parts.append(rows)
        self._first = None
        self._rows += rows.height
        many = len(self._parts) > _MAX_PARTS and self._rows > 2 * self._whole_rows
        if many or self._rows > self._limit:
            self._hold(self._whole())

    @property
    def columns(self) -> list[str]:
        """Of its rows."""
        return self._nothing.columns

    def first_window(self) -> int | None:
        """The earliest window held."""
        if self._first is None and self._parts:
            self._first = min(int(part["window"].min()) for part in self._parts)  # type: ignore[arg-type]
        return self._first

    def close(self, before: int) -> pl.DataFrame:
        """Windows before this one, which nothing changes any more; ordered by window and slot."""
        first = self.first_window()
        if first is None or first >= before:
            return self._nothing
        whole = self._whole()
        over = int(whole["window"].search_sorted(before))
        self._hold(whole[over:])
        return whole[:over]

    def window_at(self, row: int) -> int | None:
        """The window of a row, in order; None: there are not so many."""
        if self._rows <= row:
            return None
        self._hold(self._whole())
        return int(self._parts[0]["window"][row]) if self._rows > row else None

    def forget(self, slots: list[int]) -> None:
        """Nothing more of these."""
        if self._parts:
            self._hold(self._whole().filter(~pl.col("slot").is_in(slots)))

    def take(self, traces: Collection[str]) -> pl.DataFrame | None:
        """Take the rows of these traces out; None: there are none."""
        asked = pl.Series(list(traces), dtype=pl.String)
        found, left = [], []
        for part in self._parts:
            mask = part["trace"].is_in(asked)
            if mask.any():
                found.append(part.filter(mask))
                left.append(part.filter(~mask))
            else:
                left.append(part)
        if not found:
            return None
        whole_left = len(left) == 1 and self._rows == self._whole_rows
        self._parts, self._first = [part for part in left if part.height], None
        self._rows = sum(part.height for part in self._parts)
        self._whole_rows = self._rows if whole_left else 0
        return pl.concat(found)

    def _whole(self) -> pl.DataFrame:
        """All that is held, ordered by window and slot."""
        if len(self._parts) == 1 and self._rows == self._whole_rows:
            return self._parts[0]
        whole = pl.concat(self._parts)
        if self._replaces:
            return whole.unique(self._by, keep="any").sort("window", "slot", "trace")
        return merged(whole, self._by)

    def _hold(self, whole: pl.DataFrame) -> None:
        if whole.height > self._limit:
            # Some room at once, else every batch would begin with this.
            kept = self._limit - self._limit // _SPARE_SHARE
            self.evicted += whole.height - kept
            whole = whole.head(kept)
        self._first = None
        self._parts = [whole] if whole.height else []
        self._rows = self._whole_rows = whole.height

    def dump(self) -> bytes:
        sink = io.BytesIO()
        if self._parts:
            self._hold(self._whole())
            self._parts[0].write_ipc_stream(sink, compression="zstd")
        return sink.getvalue()

    def load(self, state: bytes) -> None:
        """Take up a dump."""
        self._parts, self._rows, self._whole_rows = [], 0, 0
        if state:
            self._hold(pl.read_ipc_stream(io.BytesIO(state)))


def windows_over(pendings: Sequence[Pending], course: Course, until: int) -> list[pl.DataFrame]:
    """Windows that end at or before a base pane, by length; shorter ones go on as parts of the
    longer. `pendings`: by length.
    """
    found: list[pl.DataFrame] = []
    for place, (scale, pending) in enumerate(zip(SCALES, pendings, strict=True)):
        if found and found[-1].height:
            ratio = scale.panes // SCALES[place - 1].panes
            pending.add(found[-1].with_columns(pl.col("window") // ratio))
        rows = pending.close(until // scale.panes)
        if not place:
            rows = merged(rows) if (rows["trace"] != "").any() else rows.drop("trace")
            rows = rows.with_columns(
                (pl.col("acts") * pl.col("acts")).alias("squared"),
                pl.col("acts").alias("burst"),
            )
            rows = course.open.follow(course.follow(rows))
            rows = rows.with_columns(pl.concat_list("first_id").alias("ids"))
        if place <= _MINUTE:
            own = pl.Series(different_few(rows[SESSIONS].to_numpy()))
            rows = rows.with_columns(pl.max_horizontal(MOST_SESSIONS, own).alias(MOST_SESSIONS))
        found.append(rows)
    return found
