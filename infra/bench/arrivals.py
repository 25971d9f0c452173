"""When what comes of an action is seen: its alert, its directive, its snapshot in ClickHouse."""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from confluent_kafka import Consumer, Message, TopicPartition

from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.kafka.reader import SILENT, headers_of
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.schemas import batch
from tachograph.schemas.contracts import RECORD_HEADER

ASK_EVERY_S: Final = 0.25
_TENANT: Final = b"default/"
# A minute of rows: what is asked for again and again is cheap, and nothing is missed.
_STORED: Final = "SELECT DISTINCT agent_id FROM tacho.agent_state_data WHERE stored_at > now() - 60"


class Arrival(Protocol):
    """A place where agents appear. `news` gives each new one with the time it was seen at."""

    def news(self) -> Iterator[tuple[str, float]]: ...

    def close(self) -> None: ...


class Topic:
    """A topic as it grows, its records keyed by agent: what can be read is acknowledged."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"bench.{topic}",
                "enable.auto.commit": False,
                "logger": SILENT,
            }
        )
        self._consumer.assign([TopicPartition(topic, part, 0) for part in range(partitions)])

    def news(self) -> Iterator[tuple[str, float]]:
        """See Arrival."""
        for message in self._consumer.consume(500, 0.0):
            for agent in self.agents_of(message):
                yield agent, time.monotonic()

    def agents_of(self, message: Message) -> Iterable[str]:
        """Whom a record is about."""
        key = message.key() or b""
        return (key.removeprefix(_TENANT).decode("utf-8", "replace"),)

    def close(self) -> None:
        """Let go."""
        self._consumer.close()


class Actions(Topic):
    """agent.actions as it grows: its records have no key and are about many."""

    def __init__(self, bootstrap: str, partitions: int) -> None:
        super().__init__(bootstrap, "agent.actions", partitions)

    def agents_of(self, message: Message) -> Iterable[str]:
        """See Topic."""
        if headers_of(message).get(RECORD_HEADER) != b"action_batch":
            return ()
        found = batch.decode(message.value() or b"", ["agent_id"])["agent_id"]
        return [str(agent) for agent in found.unique().drop_nulls()]


class Stored:
    """Agents whose snapshot is in ClickHouse, asked for four times a second on a thread."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        self._settings = settings
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._seen: dict[str, float] = {}
        self._told: set[str] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with Connection(self._settings) as connection:
            while not self._stop.wait(ASK_EVERY_S):
                try:
                    found = connection.rows(_STORED)
                except TachoError:
                    continue  # busy: a snapshot is seen a little later
                at_s = time.monotonic()
                with self._lock:
                    for (agent,) in found:
                        self._seen.setdefault(str(agent), at_s)

    def news(self) -> Iterator[tuple[str, float]]:
        """See Arrival."""
        with self._lock:
            fresh = [(agent, at) for agent, at in self._seen.items() if agent not in self._told]
            self._told.update(agent for agent, _ in fresh)
        yield from fresh

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()


class Sight:
    """How long those that are expected take to appear."""

    def __init__(self, source: Arrival) -> None:
        self._source = source
        self._sent_s: dict[str, float] = {}
        self.took_s: list[float] = []

    @property
    def missing(self) -> int:
        """How many have not appeared."""
        return len(self._sent_s)

    def expect(self, agent: str) -> None:
        """An action of this agent is sent now."""
        self._sent_s[agent] = time.monotonic()

    def forget(self) -> None:
        """Begin anew."""
        self._sent_s.clear()
        self.took_s.clear()

    def look(self) -> None:
        """Take in what has appeared."""
        for agent, seen_s in self._source.news():
            sent_s = self._sent_s.pop(agent, None)
            if sent_s is not None:
                self.took_s.append(seen_s - sent_s)

    def told(self) -> str:
        """The figures, in milliseconds."""
        found = sorted(self.took_s)
        p50, p99 = (found[int(len(found) * part)] * 1000 for part in (0.5, 0.99))
        return f"p50 {p50:,.0f}, p99 {p99:,.0f} ms (worst {found[-1] * 1000:,.0f} of {len(found)})"
