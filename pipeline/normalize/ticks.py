"""Ticks: how far each owned raw partition has come, so that `detect` knows which windows are
complete.

A tick at T says: every action of this raw partition observed before T is in agent.actions. It is
sent only after everything it speaks of was acknowledged, and it never goes back. It stays
DOOR_HOLD behind what
was reached: a record of the door carries the door's clock, which may be that much older than its
place in the log. And it is never further ahead of our clock than an action may be: where a broker
lets producers set the time of a record, one of them could else close every window to come.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tachograph.pipeline.clock import SECOND_US, Clock, to_datetime
from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.kafka.reader import Place, Reader
from tachograph.pipeline.log import get
from tachograph.pipeline.normalize import limits
from tachograph.schemas.records import Tick

log = get("normalize.ticks")
EVERY_US: Final = SECOND_US


class Ticks:
    """What the owned raw partitions have reached. `partitions`: raw topic → how many it has."""

    def __init__(self, reader: Reader, partitions: Callable[[str], int], clock: Clock) -> None:
        self._reader, self._partitions, self._clock = reader, partitions, clock
        self._reached: dict[Place, int] = {}
        self._told: dict[Place, int] = {}
        # Where places begin of which nothing was read here: as the owner before committed it.
        self._begun: dict[Place, int] = {}
        self._last_us = 0

    def reached(self, places: Mapping[Place, int]) -> None:
        """Observed µs of the newest record of each place whose effects are acknowledged."""
        for place, at_us in places.items():
            self._reached[place] = max(self._reached.get(place, 0), at_us)

    def lost(self, places: list[Place]) -> None:
        """Places owned no more; who owns them now ticks for them."""
        for place in places:
            self._reached.pop(place, None)
            self._told.pop(place, None)
            self._begun.pop(place, None)

    def due(self) -> list[Tick]:
        """Ticks to send now, at most once a second; none for a place that has not moved."""
        now_us = self._clock()
        if now_us - self._last_us < EVERY_US:
            return []
        self._last_us = now_us
        # The clock was read first: what comes into a log after that is later than its tick.
        places = self._reader.assignment()
        quiet = self._quiet(places)
        ticks = (self._tick(place, now_us, quiet=place in quiet) for place in places)
        return [tick for tick in ticks if tick is not None]

    def watermark_us(self) -> int | None:
        """The least that was told of the owned places; None before the first tick."""
        return min(self._told.values(), default=None)

    def _tick(self, place: Place, now_us: int, *, quiet: bool) -> Tick | None:
        reached_us = self._reached.get(place, 0)
        # The log's clock may be ahead of ours: what it has reached holds at its end, too.
        at_us = max(now_us, reached_us) if quiet else reached_us
        at_us = min(at_us, now_us + limits.FAR_FUTURE_US) - limits.DOOR_HOLD_US
        if at_us <= self._told.get(place, 0):
            return None
        self._told[place] = at_us
        return Tick(
            raw_topic=place[0],
            raw_partition=place[1],
            raw_partitions=self._partitions(place[0]),
            observed_time=to_datetime(at_us),
            by_clock=quiet and now_us >= reached_us,
        )

    def _quiet(self, places: Sequence[Place]) -> set[Place]:
        """Those of which nothing is left to read. One whose leader does not answer is not quiet,
        but stalled. All are asked for together: there may be a hundred, and each question is a way
        to the broker and back.
        """
        try:
            ends = self._reader.ends(places)
            at = self._positions(ends)
        except RetryLater as error:
            log.warning("no tick", error=str(error))
            return set()
        for topic, partition in set(places) - ends.keys():
            log.warning("no tick", place=f"{topic}/{partition}", error="its leader does not answer")
        return {place for place, end in ends.items() if at[place] >= end}

    def _positions(self, ends: Mapping[Place, int]) -> dict[Place, int]:
        """Where the reader is. Before it has read anything of a place that is where the owner
        before has left off, else the earliest record that is kept.
        """
        known = {place: self._reader.position(place) for place in ends}
        at = {place: offset for place, offset in known.items() if offset is not None}
        new = [place for place in ends if place not in at and place not in self._begun]
        if new:
            self._begun |= self._reader.committed(new)
        at = {place: self._begun[place] for place in ends if place in self._begun} | at
        # Of a log that nothing was ever written to it need not be asked.
        rest = [place for place, end in ends.items() if place not in at and end]
        return dict.fromkeys(ends, 0) | self._reader.starts(rest) | at
