"""Faust, in the one module that knows its ways (0.15.3; `Adapter` says what is not left to it).

Records come from agent.signal_groups, alerts go to agent.alerts, entries live in one changelogged
table. What a batch caused is made known in this order, each step acknowledged before the next:
dead letters and alerts, then the table's changes, then the offsets. So whatever instant the process
dies at, the records after the committed offset are judged again; those that an entry already holds
(`last_offset`) change nothing, and the others give the same alerts under the same revisions.
"""

import asyncio
import contextlib
import functools
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError
from faust.types import TP

from tachograph.pipeline import log as logs
from tachograph.pipeline import metrics
from tachograph.pipeline.control.keys import Signer
from tachograph.pipeline.errors import Refused, RetryLater, TachoError
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.triage.desk import Arrival, Outcome, Refusal, judge
from tachograph.pipeline.triage.entry import Entry, over_ms_of
from tachograph.pipeline.triage.letters import Letters
from tachograph.pipeline.triage.policy import Policy
from tachograph.pipeline.triage.reading import Reading, expired, first_from
from tachograph.pipeline.triage.security import credentials
from tachograph.pipeline.triage.shelf import Shelf
from tachograph.pipeline.triage.table import JUDGED_HEADER, Entries
from tachograph.schemas.alert import Alert, SignalGroup
from tachograph.schemas.codec import InvalidRecord, decode, encode
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.records import Directive, IncidentMember

GROUP = "tacho.triage"
GROUPS_TOPIC = "agent.signal_groups"
ALERTS_TOPIC = "agent.alerts"
LETTERS_TOPIC = "agent.dead_letters"
CONTROL_TOPIC = "agent.control"
MEMBERS_TOPIC = "agent.incident_members"
SIGNALS_TOPIC = "agent.signals"
# What it writes beside its table.
WRITTEN = (ALERTS_TOPIC, LETTERS_TOPIC, CONTROL_TOPIC, MEMBERS_TOPIC, SIGNALS_TOPIC)
TABLE = "entries"
CHANGELOG_TOPIC = f"{GROUP}-{TABLE}-changelog"

MAX_BATCH = 2_000
# Records of one entity that arrive together cost one alert and one change of the table.
LINGER_S = 0.02
GATHER_S = 0.5
# Entries that need not be decoded again; larger ones always are.
CACHED_ENTRIES = 1_024
CACHED_BYTES = 65_536
BUFFERED_RECORDS = 4_096
FETCH_S = 1.2  # longer than Faust waits for one fetch
MAX_REQUEST_BYTES = 8 * 1_048_576
SEND_TIMEOUT_S = 60.0
# How long a consumer that was cut short may take to leave its group.
LEAVE_WITHIN_S = 2.0
QUIET_S = 86_400.0  # Faust's own watchdogs only write logs; lag and health say it better

log = logs.get("triage")

Headers = Mapping[str, bytes]
Sending = tuple[str, bytes | None, bytes | None, int | None, Headers | None]

_ALERT: Headers = {RECORD_HEADER: b"alert", VERSION_HEADER: b"1"}
_DIRECTIVE: Headers = {RECORD_HEADER: b"directive", VERSION_HEADER: b"1"}
_MEMBER: Headers = {RECORD_HEADER: b"incident_member", VERSION_HEADER: b"1"}
_LETTER: Headers = {RECORD_HEADER: b"dead_letter", VERSION_HEADER: b"1"}
_SIGNAL: Headers = {RECORD_HEADER: b"signal", VERSION_HEADER: b"1"}
_GROUP: Headers = {RECORD_HEADER: b"signal_group", VERSION_HEADER: b"1"}


