"""Event ids seen lately, so that a repeated record counts once, and a used id is noticed.

Hash tables of 128-bit ids in two generations: one being filled, one before it. A generation lasts
one horizon of observed time at least, and is forgotten once all sources are a horizon past it: one
of them may be far behind the others, and still bring what another brought long ago. In fixed
memory, whatever they do.

The first half of an event id is a hash of the producer's own id of the action, the second half of
all the rest: two ids with one first half are different actions under one producer's id.
"""

from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.frames import times_us
from tachograph.detectors.ids import Words, halves
from tachograph.schemas.batch import ID_REUSE

DEDUP_HORIZON_S = 600
MAX_IDS = 1_000_000
FORMAT = 3
MICROS = 1_000_000

Bools = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

# Sets an id that was only seen late or far apart from the same id seen in time.
_UNTIMELY = np.uint64(0x9E3779B97F4A7C15)
_SMALLEST = 16


class _Table:
    """Open addressing over a key and a value of 64 bits; a slot is free while both are zero."""

    def __init__(self, capacity: int) -> None:
        self.slots = 1 << max(4, (2 * capacity - 1).bit_length())
        self.capacity = capacity
        self.used = 0
        self.key: Words = np.zeros(self.slots, np.uint64)
        self.value: Words = np.zeros(self.slots, np.uint64)

    def find(self, key: Words) -> tuple[Bools, Words]:
        """Which keys are there, and their values."""
        found = np.zeros(len(key), np.bool_)
        value = np.zeros(len(key), np.uint64)
        if not self.used:
            return found, value
        open_ = np.arange(len(key))
        slot = self._first_slots(key)
        while len(open_):
            at_key, at_value = self.key[slot], self.value[slot]
            same = at_key == key[open_]
            found[open_[same]] = (at_key[same] != 0) | (at_value[same] != 0)
            value[open_[same]] = at_value[same]
            on = ~same & ((at_key != 0) | (at_value != 0))
            open_, slot = open_[on], (slot[on] + 1) & (self.slots - 1)
        return found, value

    def add(self, key: Words, value: Words) -> None:
        """Put in keys that are not there yet, each once."""
        self.used += len(key)
        open_ = np.arange(len(key))
        slot = self._first_slots(key)
        while len(open_):
            free = (self.key[slot] == 0) & (self.value[slot] == 0)
            # Of several keys for one free slot the first takes it; the others move on.
            _, first = np.unique(slot[free], return_index=True)
            winners = np.flatnonzero(free)[first]
            self.key[slot[winners]] = key[open_[winners]]
            self.value[slot[winners]] = value[open_[winners]]
            on = np.ones(len(open_), np.bool_)
            on[winners] = False
            open_, slot = open_[on], (slot[on] + 1) & (self.slots - 1)

    def _first_slots(self, key: Words) -> Places:
        return (key & np.uint64(self.slots - 1)).astype(np.int64)

    def pairs(self) -> tuple[Words, Words]:
        used = (self.key != 0) | (self.value != 0)
        return self.key[used], self.value[used]

    def with_room(self, more: int) -> "_Table":
        """This one, or a larger one with the same in it, that has room for so many keys more."""
        if self.used + more <= self.capacity:
            return self
        larger = _Table(max(4 * self.capacity, self.used + more))
        larger.add(*self.pairs())
        return larger


class _Generation:
    """What was seen in one horizon: the first action of each producer's id, and the others. Both
    grow: a quiet partition has few, and a checkpoint looks through the whole tables.
    """

    def __init__(self, room: int = _SMALLEST) -> None:
        """`room`: for so many at first."""
        self.first = _Table(room)
        # Few, unless somebody is at it.
        self.others = _Table(_SMALLEST)

    @property
    def used(self) -> int:
        return self.first.used + self.others.used

    def look(self, named: Words, rest: Words) -> tuple[Bools, Bools]:
        """Which actions are known, and which have a producer's id that another action used."""
        found, first = self.first.find(named)
        known = found & (first == rest)
        other = found & ~known
        if self.others.used and other.any():
            at = np.flatnonzero(other)
            known[at] = self.others.find(_both(named[at], rest[at]))[0]
        return known, other

    def add(self, named: Words, rest: Words) -> None:
        """Put in actions that are not there yet, each once, in this order."""
        found, _ = self.first.find(named)
        fresh = np.zeros(len(named), np.bool_)
        fresh[np.unique(named, return_index=True)[1]] = True
        fresh &= ~found
        self.first = self.first.with_room(int(fresh.sum()))
        self.first.add(named[fresh], rest[fresh])
        others = _both(named[~fresh], rest[~fresh])
        self.others = self.others.with_room(len(others))
        self.others.add(others, rest[~fresh])


