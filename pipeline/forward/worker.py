"""One destination's loop: its own consumer group, its own thread, offsets moved at the far end.

A destination that is away is waited for with its partitions rewound and paused: Kafka is the spool,
the membership stays, and no other destination notices.
"""

import hashlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from confluent_kafka import Message

from tachograph.pipeline import metrics
from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.forward.destination import Busy
from tachograph.pipeline.forward.outbox import Outbox, Stopping
from tachograph.pipeline.health import HealthReporter
from tachograph.pipeline.kafka.reader import Place, Reader
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.schemas import codec
from tachograph.schemas.alert import Alert
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.records import DeadLetter, Health

STAGE = "forward"
ALERTS = "agent.alerts"
DEAD_LETTERS = "agent.dead_letters"
MAX_READ_RECORDS = 100
READ_WAIT_S = 0.1
# What one read may hold at most, whatever alerts weigh.
QUEUED_KB = 16_384


class Backoff(msgspec.Struct, frozen=True):
    """How long to wait before the n-th try again: doubling, jittered over its upper half."""

    base_s: float = 1.0
    most_s: float = 60.0

    def wait_s(self, tries: int) -> float:
        """Seconds before try number `tries`, counted from 0."""
        whole = min(self.most_s, self.base_s * 2.0 ** min(tries, 30))
        return whole * (0.5 + random.random() / 2)


BACKOFF = Backoff()


class Worker:
    """Reads alerts, brings them out, commits. Made and run by one thread.

    `greeting` gives a health record for the destination when one is due, else None.
    """

    def __init__(
        self,
        name: str,
        reader: Reader,
        writer: Writer,
        outbox: Outbox,
        reporter: HealthReporter,
        *,
        read_records: int = MAX_READ_RECORDS,
        greeting: Callable[[], Health | None] = lambda: None,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self._name, self._reader, self._writer = name, reader, writer
        self._outbox, self._reporter, self._greeting = outbox, reporter, greeting
        self._read_records, self._backoff = min(read_records, MAX_READ_RECORDS), backoff
        self._tries = 0
        # Read, given back, and not out yet: the client counts them as read.
        self._behind = 0
        self._log = get(f"forward.{name}")

    def run(self, stop: threading.Event) -> None:
        """Until `stop`. Raises RetryLater or Refused when Kafka itself will not go on."""
        try:
            while not stop.is_set():
                self.round(stop)
        finally:
            self._reporter.close()
            self._outbox.close()
            self._reader.close()

    def round(self, stop: threading.Event) -> int:
        """One read and what follows from it; the number of records read."""
        messages = self._reader.read(self._read_records, READ_WAIT_S)
        try:
            self._handle(messages, stop)
            self._outbox.sum_up()
        except Stopping:
            return len(messages)
        except RetryLater as error:
            self._rewind(messages)
            self._behind = len(messages)
            self._wait(error, stop)
            return 0
        if self._tries:
            self._log.info("destination is back", tries=self._tries)
        self._tries = self._behind = 0
        self._greet()
        self._beat()
        return len(messages)

    def _handle(self, messages: Sequence[Message], stop: threading.Event) -> None:
        if not messages:
            return
        places: dict[str, Message] = {}
        alerts: list[Alert] = []
        for message in messages:
            try:
                alert = codec.decode(Alert, message.value() or b"")
            except codec.InvalidRecord as error:
                self._bury(message, "mistyped", str(error))
                continue
            alerts.append(alert)
            places[f"{alert.alert_id}:{alert.revision}"] = message
        for refused in self._outbox.put(alerts, stop):
            key = f"{refused.alert.alert_id}:{refused.alert.revision}"
            self._bury(places[key], "refused", refused.reason, tenant=refused.alert.tenant)
        self._writer.flush()
        self._reader.commit(_next_offsets(messages))
        metrics.RECORDS_READ.labels(STAGE, ALERTS).inc(len(messages))

    def _bury(self, message: Message, reason: str, detail: str, *, tenant: str = "default") -> None:
        """Put an alert that cannot go out where it is kept with the reason."""
        payload = message.value() or b""
        topic, partition = str(message.topic()), int(message.partition() or 0)
        letter = DeadLetter(
            topic=topic,
            partition=partition,
            offset=int(message.offset() or 0),
            stage=STAGE,
            reason=reason,
            detail=f"destination {self._name}: {detail}"[:1_000],
            source=f"forward.{self._name}",
            tenant=tenant,
            observed_time=datetime.fromtimestamp(max(0, message.timestamp()[1]) / 1000, UTC),
            sha256=hashlib.sha256(payload).hexdigest(),
            size_bytes=len(payload),
            original=payload,
        )
        self._writer.send(
            DEAD_LETTERS,
            codec.encode(letter),
            key=f"{topic}/{partition}".encode(),
            headers={RECORD_HEADER: b"dead_letter"},
        )
        metrics.DEAD_LETTERS.labels(STAGE, reason).inc()
        self._log.warning("alert refused", reason=reason, detail=letter.detail)

    def _rewind(self, messages: Sequence[Message]) -> None:
        """Read the same records again: none of their offsets has moved."""
        firsts: dict[Place, int] = {}
        for message in messages:
            place = (str(message.topic()), int(message.partition() or 0))
            offset = int(message.offset() or 0)
            firsts[place] = min(offset, firsts.get(place, offset))
        for place, offset in firsts.items():
            # A place that was taken away meanwhile is rewound by its next owner, who reads from
            # the committed offset.
            with suppress(RetryLater):
                self._reader.seek(place, offset)

    def _wait(self, error: RetryLater, stop: threading.Event) -> None:
        """Stay in the group, read nothing, until it is worth trying again."""
        wait_s = error.after_s if isinstance(error, Busy) else self._backoff.wait_s(self._tries)
        self._tries += 1
        metrics.RETRIES.labels(STAGE, self._name).inc()
        self._log.warning(
            "tries again", error=str(error), wait_s=round(wait_s, 1), try_=self._tries
        )
        self._beat(str(error))
        end = time.monotonic() + wait_s
        self._reader.pause(self._reader.assignment())
        while not stop.is_set() and time.monotonic() < end:
            # Only a place that was just assigned can give something here.
            fresh = self._reader.read(1, min(0.5, max(0.0, end - time.monotonic())))
            if fresh:
                self._rewind(fresh)
                self._reader.pause(self._reader.assignment())
            self._beat(str(error))
        self._reader.resume(self._reader.assignment())

    def _greet(self) -> None:
        """A health record that cannot be sent now is not worth sending later."""
        health = self._greeting()
        if health is None:
            return
        try:
            self._outbox.greet(health)
        except (RetryLater, Refused) as error:
            self._log.warning("health record not taken", error=str(error))

    def _beat(self, trouble: str | None = None) -> None:
        lag = max(self._behind, sum(self._reader.lag().values()))
        metrics.LAG.labels(f"{STAGE}.{self._name}", ALERTS).set(lag)
        self._reporter.beat(
            watermark=self._outbox.watermark,
            lag=lag,
            drops=self._outbox.drops,
            status="degraded" if trouble else "ok",
            detail=trouble[:500] if trouble else None,
        )


def _next_offsets(messages: Sequence[Message]) -> dict[Place, int]:
    return {(str(m.topic()), int(m.partition() or 0)): int(m.offset() or 0) + 1 for m in messages}
