"""Event ids seen lately, so that a repeated record counts once.

A hash table of 128-bit ids in two generations: one being filled, one before it. A generation lasts
one horizon of observed time, so an id is remembered for one to two horizons, in fixed memory.
"""

from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.ids import Words, halves

DEDUP_HORIZON_S = 600
MAX_IDS = 1_000_000
FORMAT = 1
MICROS = 1_000_000

# Sets an id that was only seen late or far apart from the same id seen in time.
_UNTIMELY = np.uint64(0x9E3779B97F4A7C15)


class _Table:
    """Open addressing over two columns of 64 bits; a slot is free while both are zero."""

    def __init__(self, capacity: int) -> None:
        self.slots = 1 << max(4, (2 * capacity - 1).bit_length())
        self.capacity = capacity
        self.used = 0
        self.high: Words = np.zeros(self.slots, np.uint64)
        self.low: Words = np.zeros(self.slots, np.uint64)

    def contains(self, high: Words, low: Words) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(high), np.bool_)
        if not self.used:
            return found
        open_ = np.arange(len(high))
        slot = (low & np.uint64(self.slots - 1)).astype(np.int64)
        while len(open_):
            at_high, at_low = self.high[slot], self.low[slot]
            same = (at_high == high[open_]) & (at_low == low[open_])
            found[open_[same]] = True
            on = ~same & ((at_high != 0) | (at_low != 0))
            open_, slot = open_[on], (slot[on] + 1) & (self.slots - 1)
        return found

    def add(self, high: Words, low: Words) -> None:
        """Put in ids that are not there yet, each once."""
        self.used += len(high)
        open_ = np.arange(len(high))
        slot = (low & np.uint64(self.slots - 1)).astype(np.int64)
        while len(open_):
            free = (self.high[slot] == 0) & (self.low[slot] == 0)
            # Of several ids for one free slot the first takes it; the others move on.
            _, first = np.unique(slot[free], return_index=True)
            winners = np.flatnonzero(free)[first]
            self.high[slot[winners]] = high[open_[winners]]
            self.low[slot[winners]] = low[open_[winners]]
            on = np.ones(len(open_), np.bool_)
            on[winners] = False
            open_, slot = open_[on], (slot[on] + 1) & (self.slots - 1)

    def ids(self) -> tuple[Words, Words]:
        used = (self.high != 0) | (self.low != 0)
        return self.high[used], self.low[used]


class _State(msgspec.Struct, frozen=True):
    format: int
    since_us: int | None
    newest_us: int | None
    current: tuple[bytes, bytes]
    previous: tuple[bytes, bytes]


class Seen:
    """Which events of a batch were not seen before. Bounded to `limit` ids a generation."""

    def __init__(self, horizon_s: int = DEDUP_HORIZON_S, limit: int = MAX_IDS) -> None:
        self._horizon_us = horizon_s * MICROS
        self._limit = limit
        self._current = _Table(limit)
        self._previous = _Table(1)
        # Observed time at which the current generation began, and the newest seen.
        self._since_us: int | None = None
        self._newest_us: int | None = None
        self.repeated = 0
        # Ids forgotten before their horizon because there were too many.
        self.evicted = 0

    def fresh(self, frame: pl.DataFrame) -> pl.Series:
        """Mask of the rows whose event_id is new, the first of equal ones; they count as seen from
        now on.

        An event that only came late or far so far is new again when it comes in time: whether it
        counts in windows must not depend on which of its reports is read first.
        `frame`: columns event_id and observed_time (or event_time where that is absent), and late
        and far if any row is.
        """
        if frame.is_empty():
            return pl.Series("fresh", [], pl.Boolean)
        self._turn(frame)
        ids = frame["event_id"]
        high, low = _halves(ids)
        late = _untimely(frame)
        fresh = np.zeros(len(ids), np.bool_)
        timely = np.flatnonzero(~late)
        fresh[timely] = self._firsts(ids[timely], high[timely], low[timely])
        if late.any():
            rest = np.flatnonzero(late & ~self._knows(high, low))
            fresh[rest] = self._firsts(ids[rest], high[rest] ^ _UNTIMELY, low[rest])
        self.repeated += int((~fresh).sum())
        return pl.Series("fresh", fresh)

    def _knows(self, high: Words, low: Words) -> npt.NDArray[np.bool_]:
        return self._current.contains(high, low) | self._previous.contains(high, low)

    def _firsts(self, ids: pl.Series, high: Words, low: Words) -> npt.NDArray[np.bool_]:
        """Which of these are new, the first of equal ones; they are known from now on."""
        fresh: npt.NDArray[np.bool_] = ~self._knows(high, low)
        fresh &= ids.is_first_distinct().to_numpy()
        self._add(high[fresh], low[fresh])
        return fresh

    def _add(self, high: Words, low: Words) -> None:
        while len(high):
            room = self._limit - self._current.used
            if not room:
                self.evicted += self._previous.used
                self._rotate(self._newest_us)
                continue
            self._current.add(high[:room], low[:room])
            high, low = high[room:], low[room:]

    def _turn(self, frame: pl.DataFrame) -> None:
        column = "observed_time" if "observed_time" in frame.columns else "event_time"
        newest = frame[column].to_physical().max() if column in frame.columns else None
        if not isinstance(newest, int):
            return
        self._newest_us = max(newest, self._newest_us or newest)
        if self._since_us is None:
            self._since_us = self._newest_us
        age_us = self._newest_us - self._since_us
        if age_us >= 2 * self._horizon_us:
            self._rotate(None)
            self._rotate(self._newest_us)
        elif age_us >= self._horizon_us:
            self._rotate(self._since_us + self._horizon_us)

    def _rotate(self, since_us: int | None) -> None:
        self._previous = self._current
        self._current = _Table(self._limit)
        self._since_us = since_us

    def dump(self) -> bytes:
        def columns(table: _Table) -> tuple[bytes, bytes]:
            high, low = table.ids()
            return high.astype("<u8").tobytes(), low.astype("<u8").tobytes()

        state = _State(
            FORMAT, self._since_us, self._newest_us, columns(self._current), columns(self._previous)
        )
        return msgspec.msgpack.encode(state)

    def load(self, state: bytes) -> Self:
        """Take up a dump. Raises ValueError when it is none of ours."""
        kept = msgspec.msgpack.decode(state, type=_State)
        if kept.format != FORMAT:
            raise ValueError(f"seen ids of format {kept.format}, not {FORMAT}")
        self._since_us, self._newest_us = kept.since_us, kept.newest_us
        self._current, self._previous = (self._table(kept.current), self._table(kept.previous))
        return self

    def _table(self, columns: tuple[bytes, bytes]) -> _Table:
        high, low = (np.frombuffer(column, "<u8").astype(np.uint64) for column in columns)
        table = _Table(max(self._limit, len(high)))
        table.add(high, low)
        return table


def _untimely(frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Rows that come late or far and so count in no window."""
    marks = np.zeros(frame.height, np.bool_)
    for name in ("late", "far"):
        if name in frame.columns:
            marks |= frame[name].fill_null(value=False).to_numpy()
    return marks


def _halves(ids: pl.Series) -> tuple[Words, Words]:
    """The ids as two columns of 64 bits. All zeros mark a free slot, so no id may be that."""
    high, low = halves(ids)
    low[(high == 0) & (low == 0)] = 1
    return high, low
