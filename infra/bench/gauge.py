"""What is measured: how far a group has committed, and the CPU time of a process and its children.

CPU time is the figure to trust where others share the cores: waiting for a core is not in it.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

Place = tuple[str, int]

LOOK_S: Final = 0.1
CALL_S: Final = 10.0
_NOT_YET: Final = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.GROUP_ID_NOT_FOUND,
)
_TICK_S: Final = 1.0 / os.sysconf("SC_CLK_TCK")


class Fill:
    """What was put into topics that were empty: events before each offset, by partition."""

    def __init__(self) -> None:
        self._before: dict[Place, list[int]] = {}
        self.events = 0
        self.records = 0
        self.size_bytes = 0

    def add(self, place: Place, events: int, size_bytes: int) -> None:
        """One more record at the end of a partition."""
        counts = self._before.setdefault(place, [0])
        counts.append(counts[-1] + events)
        self.events += events
        self.records += 1
        self.size_bytes += size_bytes

    @property
    def places(self) -> list[Place]:
        """Partitions that hold something."""
        return list(self._before)

    def reached(self, offsets: Mapping[Place, int]) -> int:
        """Events before the offsets."""
        return sum(
            counts[min(offsets.get(place, 0), len(counts) - 1)]
            for place, counts in self._before.items()
        )


class Measured(NamedTuple):
    """Events in so many seconds, and the CPU seconds they cost."""

    events: int
    wall_s: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        """Events a second of the clock."""
        return self.events / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def core_us(self) -> float:
        """Core-µs an event."""
        return self.cpu_s * 1e6 / self.events if self.events else 0.0


def committed(admin: AdminClient, group: str, places: Iterable[Place]) -> dict[Place, int]:
    """Next offsets that a group has committed; places without one are absent.

    A broker that is still loading its groups knows of none. Raises KafkaException.
    """
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(*place) for place in places])
    answer = admin.list_consumer_group_offsets([asked], request_timeout=CALL_S)
    try:
        found = answer[group].result(CALL_S).topic_partitions or []
    except KafkaException as error:
        if error.args[0].code() in _NOT_YET:
            return {}
        raise
    return {(p.topic, p.partition): p.offset for p in found if p.offset >= 0}


def cpu_s(*pids: int) -> float:
    """CPU seconds that the processes and all below them have used so far."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(folder.name)
        parents[pid] = int(fields[1])
        # utime, stime, and those of children that have ended
        used[pid] = sum(map(int, fields[11:15])) * _TICK_S
    return sum(spent for pid, spent in used.items() if _below(pid, set(pids), parents))


def _below(pid: int, roots: set[int], parents: Mapping[int, int]) -> bool:
    while pid > 1:
        if pid in roots:
            return True
        pid = parents.get(pid, 0)
    return False


def follow(
    reached: Callable[[], int],
    total: int,
    pids: Iterable[int],
    *,
    check: Callable[[], None],
    timeout_s: float,
    warm: int = 1,
) -> Measured:
    """From the first commit with at least `warm` events to the last.

    What comes before (imports, joining the group, first batches) is start-up and is counted
    nowhere. Raises TimeoutError.
    """
    end_s = time.monotonic() + timeout_s
    roots = tuple(pids)
    first: tuple[int, float, float] | None = None
    while time.monotonic() < end_s:
        check()
        events, now_s, spent_s = reached(), time.monotonic(), cpu_s(*roots)
        if first is None and events >= warm:
            first = events, now_s, spent_s
        if first is not None and events >= total:
            if events == first[0]:
                raise TimeoutError("all of it was done between two looks: measure more of it")
            return Measured(events - first[0], now_s - first[1], spent_s - first[2])
        time.sleep(LOOK_S)
    raise TimeoutError(f"not done within {timeout_s:.0f} s")