class Adapter:
    """One Faust app. Lives on one event loop; `serve` in stage.py starts and stops it.

    Not left to Faust: acknowledging (its take() and its agents acknowledge what failed, and a new
    group can commit past what is unfinished: the topic has acks=False and offsets are committed
    here), windowed tables, and raising (a body returns a value or a dead letter; when Kafka will
    not take what a batch caused, `failure` says so and nothing of the batch is committed). Nor that
    a stream has every record (`Reading`), or that the log ends on the newest state (`Entries`).
    """

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        signer: Signer,
        *,
        partitions: int,
        session_s: float,
    ) -> None:
        """`partitions`: of agent.signal_groups and of the table's changelog alike."""
        self.failure: TachoError | None = None
        self.app = _faust_app(settings, session_s)
        self._policy, self._signer = policy, signer
        self.letters = Letters(GROUPS_TOPIC)
        self._shelf = Shelf()
        self._cache: OrderedDict[str, Entry] = OrderedDict()
        self._pending: list[Any] = []
        self._began_s = 0.0  # when the first of them came
        self._reading = Reading(functools.partial(first_from, settings, GROUP, GROUPS_TOPIC))
        self._reached: dict[TP, int] = {}  # next offset of each partition that is owned
        self._committed: dict[TP, int] = {}
        self._session_s, self._proved_s = session_s, time.monotonic()
        self.watermark: float | None = None  # Kafka's time of the newest record judged, s
        self._lock = asyncio.Lock()
        self._table = self.app.Table(
            TABLE,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            on_recover=self._ready,
        )
        topic = self.app.topic(
            GROUPS_TOPIC, key_serializer="raw", value_serializer="raw", acks=False
        )
        self.app.agent(topic, name=GROUP)(self._consume)
        self.app.on_partitions_revoked.connect(self._revoked)

    async def _consume(self, stream: Any) -> None:
        """A moment after the first record, everything that is there, up to a batch."""
        async for event in _events(stream):
            self._pending.append(event)
            if len(self._pending) == 1:
                self._began_s = time.monotonic()
                await asyncio.sleep(LINGER_S)
            if await self._more_comes(stream.channel.queue):
                continue
            try:
                await self._finish_pending()
            except TachoError as error:
                self.failure = error
                return
            except Exception as error:  # noqa: BLE001 - Faust would go on behind the lost batch
                self.failure = RetryLater(f"a batch could not be finished: {logs.place_of(error)}")
                return

    async def _more_comes(self, queue: Any) -> bool:
        """Whether the batch grows on. Faust hands over a hundred records at a time: who is behind
        waits for the next, since a larger batch costs fewer alerts and changes a record.
        """
        if len(self._pending) >= MAX_BATCH:
            return False
        while queue.empty():
            waited_s = time.monotonic() - self._began_s
            if waited_s >= GATHER_S or self.lag() <= len(self._pending):
                return False
            await asyncio.sleep(LINGER_S / 4)
        return True

    async def _finish_pending(self) -> None:
        async with self._lock:
            events = self._taken()
            if not events:
                return
            began = time.monotonic()
            outcome = judge(map(_arrival, events), self._entry, self._policy)
            await self._acknowledged(self._told(outcome))
            await self._prove_membership()
            await self._remember(outcome)
            for event in events:
                self._reached[event.message.tp] = event.message.offset + 1
            self.watermark = max(event.message.timestamp or 0.0 for event in events)
            _count(outcome, len(events), time.monotonic() - began)

    def _taken(self) -> list[Any]:
        """What is pending and to be judged now: each record once, none left out. May block."""
        pending, self._pending = self._pending, []
        # After a rebalance the new owner reads these again from the committed offset.
        now = self.app.consumer_generation_id
        return [
            event
            for event in pending
            if event.message.generation_id == now
            and self._reading.admits(event.message.partition, event.message.offset)
        ]

    def _entry(self, key: str) -> Entry | None:
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        payload = self._table.data.get(key.encode())
        if payload is None:
            return None
        try:
            return decode(Entry, payload)
        except InvalidRecord:
            metrics.EVICTED.labels("triage", "unreadable_entry").inc()
            return None

    def _told(self, outcome: Outcome) -> list[Sending]:
        letters = [
            (LETTERS_TOPIC, _place(refusal), self.letters.write(refusal), None, _LETTER)
            for refusal in outcome.refusals
        ]
        directives = [_directive(self._signer.signed(told)) for told in outcome.directives]
        members = map(_member, outcome.members)
        own = [sending for group in outcome.groups for sending in _own(group)]
        return [*letters, *map(_alert, outcome.alerts), *members, *directives, *own]

    def lag(self) -> int:
        """Records that are there and not judged yet, as far as the client knows."""
        owned = self.app.consumer.assignment() & self._reached.keys()
        ends = {tp: self.app.consumer.highwater(tp) or 0 for tp in owned}
        return sum(max(0, end - self._reached[tp]) for tp, end in ends.items())

    async def _remember(self, outcome: Outcome) -> None:
        """Make the table's changes known, then hold them."""
        changes = {key: encode(entry) for key, entry in outcome.entries.items()}
        await self._acknowledged(
            _change(key.encode(), value, outcome.entries[key].partition, outcome.entries[key])
            for key, value in changes.items()
        )
        for key, value in changes.items():
            self._hold(key, value, outcome.entries[key])
        left = list(self._shelf.leaving())
        await self._acknowledged(
            _change(old, None, partition, self._entry(old.decode())) for old, partition, _ in left
        )
        for old, _, why in left:
            self._table.data.pop(old, None)
            self._cache.pop(old.decode(), None)
            metrics.EVICTED.labels("triage", f"entry_{why}").inc()

    def _hold(self, key: str, value: bytes, entry: Entry) -> None:
        self._table.data[key.encode()] = value
        over_ms = over_ms_of(entry)
        self._shelf.touch(key.encode(), entry.partition, entry.touched_ms, len(value), over_ms)
        self._cache.pop(key, None)
        if len(value) <= CACHED_BYTES:
            self._cache[key] = entry
        while len(self._cache) > CACHED_ENTRIES:
            self._cache.popitem(last=False)

    async def _acknowledged(self, sendings: Iterable[Sending]) -> None:
        """Send and wait until the broker has all of it. Raises RetryLater, Refused."""
        producer = self.app.producer
        try:
            waiting = [
                await producer.send(topic, key, value, partition, None, headers)
                for topic, key, value, partition, headers in sendings
            ]
            await asyncio.gather(*waiting)
        except ProducerSendError as error:
            raise _mapped(error.__cause__ or error) from error
        except KafkaError as error:
            raise _mapped(error) from error

    async def commit(self) -> None:
        """Commit what is finished. Called every second, at a rebalance and at the end."""
        async with self._lock:
            await self._commit_reached()

    async def _commit_reached(self) -> bool:
        """Whether the group took it, or there was nothing new to take."""
        if self._reached == self._committed:
            return True
        reached, began_s = dict(self._reached), time.monotonic()
        # Acknowledging is not left to Faust.
        taken = bool(await self.app.consumer._commit_offsets(reached))  # noqa: SLF001
        if taken:
            self._committed, self._proved_s = reached, began_s
        return taken

    async def _prove_membership(self) -> None:
        """Ask the group before the table is written, unless it has answered lately: a process that
        slept for longer than its session would set back what another has judged. Raises RetryLater.
        """
        if time.monotonic() - self._proved_s < self._session_s / 2:
            return
        self._committed = {}
        if not await self._commit_reached():
            raise RetryLater("the group has given our partitions to others")

    async def left(self) -> None:
        """Nothing of the app stays behind. Faust consumes on a thread with a loop of its own: where
        stopping was cut short it would remain a member of the group, be given partitions once the
        broker is there again, and judge nothing of them. Raises Refused where the thread does not
        end: then the process has to.
        """
        thread: Any = getattr(getattr(self.app, "_consumer", None), "_thread", None)
        worker = getattr(thread, "_thread", None)
        begin_s = time.monotonic()
        while worker is not None and worker.is_alive():
            waited_s = time.monotonic() - begin_s
            if waited_s > 2 * LEAVE_WITHIN_S:
                raise Refused("Faust's consumer does not end; start the process again")
            loop = thread.thread_loop
            with contextlib.suppress(RuntimeError):  # it has ended by now
                # Cancelled, it leaves the group; a broker that is away may keep it from that.
                leave = functools.partial(_cancel_all, loop)
                loop.call_soon_threadsafe(leave if waited_s < LEAVE_WITHIN_S else loop.stop)
            await asyncio.sleep(LEAVE_WITHIN_S / 20)

    async def _revoked(self, *_args: Any, **_kwargs: Any) -> None:
        """Partitions are taken away: finish the batch in hand, commit it, forget the rest."""
        async with self._lock:
            self._pending.clear()
            await self._commit_reached()
            self._reached, self._committed = {}, {}
            self._reading.start({})

    async def _ready(self) -> None:
        """Called by Faust when the table is complete, before records come. Faust would only log
        what this raises.
        """
        # Faust fetches on while it seeks to the committed offsets, and empties its queues after
        # that: records would be lost. It resumes the flow by itself, once it is done.
        self.app.consumer.stop_flow()
        self.app.flow_control.suspend()
        generation = self.app.consumer_generation_id
        try:
            starts = await self._starts()
            if generation != self.app.consumer_generation_id:
                return  # the table is being recovered once more
            self._reading.start({tp.partition: offset for tp, offset in starts.items()})
            self._reached, self._committed = dict(starts), dict(starts)
            await self._acknowledged(self._recovered({tp.partition for tp in starts}))
        except TachoError as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001 - Faust would go on without the table
            self.failure = RetryLater(f"the table could not be made ready: {logs.place_of(error)}")

    async def _starts(self) -> dict[TP, int]:
        """Where reading starts in the partitions that are owned. Raises Refused."""
        consumer = self.app.consumer
        committed = await consumer.seek_to_committed() if consumer.assignment() else {}
        owned = {TP(*tp) for tp in committed if tp.topic == GROUPS_TOPIC}
        earliest = await consumer.earliest_offsets(*owned) if owned else {}
        starts = {}
        for tp in owned:
            starts[tp] = earliest[tp] if committed[tp] is None else committed[tp]
            if starts[tp] < earliest[tp]:
                raise expired(GROUPS_TOPIC, tp.partition, GROUP)
        await self._seek({tp: start for tp, start in starts.items() if not committed[tp]})
        return starts

    async def _seek(self, starts: Mapping[TP, int]) -> None:
        """Go to what is not committed: to that aiokafka does not seek. A fetch that is under way
        for the changelog may still take records from there, which nobody would see.
        """
        if starts and self._table.data:
            await asyncio.sleep(FETCH_S)
            await self.app.consumer.seek_wait(starts)

    def _recovered(self, owned: set[int]) -> list[Sending]:
        """Drop what others own now, know what to expire; what the log has to be told again."""
        kept, behind = [], []
        self._cache.clear()
        for key, payload in list(self._table.data.items()):
            entry = self._entry(key.decode())
            if entry is None or entry.partition not in owned:
                self._table.data.pop(key, None)
                continue
            kept.append((key, entry.partition, entry.touched_ms, len(payload), over_ms_of(entry)))
            if key in self._table.behind:
                behind.append(_change(key, payload, entry.partition, entry))
        self._shelf.rebuild(kept)
        self._table.behind.clear()
        log.info(
            "table recovered", entries=len(kept), set_right=len(behind), partitions=sorted(owned)
        )
        return behind


