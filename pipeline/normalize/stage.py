"""`normalize`: raw topics in, agent.actions and agent.state out.

Order of every round, which is what makes `kill -9` harmless: read, decode, send, wait until all of
it is acknowledged, commit, and only then tick.
"""

import gc
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from confluent_kafka import Message

from tachograph.pipeline import metrics, secrets
from tachograph.pipeline.clock import Clock, system_us, to_datetime
from tachograph.pipeline.dead_letters import DeadLetters
from tachograph.pipeline.health import HealthReporter
from tachograph.pipeline.kafka.generations import Generations
from tachograph.pipeline.kafka.reader import Place, Reader
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.normalize import assurance, personal
from tachograph.pipeline.normalize.batches import Batches
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.hopeless import Hopeless
from tachograph.pipeline.normalize.raw import STAGE, Normalized, RawRecord
from tachograph.pipeline.normalize.sources import Sources
from tachograph.pipeline.normalize.ticks import Ticks
from tachograph.pipeline.pacing import Pace
from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER

log = get(STAGE)

GROUP: Final = "tacho.normalize"
SOURCES: Final = ("otlp_spans", "otlp_logs", "agent.raw")
ACTIONS: Final = "agent.actions"
STATE: Final = "agent.state"
READ_RECORDS: Final = 1_000
READ_WAIT_S: Final = 0.05
# Senders write a few records at a time: without it each of them costs the broker an answer.
FETCHES: Final = {"fetch.min.bytes": 65_536, "fetch.wait.max.ms": 40}
# Behind a backlog so much is sent, acknowledged and committed in one round.
READ_BYTES: Final = 16_000_000
# Raw bytes decoded at once: bounds memory, and is far above what a batch needs to be quick.
STRETCH_BYTES: Final = 4_000_000
PARTITION_CHECK_US: Final = 60_000_000
GC_OBJECTS: Final = 100_000
# A dead letter holds the largest raw record in base64.
WRITER_OVERRIDES: Final = {"message.max.bytes": 8_388_608}