def _both(named: Words, rest: Words) -> Words:
    """One number for an action whose producer's id another one used."""
    both: Words = named * _ODD ^ rest
    both[both == 0] = 1
    return both


_ODD = np.uint64(0xD6E8FEB86659FD93)
Pairs = tuple[bytes, bytes]


class _State(msgspec.Struct, frozen=True):
    format: int
    since_us: int | None
    newest_us: int | None
    before_us: int | None
    reached_us: int | None
    current: tuple[Pairs, Pairs]
    previous: tuple[Pairs, Pairs]


class Seen:
    """Which events of a batch were not seen before. Bounded to `limit` ids a generation."""

    def __init__(self, horizon_s: int = DEDUP_HORIZON_S, limit: int = MAX_IDS) -> None:
        self._horizon_us = horizon_s * MICROS
        self._limit = limit
        self._current = _Generation()
        self._previous = _Generation()
        # Observed time at which the current generation began, the newest seen, and the newest when
        # the previous one ended; what all sources have reached.
        self._since_us: int | None = None
        self._newest_us: int | None = None
        self._before_us: int | None = None
        self._reached_us: int | None = None
        self.repeated = 0
        # Ids forgotten before their horizon because there were too many.
        self.evicted = 0

    def fresh(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows whose event_id is new, the first of equal ones; they count as seen from now on.

        Their column `id_reuse` says that another action came before under the producer's id.
        An event that only came late or far so far is new again when it comes in time: whether it
        counts in windows must not depend on which of its reports is read first.
        `frame`: columns event_id and observed_time (or event_time where that is absent), and late
        and far if any row is.
        """
        if frame.is_empty():
            return frame
        self._turn(frame)
        fresh, reused = self._judged(frame["event_id"], _untimely(frame))
        self.repeated += int((~fresh).sum())
        if reused.any():
            marks = pl.Series(ID_REUSE, reused)
            frame = frame.with_columns(pl.when(marks).then(statement=True).alias(ID_REUSE))
        return frame if fresh.all() else frame.filter(pl.Series(fresh))

    def _judged(self, ids: pl.Series, late: Bools) -> tuple[Bools, Bools]:
        named, rest = _words(ids)
        fresh, reused = np.zeros(len(ids), np.bool_), np.zeros(len(ids), np.bool_)
        timely = np.flatnonzero(~late)
        fresh[timely], reused[timely] = self._firsts(ids[timely], named[timely], rest[timely])
        if late.any():
            known, other = self._look(named, rest)
            at = np.flatnonzero(late & ~known)
            apart = named[at] ^ _UNTIMELY
            fresh[at], reused[at] = self._firsts(ids[at], apart, rest[at])
            reused[at] |= fresh[at] & other[at]
        return fresh, reused

    def _look(self, named: Words, rest: Words) -> tuple[Bools, Bools]:
        known, other = self._current.look(named, rest)
        known_before, other_before = self._previous.look(named, rest)
        return known | known_before, other | other_before

    def _firsts(self, ids: pl.Series, named: Words, rest: Words) -> tuple[Bools, Bools]:
        """Which of these are new, the first of equal ones, and which of those have a used id; they
        are known from now on.
        """
        known, reused = self._look(named, rest)
        fresh: Bools = ~known
        # Equal ids have equal words: where none is there twice, Polars need not be asked.
        if len(np.unique(named)) < len(named):
            fresh &= ids.is_first_distinct().to_numpy()
        at = np.flatnonzero(fresh)
        again = np.ones(len(at), np.bool_)
        again[np.unique(named[at], return_index=True)[1]] = False
        reused[at] |= again
        self._add(named[at], rest[at])
        return fresh, reused & fresh

    def reached(self, watermark_us: int) -> None:
        """All sources have reached this observed time. While nobody says so, nothing is forgotten
        but at the limit.
        """
        self._reached_us = max(watermark_us, self._reached_us or watermark_us)

    def _add(self, named: Words, rest: Words) -> None:
        while len(named):
            room = self._limit - self._current.used
            if not room:
                told_us = self._newest_us if self._reached_us is None else self._reached_us
                if not self._is_past(self._before_us, told_us):
                    self.evicted += self._previous.used
                self._rotate()
                continue
            self._current.add(named[:room], rest[:room])
            named, rest = named[room:], rest[room:]

    def _turn(self, frame: pl.DataFrame) -> None:
        """Begin a generation, where it is time for that."""
        column = "observed_time" if "observed_time" in frame.columns else "event_time"
        newest = times_us(frame[column]).max() if column in frame.columns else None
        if not isinstance(newest, int):
            return
        if self._is_past(self._newest_us, self._reached_us):
            self._rotate()
        lasted = self._is_past(self._since_us, max(newest, self._newest_us or newest))
        if lasted and self._is_past(self._before_us, self._reached_us):
            self._rotate()
        self._newest_us = max(newest, self._newest_us or newest)
        if self._since_us is None:
            self._since_us = self._newest_us

    def _is_past(self, time_us: int | None, now_us: int | None) -> bool:
        """Whether a horizon has gone by since; nothing lasts from when there was nothing."""
        if time_us is None:
            return True
        return now_us is not None and now_us - time_us >= self._horizon_us

    def _rotate(self) -> None:
        self._previous = self._current
        # As many are to be expected as there were.
        self._current = _Generation(max(_SMALLEST, self._previous.first.used))
        self._before_us, self._since_us = self._newest_us, None

    def dump(self) -> bytes:
        def columns(one: _Generation) -> tuple[Pairs, Pairs]:
            return _packed(one.first), _packed(one.others)

        state = _State(
            FORMAT,
            self._since_us,
            self._newest_us,
            self._before_us,
            self._reached_us,
            columns(self._current),
            columns(self._previous),
        )
        return msgspec.msgpack.encode(state)

    def load(self, state: bytes) -> Self:
        """Take up a dump. Raises ValueError when it is none of ours."""
        kept = msgspec.msgpack.decode(state, type=_State)
        if kept.format != FORMAT:
            raise ValueError(f"seen ids of format {kept.format}, not {FORMAT}")
        self._since_us, self._newest_us = kept.since_us, kept.newest_us
        self._before_us, self._reached_us = kept.before_us, kept.reached_us
        self._current = _generation(kept.current)
        self._previous = _generation(kept.previous)
        return self


def _generation(columns: tuple[Pairs, Pairs]) -> _Generation:
    first, others = (_unpacked(pairs) for pairs in columns)
    made = _Generation()
    made.first = made.first.with_room(len(first[0]))
    made.first.add(*first)
    made.others = made.others.with_room(len(others[0]))
    made.others.add(*others)
    return made


def _packed(table: _Table) -> Pairs:
    key, value = table.pairs()
    return key.astype("<u8").tobytes(), value.astype("<u8").tobytes()


def _unpacked(pairs: Pairs) -> tuple[Words, Words]:
    key, value = (np.frombuffer(column, "<u8").astype(np.uint64) for column in pairs)
    return key, value


def _untimely(frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Rows that come late or far and so count in no window."""
    marks = np.zeros(frame.height, np.bool_)
    for name in ("late", "far"):
        column = frame.get_column(name, default=None)
        if column is not None and column.any():
            marks |= column.fill_null(value=False).to_numpy()
    return marks


def _words(ids: pl.Series) -> tuple[Words, Words]:
    """The producer's part of the ids and the rest. All zeros mark a free slot, so none may be that.

    An id that begins with zeros (of a test, or from elsewhere) has no such part: it is one whole.
    """
    named, rest = halves(ids)
    whole = named == 0
    named[whole], rest[whole] = rest[whole], 0
    named[whole & (named == 0)] = 1
    return named, rest