def _faust_app(settings: Settings, session_s: float) -> Any:
    servers = settings.kafka.bootstrap.split(",")
    return faust.App(
        GROUP,
        broker=[f"kafka://{server.strip()}" for server in servers],
        broker_credentials=credentials(settings.kafka),
        broker_client_id=GROUP,
        broker_session_timeout=session_s,
        broker_heartbeat_interval=session_s / 3,
        broker_request_timeout=40.0,
        broker_commit_livelock_soft_timeout=QUIET_S,
        stream_processing_timeout=QUIET_S,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=MAX_REQUEST_BYTES,
        producer_acks=-1,
        producer_compression_type="zstd",
        producer_linger=0.002,
        producer_max_batch_size=1_048_576,
        producer_max_request_size=MAX_REQUEST_BYTES,
        producer_request_timeout=SEND_TIMEOUT_S,
        stream_buffer_maxsize=BUFFERED_RECORDS,
        Table=Entries,
        store="memory://",
        datadir=str(settings.home / "triage"),
        topic_allow_declare=False,
        topic_disable_leader=True,
        autodiscover=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


async def _events(stream: Any) -> AsyncIterator[Any]:
    async for event in stream.events():
        yield event


def _arrival(event: Any) -> Arrival:
    message = event.message
    headers = dict(message.headers or ())
    return Arrival(
        partition=message.partition,
        offset=message.offset,
        at_ms=int((message.timestamp or 0.0) * 1000),
        kind=(headers.get(RECORD_HEADER) or b"").decode("ascii", "replace")[:64],
        payload=message.value or b"",
    )


def _alert(alert: Alert) -> Sending:
    key = f"{alert.tenant}/{alert.entity}".encode()
    return ALERTS_TOPIC, key, encode(alert), None, _ALERT


def _member(member: IncidentMember) -> Sending:
    return MEMBERS_TOPIC, member.tenant.encode(), encode(member), None, _MEMBER


def _directive(directive: Directive) -> Sending:
    key = f"{directive.tenant}/{directive.agent_id}".encode()
    return CONTROL_TOPIC, key, encode(directive), None, _DIRECTIVE


def _own(group: SignalGroup) -> list[Sending]:
    """What triage itself found, for triage to read as any detector's, and its signals."""
    key = f"{group.tenant}/{group.entity}".encode()
    signals: list[Sending] = [
        (SIGNALS_TOPIC, signal.signal_id.encode(), encode(signal), None, _SIGNAL)
        for signal in group.samples
    ]
    return [*signals, (GROUPS_TOPIC, key, encode(group), None, _GROUP)]


def _change(key: bytes, value: bytes | None, partition: int, entry: Entry | None) -> Sending:
    """A record of the changelog; without a value the entry is gone."""
    judged = str(entry.last_offset if entry else -1).encode()
    headers = {RECORD_HEADER: b"triage_entry", VERSION_HEADER: b"1", JUDGED_HEADER: judged}
    return CHANGELOG_TOPIC, key, value, partition, headers


def _place(refusal: Refusal) -> bytes:
    return f"{GROUPS_TOPIC}/{refusal.arrival.partition}".encode()


def _mapped(error: BaseException) -> TachoError:
    if isinstance(error, KafkaError) and error.retriable:
        return RetryLater(f"Kafka took not all that a batch caused: {error!r}")
    if isinstance(error, asyncio.CancelledError):
        raise error
    return Refused(f"Kafka refused what a batch caused: {error!r}")


def _count(outcome: Outcome, records: int, took_s: float) -> None:
    metrics.RECORDS_READ.labels("triage", GROUPS_TOPIC).inc(records)
    metrics.DUPLICATES.labels("triage").inc(outcome.known)
    metrics.BATCH_SECONDS.labels("triage").observe(took_s)
    for directive in outcome.directives:
        metrics.DIRECTIVES.labels(directive.kind, str(directive.dry_run).lower()).inc()
    now = time.time()
    for alert in outcome.alerts:
        metrics.ALERTS.labels(alert.severity, alert.status).inc()
        metrics.ALERT_LATENCY_SECONDS.observe(max(0.0, now - alert.last_seen.timestamp()))
