"""The monitor's thread: reads agent.health, writes decisions to it, and signal groups that follow.

A consumer group owns each partition of agent.health once, so one process decides for a component,
whatever is scaled. A decision is written to the log, and takes effect when it is read back: killed
in between, the next owner reads it and goes on. State is rebuilt from the log, muted up to the
committed offset.
"""

import threading
from collections.abc import Mapping, Sequence

from confluent_kafka import Message

from tachograph.pipeline import metrics
from tachograph.pipeline.clock import SECOND_US, Clock, system_us
from tachograph.pipeline.forward.monitor import Monitor, Overview
from tachograph.pipeline.forward.own_signals import group_of
from tachograph.pipeline.health import HEADERS, HEALTH_TOPIC, HealthReporter, record_key
from tachograph.pipeline.kafka.reader import Place, Reader
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.records import Health

GROUP = "tacho.forward"
SIGNALS = "agent.signals"
SIGNAL_GROUPS = "agent.signal_groups"
READ_RECORDS = 500
READ_WAIT_S = 0.2
JUDGE_EVERY_S = 1

log = get("forward.monitor")


class _Shard:
    """One partition of agent.health: its monitor, how far it was read, what was already emitted."""

    def __init__(self, now_us: int, start: int, end: int, muted_until: int) -> None:
        self.monitor = Monitor(now_us)
        self.next_offset, self.end, self.muted_until = start, end, muted_until
        # Decisions that were written and not read back yet.
        self.pending: set[tuple[str, str, str]] = set()

    @property
    def committable(self) -> int:
        """Next offset to commit; a replay of what was committed does not take it back."""
        return max(self.next_offset, self.muted_until)

    @property
    def caught_up(self) -> bool:
        """Whether all that was there at the take-over has been read: only then the clock counts."""
        return self.next_offset >= self.end


class Watch:
    """Reads, judges and writes for the partitions that this process owns. Used by one thread."""

    def __init__(self, settings: Settings, overview: Overview, *, clock: Clock = system_us) -> None:
        self._clock, self._overview = clock, overview
        self._shards: dict[Place, _Shard] = {}
        self._judged_us = 0
        self._writer = Writer(settings)
        self._reporter = HealthReporter(settings, "forward", clock=clock)
        self._reader = Reader(
            settings, GROUP, [HEALTH_TOPIC], on_assign=self._take, on_revoke=self._leave
        )

    def run(self, stop: threading.Event) -> None:
        """Until `stop`. Raises RetryLater or Refused when Kafka will not go on."""
        try:
            while not stop.is_set():
                self.round()
        finally:
            self._reporter.close()
            self._reader.close()

    def round(self) -> None:
        """Read what is there, emit what follows, decide what is due."""
        messages = self._reader.read(READ_RECORDS, READ_WAIT_S)
        metrics.RECORDS_READ.labels("forward", HEALTH_TOPIC).inc(len(messages))
        for message in messages:
            self._read(message)
        self._writer.flush()
        self._reader.commit(
            {
                place: self._shards[place].committable
                for place in _places(messages) & set(self._shards)
            }
        )
        now_us = self._clock()
        if now_us - self._judged_us >= JUDGE_EVERY_S * SECOND_US:
            self._judged_us = now_us
            for place, shard in self._shards.items():
                if shard.caught_up:
                    self._judge(place, shard, now_us)
            self._writer.flush()
        lag = sum(self._reader.lag().values())
        metrics.LAG.labels("forward", HEALTH_TOPIC).set(lag)
        self._reporter.beat(lag=lag)

    def _take(self, places: list[Place]) -> Mapping[Place, int]:
        """From the earliest record: state is a function of the log, effects begin at the commit."""
        committed = self._reader.committed(places)
        for place in places:
            low, high = self._reader.bounds(place)
            muted = committed.get(place, 0)
            # A log that begins anew (the stand-in's) has less than was committed elsewhere.
            self._shards[place] = _Shard(self._clock(), low, high, min(muted, high))
        return {place: shard.next_offset for place, shard in self._shards.items()}

    def _leave(self, places: list[Place]) -> None:
        for place in places:
            self._shards.pop(place, None)

    def _read(self, message: Message) -> None:
        place, offset = _place(message), int(message.offset() or 0)
        shard = self._shards.get(place)
        if shard is None:
            return
        shard.next_offset = offset + 1
        try:
            health = codec.decode(Health, message.value() or b"")
        except codec.InvalidRecord as error:
            log.warning("unreadable health record", offset=offset, error=str(error))
            return
        self._overview.update(health)
        changes = shard.monitor.read(health)
        shard.pending.discard((health.tenant, health.component, health.status))
        if changes and offset >= shard.muted_until:
            self._emit(health, offset)

    def _emit(self, decision: Health, offset: int) -> None:
        log.warning("health", of=decision.component, status=decision.status, why=decision.detail)
        group = group_of(decision, offset)
        for signal in group.samples:
            self._writer.send(
                SIGNALS,
                codec.encode(signal),
                key=signal.signal_id.encode(),
                headers={RECORD_HEADER: b"signal"},
            )
        self._writer.send(
            SIGNAL_GROUPS,
            codec.encode(group),
            key=f"{group.tenant}/{group.entity}".encode("utf-8", "replace"),
            headers={RECORD_HEADER: b"signal_group"},
        )

    def _judge(self, place: Place, shard: _Shard, now_us: int) -> None:
        for decision in shard.monitor.judge(now_us):
            mark = (decision.tenant, decision.component, decision.status)
            if mark in shard.pending:
                continue
            shard.pending.add(mark)
            # Into the same partition as its beats: who owns those owns the decision.
            self._writer.send(
                HEALTH_TOPIC,
                codec.encode(decision),
                key=record_key(decision),
                partition=place[1],
                headers=HEADERS,
            )


def _place(message: Message) -> Place:
    return str(message.topic()), int(message.partition() or 0)


def _places(messages: Sequence[Message]) -> set[Place]:
    return {_place(message) for message in messages}
