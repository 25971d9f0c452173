"""What is waiting to be sent: bounded in records and bytes, never a reason to wait."""

import threading
from collections import deque
from typing import Literal, NamedTuple

Kind = Literal["action", "state_snapshot", "directive_ack"]
Drop = Literal["oldest", "newest"]


class Queued(NamedTuple):
    """One record on its way: what it is, whose order it keeps, its bytes."""

    kind: Kind
    agent: str
    payload: bytes


class Counts(NamedTuple):
    """What became of the records put in; all but the first add up to the first."""

    recorded: int
    sent: int
    queued: int  # waiting, or taken out and not settled yet
    dropped: int
    refused: int


class Buffer:
    """A bounded queue for many writers and one reader. `put` returns at once, full or not."""

    def __init__(self, max_records: int, max_bytes: int, drop: Drop) -> None:
        self._max_records, self._max_bytes, self._drop = max_records, max_bytes, drop
        self._records: deque[Queued] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._recorded = self._sent = self._under_way = self._refused = 0
        self.dropped = 0

    def put(self, record: Queued) -> None:
        """Take a record in; when there is no room, one is dropped and counted."""
        with self._changed:
            self._recorded += 1
            size_bytes = len(record.payload)
            if self._closed or size_bytes > self._max_bytes:
                self.dropped += 1
                return
            while self._full(size_bytes):
                self.dropped += 1
                if self._drop == "newest":
                    return
                self._bytes -= len(self._records.popleft().payload)
            self._records.append(record)
            self._bytes += size_bytes
            self._changed.notify()

    def _full(self, size_bytes: int) -> bool:
        over = self._bytes + size_bytes > self._max_bytes
        return over or len(self._records) >= self._max_records

    def wait(self, timeout_s: float) -> int:
        """Number of records waiting, as soon as there is one, it closes, or the time is over."""
        with self._changed:
            if not self._records and not self._closed:
                self._changed.wait(timeout_s)
            return len(self._records)

    def take(self, max_records: int, max_bytes: int) -> list[Queued]:
        """The oldest records, up to both bounds but at least one if there is one."""
        with self._changed:
            taken: list[Queued] = []
            size_bytes = 0
            while self._records and len(taken) < max_records:
                size_bytes += len(self._records[0].payload)
                if taken and size_bytes > max_bytes:
                    break
                taken.append(self._records.popleft())
            self._bytes -= sum(len(record.payload) for record in taken)
            self._under_way += len(taken)
            return taken

    def settle(self, *, sent: int = 0, refused: int = 0, dropped: int = 0) -> None:
        """Say what became of records that were taken out."""
        with self._changed:
            self._sent += sent
            self._refused += refused
            self.dropped += dropped
            self._under_way -= sent + refused + dropped

    def counts(self) -> Counts:
        """Everything counted, at one moment."""
        with self._changed:
            queued = len(self._records) + self._under_way
            return Counts(self._recorded, self._sent, queued, self.dropped, self._refused)

    def close(self) -> None:
        """Take nothing more in; what is there can still be taken out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Drop what was not taken out."""
        with self._changed:
            self.dropped += len(self._records)
            self._records.clear()
            self._bytes = 0
