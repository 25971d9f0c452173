"""The watermark of one partition of agent.actions: the minimum of what its raw partitions have
reached.

A partition that has not ticked yet holds the watermark at nothing: stalled is never mistaken for
quiet.
"""

from collections.abc import Iterable
from typing import NamedTuple

from tachograph.pipeline.clock import to_us
from tachograph.schemas.records import Tick

# A raw partition this far behind the furthest one is stalled: its owner is away.
STALLED_AFTER_US = 60_000_000
MAX_RAW_PARTITIONS = 10_000


class TickRow(NamedTuple):
    """What is known of one place."""

    topic: str
    partition: int
    partitions: int
    reached_us: int
    config_offset: int


class TickBook:
    """Observed time reached, by raw partition."""

    def __init__(self, topics: Iterable[str] = ()) -> None:
        """`topics`: raw topics that tick for certain, so that one with a backlog, which has not
        ticked yet, is waited for.
        """
        self._expected = frozenset(topics)
        self._reached: dict[tuple[str, int], int] = {}
        self._partitions: dict[str, int] = {}
        self._config: dict[tuple[str, int], int] = {}

    def note(self, tick: Tick) -> None:
        """Take a tick in; an older one than known changes nothing."""
        place = (tick.raw_topic, tick.raw_partition)
        if place not in self._reached and len(self._reached) >= MAX_RAW_PARTITIONS:
            raise ValueError(f"more than {MAX_RAW_PARTITIONS} raw partitions tick here")
        # Topics only grow. An owner that has not yet seen the new size must not hide a partition.
        known = self._partitions.get(tick.raw_topic, 0)
        self._partitions[tick.raw_topic] = max(known, tick.raw_partitions)
        self._reached[place] = max(self._reached.get(place, 0), to_us(tick.observed_time))
        self._config[place] = max(self._config.get(place, -1), tick.config_offset)

    def config_offset(self) -> int:
        """So far in agent.config everybody has come who ticked here; -1: somebody has not begun."""
        return min(self._config.values(), default=-1)

    def watermark_us(self) -> int | None:
        """Observed time that all raw partitions have reached; None while one never ticked."""
        if not self._reached or not self._expected <= self._partitions.keys():
            return None
        for topic, count in self._partitions.items():
            if any((topic, part) not in self._reached for part in range(count)):
                return None
        return min(self._reached.values())

    def stalled(self) -> list[tuple[str, int]]:
        """Raw partitions far behind the furthest one, those that never ticked among them."""
        furthest = max(self._reached.values(), default=0)
        expected = [(topic, n) for topic, count in self._partitions.items() for n in range(count)]
        return [p for p in expected if self._reached.get(p, 0) < furthest - STALLED_AFTER_US]

    def dump(self) -> list[TickRow]:
        """What is known of every place."""
        return [
            TickRow(topic, part, self._partitions[topic], at, self._config[topic, part])
            for (topic, part), at in sorted(self._reached.items())
        ]

    def load(self, rows: Iterable[TickRow]) -> None:
        """Take up what `dump` gave."""
        for row in rows:
            self._partitions[row.topic] = row.partitions
            self._reached[row.topic, row.partition] = row.reached_us
            self._config[row.topic, row.partition] = row.config_offset