class Normalize:
    """The running stage: one reader, one writer, the core between them. One thread."""

    def __init__(self, settings: Settings, clock: Clock = system_us) -> None:
        self._clock = clock
        key = secrets.operator_key(settings.home)
        sources = Sources.from_env(os.environ)
        self._core = Normalizer(
            key,
            settings.tenant,
            assured=assurance.load(os.environ),
            redactors=personal.redactors(key),
            sources=sources,
        )
        topics = [*SOURCES, *sources.topics]
        self._writer = Writer(settings, overrides=WRITER_OVERRIDES)
        self._generations = Generations(settings, STAGE, self._writer, [ACTIONS])
        self._count = self._generations.counts[ACTIONS]
        self._batches = Batches(self._count)
        self._raw_counts = {topic: self._writer.partitions(topic) for topic in topics}
        self._checked_us = clock()
        self._dead = DeadLetters(self._writer, STAGE)
        self._hopeless = Hopeless()
        self._reader = Reader(settings, GROUP, topics, on_revoke=self._revoked, overrides=FETCHES)
        self._ticks = Ticks(self._reader, self._raw_partitions, clock)
        self._health = HealthReporter(settings, STAGE, clock=clock)
        self._drops: dict[str, int] = {}
        self._evicted = 0
        self._pace = Pace()

    def round(self) -> int:
        """One round; the number of raw records read. Raises RetryLater or Refused: nothing is
        committed then.
        """
        messages = self._reader.gather(
            READ_RECORDS, READ_WAIT_S, READ_BYTES, gather_s=self._pace.left_s()
        )
        if messages:
            with metrics.BATCH_SECONDS.labels(STAGE).time(), self._pace.working():
                sources = self._handle(messages)
            self._beat(sources)
        else:
            self._beat({})
        self._tick()
        return len(messages)

    def close(self) -> None:
        """Leave the group and let the last beat out."""
        self._reader.close()
        self._health.close()

    def _handle(self, messages: list[Message]) -> dict[str, int]:
        sources: dict[str, int] = {}
        reached: dict[Place, int] = {}
        offsets: dict[Place, int] = {}
        for stretch in _stretches(messages):
            records = [_raw(message) for message in stretch]
            found = self._core.normalize(records)
            self._send(found)
            self._measure(records, found, sources)
        for message in messages:
            place = (message.topic() or "", message.partition() or 0)
            offsets[place] = (message.offset() or 0) + 1
            reached[place] = max(reached.get(place, 0), message.timestamp()[1] * 1000)
        self._writer.flush()
        self._reader.commit(offsets)
        self._ticks.reached(reached)
        return sources

    def _send(self, found: Normalized) -> None:
        # Links first: who reads the actions then knows their sessions already.
        for link in found.links:
            self._control("session_link", codec.encode(link), link.tenant, link.partition_key)
        for record in self._batches.records(found.frame):
            self._writer.send(
                ACTIONS, record.value, partition=record.partition, headers=record.headers
            )
        for snapshot in found.snapshots:
            agent, value = snapshot.agent_id or "", codec.encode(snapshot)
            key = f"{snapshot.tenant}/{agent}".encode()
            self._writer.send(STATE, value, key=key, headers=_headers("state_snapshot"))
            # Among the agent's actions too, for who judges them.
            self._control("state_snapshot", value, snapshot.tenant, agent)
        for letter in found.dead:
            self._dead.send(letter)

    def _control(self, kind: str, value: bytes, tenant: str, partition_key: str) -> None:
        partition = self._batches.partition(tenant, partition_key)
        self._writer.send(ACTIONS, value, partition=partition, headers=_headers(kind))

    def _tick(self) -> None:
        """After everything before was acknowledged; the ticks themselves go with the next flush."""
        ticks = self._ticks.due()
        if ticks:
            self._generations.check()
            self._forget_raw_partitions()
        for tick in ticks:
            value = codec.encode(tick)
            for partition in range(self._count):
                self._writer.send(ACTIONS, value, partition=partition, headers=_headers("tick"))
        if ticks:
            self._writer.flush()
            watermark = self._ticks.watermark_us()
            if watermark is not None:
                metrics.WATERMARK.labels(STAGE).set(watermark / 1_000_000)

    def _raw_partitions(self, topic: str) -> int:
        if topic not in self._raw_counts:
            self._raw_counts[topic] = self._writer.partitions(topic)
        return self._raw_counts[topic]

    def _forget_raw_partitions(self) -> None:
        """Raw topics may grow: once in a while they are asked again."""
        now_us = self._clock()
        if now_us - self._checked_us >= PARTITION_CHECK_US:
            self._checked_us = now_us
            self._raw_counts.clear()

    def _revoked(self, places: list[Place]) -> None:
        self._ticks.lost(places)

    def _measure(
        self, records: list[RawRecord], found: Normalized, sources: dict[str, int]
    ) -> None:
        frame = found.frame
        for topic in {record.topic for record in records}:
            count = sum(record.topic == topic for record in records)
            metrics.RECORDS_READ.labels(STAGE, topic).inc(count)
        metrics.ACTIONS.labels(STAGE).inc(frame.height)
        if frame.height:
            metrics.ACTIONS_LATE.labels(STAGE).inc(int(frame["late"].sum()))
            metrics.ACTIONS_FAR.labels(STAGE).inc(int(frame["far"].sum()))
            for source, count in frame["partition_key"].value_counts().iter_rows():
                sources[source] = sources.get(source, 0) + count
        for kind, count in found.redacted.items():
            metrics.REDACTIONS.labels(kind).inc(count)
        if found.foreign:
            metrics.DROPPED.labels(STAGE, "no_agent").inc(found.foreign)
            self._drops["no_agent"] = self._drops.get("no_agent", 0) + found.foreign
        if (evicted := self._core.links_evicted) > self._evicted:
            metrics.EVICTED.labels(STAGE, "session_links").inc(evicted - self._evicted)
            self._evicted = evicted
        for letter in found.dead:
            self._drops[letter.reason] = self._drops.get(letter.reason, 0) + 1
        self._hopeless.see(found.usable, found.refused)

    def _beat(self, sources: Mapping[str, int]) -> None:
        watermark = self._ticks.watermark_us()
        bare = self._dead.without_bytes
        troubles = self._hopeless.troubles()
        if bare:
            troubles.append(f"{bare} dead letters above their source's limit kept only a hash")
        self._health.beat(
            watermark=to_datetime(watermark) if watermark else None,
            sources=sources,
            drops={**self._drops, **({"dead_letter_bytes": bare} if bare else {})},
            status="degraded" if troubles else "ok",
            detail="; ".join(troubles) or None,
        )


def _headers(kind: str) -> dict[str, bytes]:
    return {RECORD_HEADER: kind.encode(), VERSION_HEADER: b"1"}


def _raw(message: Message) -> RawRecord:
    pairs = message.headers() or []
    headers = {
        str(name): value if isinstance(value, bytes) else str(value or "").encode()
        for name, value in (pairs.items() if isinstance(pairs, dict) else pairs)
    }
    return RawRecord(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.value() or b"",
        headers,
        message.timestamp()[1] * 1000,
    )


def _stretches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    stretch: list[Message] = []
    size = 0
    for message in messages:
        stretch.append(message)
        size += len(message.value() or b"")
        if size >= STRETCH_BYTES:
            yield stretch
            stretch, size = [], 0
    if stretch:
        yield stretch


def _seldom_search_for_cycles() -> None:
    """What is imported stays, and a batch makes no cycles: looking for them costs a tenth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, 50, 50)


def run(settings: Settings, stop: threading.Event) -> None:
    """Run until `stop`; what was read is finished first. Raises RetryLater (start again) or
    Refused.
    """
    stage = Normalize(settings)
    if threading.current_thread() is threading.main_thread():
        _seldom_search_for_cycles()
    try:
        while not stop.is_set():
            stage.round()
    finally:
        stage.close()
