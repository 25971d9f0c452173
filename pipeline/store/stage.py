"""`store`: everything into ClickHouse, each row once.

Two threads. This one polls, decodes and fills a batch; another stores the batch before it. Offsets
are committed when every table their records touched has acknowledged. While a batch is full and the
one before it is not stored, partitions are paused and polling goes on, so a ClickHouse that is away
for an hour costs no membership and loses nothing.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future

import polars as pl
from confluent_kafka import Message

from tachograph.pipeline import metrics
from tachograph.pipeline.clock import Clock, system_us, to_datetime
from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.health import HealthReporter
from tachograph.pipeline.kafka.generations import Generation, Generations
from tachograph.pipeline.kafka.reader import Place, Reader, headers_of
from tachograph.pipeline.kafka.topics import cluster_id
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.normalize.personal import redactors
from tachograph.pipeline.pacing import Pace
from tachograph.pipeline.secrets import operator_key
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.pending import STAGE, Pending
from tachograph.pipeline.store.records import ACTIONS_TOPIC, TOPICS, Origin, Redact
from tachograph.pipeline.store.rollups import FIRST, Rolling
from tachograph.pipeline.store.sink import Sink, Stopped
from tachograph.schemas.contracts import RECORD_HEADER

log = get("store")

GROUP = "tacho.store"
# What others write piece by piece is gathered for seconds anyway: each piece is not to cost the
# broker an answer.
FETCHES = {"fetch.min.bytes": 262_144, "fetch.wait.max.ms": 250}
# Topics whose records have their place by a key: links are looked for where their actions are.
PLACED = ("agent.actions",)
# Few at a time: a record may hold a thousand actions, and what was read must fit in memory.
READ_RECORDS = 64
READ_WAIT_S = 0.1
# How long the batch in flight may still take when partitions go or the stage ends.
FINISH_WAIT_S = 3.0
# A rebalance that takes longer than this is no rebalance.
COMMIT_WITHIN_S = 60.0
# Where storing takes long, because ClickHouse has much to do, batches are fewer and larger: so many
# times what the last one took lies between two of them, at most so long.
STORE_REST = 8.0
STORES_APART_S = 3.0
LAG_EVERY_S = 2.0
_MS_IN_US = 1_000


def redactor(settings: Settings) -> Redact:
    """Replaces in a text what `normalize` replaces, with the same tokens."""
    found = redactors(operator_key(settings.home))

    def redact(text: str) -> str:
        texts = pl.Series([text], dtype=pl.String)
        for one in found:
            texts, _ = one.redact(texts)
        return str(texts[0])

    return redact


class Store:
    """The running stage. `round` is called by one thread; the sink works in a thread of its own."""

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        *,
        sink: Sink | None = None,
        clock: Clock = system_us,
        now_s: Callable[[], float] = time.monotonic,
        actions: Generation | None = None,
    ) -> None:
        """`actions`: as they are announced; who reads all of their partitions need not ask what
        others found in theirs.
        """
        self._actions = actions or Generation(0)
        self._settings, self._cluster = settings, ""
        self._stop, self._ended = stop, threading.Event()
        self._clock, self._now_s = clock, now_s
        self._tenant, self._redact = settings.tenant, redactor(settings)
        self._sink = sink or Sink(
            settings, self._stopping, sleep=self._nap, shared=lambda: self.shared
        )
        self._pending = self._fresh()
        self._flying: Pending | None = None
        self._launched_s = now_s()
        self._pace = Pace(rest=STORE_REST, longest_s=STORES_APART_S, now_s=now_s)
        self._landed: Future[None] = Future()
        self._owed: dict[Place, int] = {}
        self._owed_since_s: float | None = None
        self._paused: list[Place] = []
        self._places: frozenset[Place] = frozenset()
        self._lag_s = -LAG_EVERY_S
        self._stored_ms = 0  # Kafka's time of the newest record that is stored
        self._health = HealthReporter(settings, STAGE)
        self._reader = Reader(
            settings,
            GROUP,
            TOPICS,
            on_assign=self._assigned,
            on_revoke=self._revoked,
            overrides=FETCHES,
        )

    def _stopping(self) -> bool:
        return self._stop.is_set() or self._ended.is_set()

    def _nap(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _fresh(self) -> Pending:
        return Pending(clock=self._clock, redact=self._redact, tenant=self._tenant)

    def _assigned(self, places: list[Place]) -> None:
        self._places = self._places.union(places)
        self._sink.forget()
        self._cluster = self._cluster or cluster_id(self._settings)
        # A new assignment starts unpaused.
        self._paused = []

    def owns(self, place: Place) -> bool:
        """Whether this process reads that partition. Any thread."""
        return place in self._places

    @property
    def shared(self) -> bool:
        """Whether other processes read actions too. Any thread."""
        return sum(topic == ACTIONS_TOPIC for topic, _ in self._places) < self._actions.partitions

    def _revoked(self, places: list[Place]) -> None:
        self._wait_for_landing()
        self._settle()
        for batch in (self._pending, self._flying):
            if batch is not None:
                batch.disown(places)
        self._places = self._places.difference(places)
        for place in places:
            self._owed.pop(place, None)
        self._sink.forget()

    def round(self) -> int:
        """Commit what has landed, read, hand over what is due; the number of records read.

        Raises RetryLater or Refused: what is not committed is read again.
        """
        self._settle()
        self._commit()
        self._hold_or_go()
        messages = self._reader.read(READ_RECORDS, READ_WAIT_S)
        for message in messages:
            self._take(message)
        if self._flying is None and self._due():
            self._launch()
        self._tell()
        return len(messages)

    def _due(self) -> bool:
        """Full, or old enough and long enough after the batch before."""
        rested = self._pending.full or not self._pace.left_s()
        return rested and self._pending.due(self._now_s())

    def _take(self, message: Message) -> None:
        place = (message.topic() or "", message.partition() or 0)
        metrics.RECORDS_READ.labels(STAGE, place[0]).inc()
        kind = headers_of(message).get(RECORD_HEADER, b"").decode("utf-8", "replace")
        base = self._actions.base if place[0] == ACTIONS_TOPIC else 0
        origin = Origin(place, message.offset() or 0, message.value() or b"", self._cluster, base)
        self._pending.add(origin, kind, self._now_s())
        self._pending.newest_ms = max(self._pending.newest_ms, message.timestamp()[1])

    def _hold_or_go(self) -> None:
        """While no more fits, read on without fetching: the membership lives by reading."""
        if self._pending.full and self._flying is not None:
            held = self._reader.assignment()
            if set(held) != set(self._paused):
                self._reader.pause(held)
                self._paused = held
        elif self._paused:
            owned = set(self._reader.assignment())
            self._reader.resume([place for place in self._paused if place in owned])
            self._paused = []

    def _launch(self) -> None:
        batch, self._pending = self._pending, self._fresh()
        landed: Future[None] = Future()
        self._flying, self._landed, self._launched_s = batch, landed, self._now_s()
        threading.Thread(
            target=_run, args=(self._sink, batch, landed), name="store-sink", daemon=True
        ).start()

    def _settle(self) -> None:
        """Owe the offsets of a batch that is stored, and commit. Raises what the sink raised."""
        batch = self._flying
        if batch is None or not self._landed.done():
            return
        self._flying = None
        self._pace.worked(self._now_s() - self._launched_s)
        self._landed.result()
        self._stored_ms = max(self._stored_ms, batch.newest_ms)
        self._owed |= batch.offsets
        self._commit()

    def _commit(self) -> None:
        """Commit what is owed; during a rebalance it stays owed for a while."""
        if not self._owed:
            return
        now_s = self._now_s()
        self._owed_since_s = self._owed_since_s or now_s
        try:
            self._reader.commit(self._owed)
        except RetryLater as problem:
            if now_s - self._owed_since_s > COMMIT_WITHIN_S:
                raise
            log.info("commit is put off", reason=str(problem))
            return
        self._owed, self._owed_since_s = {}, None

    def _wait_for_landing(self) -> None:
        if self._flying is not None and not self._ended.is_set():
            _wait(self._landed, FINISH_WAIT_S)

    def _tell(self) -> None:
        now_s = self._now_s()
        if now_s - self._lag_s < LAG_EVERY_S:
            return
        self._lag_s = now_s
        # What is read and not stored is as far from an analyst as what is not read.
        lag: Counter[str] = Counter()
        for batch in (self._pending, self._flying):
            lag.update(batch.records if batch else {})
        for (topic, _), records in self._reader.lag().items():
            lag[topic] += records
        for topic, behind in lag.items():
            metrics.LAG.labels(STAGE, topic).set(behind)
        problem = self._sink.problem
        self._health.beat(
            lag=sum(lag.values()),
            watermark=to_datetime(self._stored_ms * _MS_IN_US) if self._stored_ms else None,
            status="degraded" if problem else "ok",
            detail=problem,
        )

    def close(self) -> None:
        """Let the batch in flight land if it does so soon, commit it, leave the group.

        What was read and not stored is read again by the next member.
        """
        try:
            self._wait_for_landing()
            self._settle()
            self._commit()
        except Stopped as problem:
            log.info("a batch is left for the next start", reason=str(problem))
        finally:
            self._ended.set()
            self._health.close()
            self._reader.close()
            if self._flying is None:
                self._sink.close()


def _run(sink: Sink, batch: Pending, landed: "Future[None]") -> None:
    """Store one batch; what it raises is raised where the batch is settled."""
    try:
        with metrics.BATCH_SECONDS.labels(STAGE).time():
            sink.store(batch)
    except BaseException as error:  # noqa: BLE001 - handed over, not swallowed
        landed.set_exception(error)
    else:
        landed.set_result(None)


def _wait(landed: "Future[None]", timeout_s: float) -> None:
    done = threading.Event()
    landed.add_done_callback(lambda _: done.set())
    done.wait(timeout_s)


def run(settings: Settings, stop: threading.Event) -> None:
    """Run until `stop`. Raises RetryLater (start again from what is committed) or Refused."""
    generations = Generations(settings, STAGE, Writer(settings), PLACED)
    store = Store(settings, stop, actions=generations.of(ACTIONS_TOPIC))
    try:
        with Rolling(settings, stop, lambda: store.owns(FIRST)):
            while not stop.is_set():
                generations.check()
                store.round()
    finally:
        store.close()
