"""The loop beside triage that ends capture requests: agent.control and agent.state in, capture
answers out to agent.signal_groups, where the alert that asked is kept.

Both topics are keyed by (tenant, agent) and have equally many partitions, so one process owns an
agent's requests and its snapshots. Answers first, then offsets; of agent.control never past a
request that is open. So whatever instant the process dies at, each request ends, once or with the
same words again.
"""

import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from confluent_kafka import Message

from tachograph.pipeline import log as logs
from tachograph.pipeline import metrics
from tachograph.pipeline.clock import Clock, system_us, to_datetime
from tachograph.pipeline.control.captures import Captures, Ended
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.kafka.reader import Place, Reader, headers_of
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.records import Directive

GROUP: Final = "tacho.triage.answers"
CONTROL: Final = "agent.control"
STATE: Final = "agent.state"
GROUPS: Final = "agent.signal_groups"
READ_RECORDS: Final = 500
READ_WAIT_S: Final = 0.1
_MS_IN_US: Final = 1_000
_HEADERS: Final = {RECORD_HEADER: b"capture_answer", VERSION_HEADER: b"1"}

log = logs.get("triage.answers")


class Answers:
    """The running loop: one reader, one writer. Used by one thread."""

    def __init__(self, settings: Settings, clock: Clock = system_us) -> None:
        """Raises ConfigError when the topics cannot be owned together."""
        self._clock = clock
        self._writer = Writer(settings)
        counts = {self._writer.partitions(topic) for topic in (CONTROL, STATE)}
        if len(counts) != 1:
            raise ConfigError(f"{CONTROL} and {STATE} need equal partition counts")
        self._captures: dict[int, Captures] = {}
        self._next: dict[Place, int] = {}
        self._committed: dict[Place, int] = {}
        self._reader = Reader(settings, GROUP, [CONTROL, STATE], on_revoke=self._revoked)

    def round(self) -> None:
        """One round. Raises RetryLater or Refused: nothing is committed then."""
        messages = self._reader.read(READ_RECORDS, READ_WAIT_S)
        ended = [one for message in messages for one in self._taken(message)]
        now = to_datetime(self._clock())
        for partition, held in self._captures.items():
            if held.late(now) and self._all_read(partition):
                ended += held.overdue(now)
            metrics.EVICTED.labels("triage", "early_snapshot").inc(held.evicted)
            held.evicted = 0
        self._tell(ended)
        self._commit()

    def _taken(self, message: Message) -> Iterator[Ended]:
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset()
        self._next[topic, partition] = (offset or 0) + 1
        held = self._captures.setdefault(partition, Captures())
        kind, value = headers_of(message).get(RECORD_HEADER), message.value() or b""
        try:
            if kind == b"directive":
                yield from held.asked(codec.decode(Directive, value), offset or 0)
            elif kind == b"state_snapshot":
                yield from held.told(codec.decode(StateSnapshot, value), _time(message))
        except codec.InvalidRecord as error:
            metrics.DROPPED.labels("triage", "undecodable_record").inc()
            log.warning("record cannot be read", topic=topic, offset=offset, error=str(error))

    def _all_read(self, partition: int) -> bool:
        """Whether every snapshot that is in the log was read: one may be the answer."""
        place = (STATE, partition)
        low, end = self._reader.bounds(place)
        reached = self._next.get(place)
        if reached is None:
            reached = self._reader.committed([place]).get(place, low)
        return reached >= end

    def _tell(self, ended: Iterable[Ended]) -> None:
        for one in ended:
            answer = one.answer
            metrics.CAPTURES.labels(one.outcome).inc()
            key = f"{answer.tenant}/{answer.entity}".encode()
            self._writer.send(GROUPS, codec.encode(answer), key=key, headers=_HEADERS)
        self._writer.flush()

    def _commit(self) -> None:
        """All that was sent is acknowledged."""
        due = {}
        for (topic, partition), reached in self._next.items():
            floor = self._captures[partition].floor() if topic == CONTROL else None
            due[topic, partition] = reached if floor is None else min(floor, reached)
        due = {place: at for place, at in due.items() if self._committed.get(place) != at}
        self._reader.commit(due)
        self._committed |= due

    def _revoked(self, places: list[Place]) -> None:
        """Others read these on from what is committed."""
        for place in places:
            self._next.pop(place, None)
            self._committed.pop(place, None)
            self._captures.pop(place[1], None)

    def close(self) -> None:
        """Leave the group."""
        self._reader.close()


def _time(message: Message) -> datetime:
    return to_datetime(message.timestamp()[1] * _MS_IN_US)


def run(settings: Settings, stop: threading.Event) -> None:
    """Run until `stop`. Raises RetryLater, Refused, ConfigError."""
    answers = Answers(settings)
    try:
        while not stop.is_set():
            answers.round()
    finally:
        answers.close()
