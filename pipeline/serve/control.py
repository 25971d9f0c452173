"""What agents are told, at the door: `GET /v1/directives`, `GET /v1/keys`, `POST /v1/acks`.

One reader of agent.control for all who listen. It holds the directives that have not expired; a
listener gets those of its agent at once and what comes as it comes. Who connects again gets them
again: receivers know what they have seen.
"""

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaException, Message, TopicPartition

from tachograph.pipeline.clock import Clock, to_us
from tachograph.pipeline.kafka.reader import headers_of
from tachograph.pipeline.log import get
from tachograph.pipeline.metrics import DROPPED
from tachograph.pipeline.serve.feed import POLL_S, READ_RECORDS, RETRY_S, consumer_of
from tachograph.pipeline.serve.limits import Limits
from tachograph.pipeline.serve.places import Places
from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.records import Directive

TOPIC: Final = "agent.control"
CALL_TIMEOUT_S: Final = 5.0
# Directives that one listener may be behind.
QUEUED: Final = 200

log = get("serve.control")

Agent = tuple[str, str]
# None: leave.
Waiting = asyncio.Queue[bytes | None]


class Told(NamedTuple):
    """One directive: whom it is for, its JSON on one line, and when it ends."""

    agent: Agent
    line: bytes
    expires_us: int


def told_of(message: Message) -> tuple[str, Told] | None:
    """A record as a directive by its id; None for what is none."""
    value = message.value() or b""
    if headers_of(message).get(RECORD_HEADER) != b"directive":
        return None
    try:
        directive = codec.decode(Directive, value)
    except codec.InvalidRecord:
        DROPPED.labels("serve", "not_a_directive").inc()
        return None
    # Our own encoder writes no line breaks; what has one would end the event early.
    line = value.replace(b"\r", b" ").replace(b"\n", b" ")
    agent = (directive.tenant, directive.agent_id)
    return directive.directive_id, Told(agent, line, to_us(directive.expires_at))


class Directives:
    """Those in force, and who listens. Made and used on the event loop; its reader has a thread
    of its own.
    """

    def __init__(self, settings: Settings, limits: Limits, clock_us: Clock) -> None:
        self._settings, self._limits, self._clock_us = settings, limits, clock_us
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._held: OrderedDict[str, Told] = OrderedDict()
        self._listeners: dict[Agent, set[Waiting]] = {}
        self._places = Places(limits.listeners, "listeners")
        self._thread = threading.Thread(target=self._follow, name="directives", daemon=True)
        self._thread.start()

    def in_force(self, agent: Agent) -> list[bytes]:
        """Directives of an agent that have not expired, oldest first."""
        now_us = self._clock_us()
        return [
            told.line
            for told in self._held.values()
            if told.agent == agent and told.expires_us > now_us
        ]

    def listen(self, agent: Agent, client: str, holds: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Server-sent events for one agent until either side leaves, or who listens may no longer:
        `holds` says so. Raises RequestError: 503 when all places are taken, 429 when this client
        has its share of them.
        """
        self._places.check(client)
        return self._events(agent, client, holds)

    async def _events(
        self, agent: Agent, client: str, holds: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        # Taken when the stream begins: one that never does has nothing to give back.
        self._places.take(client)
        queue: Waiting = asyncio.Queue(QUEUED)
        self._listeners.setdefault(agent, set()).add(queue)
        try:
            yield b"retry: 1000\n: tacho\n\n"
            for line in self.in_force(agent):
                yield _event(line)
            while (line_or_end := await self._next(queue)) is not None and holds():
                yield line_or_end
        finally:
            self._places.give(client)
            mine = self._listeners.get(agent, set())
            mine.discard(queue)
            if not mine:
                self._listeners.pop(agent, None)

    async def _next(self, queue: Waiting) -> bytes | None:
        """The next event, or a sign of life when there is none for long; None: leave."""
        if self._stop.is_set():
            return None
        try:
            async with asyncio.timeout(self._limits.heartbeat_s):
                line = await queue.get()
        except TimeoutError:
            return b": tacho\n\n"
        return None if line is None else _event(line)

    def close(self) -> None:
        """Stop reading; listeners leave."""
        self._stop.set()
        for queues in self._listeners.values():
            for queue in queues:
                _cut_off(queue)
        self._thread.join(timeout=CALL_TIMEOUT_S)

    def _arrived(self, found: Mapping[str, Told]) -> None:
        now_us = self._clock_us()
        for name, told in found.items():
            if name in self._held or told.expires_us <= now_us:
                continue
            self._held[name] = told
            for queue in self._listeners.get(told.agent, ()):
                try:
                    queue.put_nowait(told.line)
                except asyncio.QueueFull:
                    # It does not read: it connects again, and gets all that is in force.
                    DROPPED.labels("serve", "listener_lagged").inc()
                    _cut_off(queue)
        for name in [name for name, told in self._held.items() if told.expires_us <= now_us]:
            del self._held[name]
        while len(self._held) > self._limits.directives:
            self._held.popitem(last=False)
            DROPPED.labels("serve", "directive_evicted").inc()

    # --- on the reader's thread ---------------------------------------------------------------

    def _follow(self) -> None:
        consumer = consumer_of(self._settings)
        try:
            while not self._stop.is_set():
                try:
                    found = consumer.list_topics(TOPIC, timeout=CALL_TIMEOUT_S).topics[TOPIC]
                    if found.error is None and found.partitions:
                        # From the oldest kept: what was said before this door opened may hold.
                        places = [TopicPartition(TOPIC, part, -2) for part in found.partitions]
                        consumer.assign(places)
                        self._read(consumer)
                except KafkaException as error:
                    log.warning("directives", error=str(error.args[0]))
                self._stop.wait(RETRY_S)
        finally:
            consumer.close()

    def _read(self, consumer: Any) -> None:
        while not self._stop.is_set():
            first = consumer.poll(POLL_S)
            if first is None:
                continue
            messages = [first, *consumer.consume(READ_RECORDS, 0)]
            told = (told_of(one) for one in messages if one.error() is None)
            found = dict(one for one in told if one is not None)
            # The loop may be closed already at the end of a shutdown.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._arrived, found)


def _event(line: bytes) -> bytes:
    return b"event: directive\ndata: %b\n\n" % line


def _cut_off(queue: Waiting) -> None:
    """The listener leaves after what it has taken."""
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(None)
