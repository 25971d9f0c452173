"""Reading Kafka in batches, with the commit left to the far end.

A `Reader` never commits by itself: the stage commits the next offsets once everything that its
input caused is acknowledged. It is used by one thread.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from tachograph.pipeline.errors import Refused, RetryLater, TachoError
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings

log = get("kafka.reader")

Place = tuple[str, int]
OnPlaces = Callable[[list[Place]], None]
# May answer where to start reading a place; places it leaves out start at their committed offset.
OnAssign = Callable[[list[Place]], Mapping[Place, int] | None]

# Longer than any deadline inside a stage, so that a slow ClickHouse never costs the membership.
MAX_POLL_INTERVAL_MS = 300_000
CALL_TIMEOUT_S = 30.0
TELL_EVERY_S = 10.0
# What one reader may hold that its stage has not asked for yet.
QUEUED_KB = 65_536
# What a record takes beside its value: without it nothing would bound how many empty ones are held.
RECORD_BYTES = 512

_FATAL = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError._FATAL,
}
# Nobody listens, or nobody knows the name.
_AWAY = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE}
_WHERE = "start `tacho up`, or name a broker that runs with KAFKA_BOOTSTRAP_SERVERS"
# The committed offset fell out of retention: a jump would lose records without a word.
_EXPIRED = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}
# News, not errors: a topic that does not exist yet appears later.
_QUIET = {
    KafkaError._PARTITION_EOF,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}


class Commitment(NamedTuple):
    """What a group has committed of a place: the next offset, and a note that was left with it."""

    offset: int
    note: str


def mapped(error: KafkaError, what: str) -> RetryLater | Refused:
    """An error of the client as one of ours."""
    text = f"{what}: {error.str()} ({error.name()})"
    if error.code() in _AWAY:
        text += f"; {_WHERE}"
    if error.code() in _FATAL or error.fatal():
        return Refused(text)
    return RetryLater(text)


class Reader:
    """A member of a consumer group that reads batches and commits when told.

    `on_assign` and `on_revoke` are called inside `read` and `close`, on the reader's thread;
    on_assign may say where to start, on_revoke may still commit. What they raise, the next `read`
    raises. Starts at the earliest record on a new group; an expired committed offset is an error.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        topics: Iterable[str],
        *,
        on_assign: OnAssign | None = None,
        on_revoke: OnPlaces | None = None,
        overrides: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        self._on_assign, self._on_revoke = on_assign, on_revoke
        self._failure: TachoError | None = None
        self._paused: set[Place] = set()
        # Since it was cleared.
        self._given_away: set[Place] = set()
        self._told_s = -TELL_EVERY_S
        self.group = group
        self._consumer = Consumer(
            {
                **settings.kafka.client_config(),
                "group.id": group,
                "client.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "max.poll.interval.ms": MAX_POLL_INTERVAL_MS,
                "session.timeout.ms": round(settings.kafka.session_s * 1_000),
                "heartbeat.interval.ms": min(3_000, round(settings.kafka.session_s * 1_000 / 3)),
                "partition.assignment.strategy": "range",
                "queued.max.messages.kbytes": QUEUED_KB,
                "fetch.wait.max.ms": settings.kafka.fetch_wait_ms,
                "topic.metadata.refresh.interval.ms": 5_000,
                "allow.auto.create.topics": True,
                "error_cb": self._on_error,
                "logger": SILENT,
                **(overrides or {}),
            }
        )
        self._consumer.subscribe(
            list(topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._log("assigned", places)
        if self._on_assign is None:
            return
        try:
            starts = self._on_assign([(p.topic, p.partition) for p in places]) or {}
        except TachoError as error:
            # An exception must not travel through librdkafka's C stack.
            self._failure = error
            return
        for place in places:
            place.offset = starts.get((place.topic, place.partition), place.offset)
        if starts:
            consumer.assign(places)

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._log("revoked", places)
        self._given_away.update((p.topic, p.partition) for p in places)
        # The client would keep a place paused that is assigned again, and nobody would know of it.
        paused = [p for p in places if (p.topic, p.partition) in self._paused]
        if paused:
            consumer.resume(paused)
            self._paused -= {(p.topic, p.partition) for p in paused}
        if self._on_revoke is None:
            return
        try:
            self._on_revoke([(p.topic, p.partition) for p in places])
        except TachoError as error:
            self._failure = error

    def _log(self, event: str, places: list[TopicPartition]) -> None:
        named = [f"{p.topic}/{p.partition}" for p in places]
        log.info(event, group=self.group, partitions=named)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in _FATAL or error.fatal():
            self._failure = mapped(error, f"group {self.group}")
        elif (now_s := time.monotonic()) - self._told_s >= TELL_EVERY_S:
            # While a broker is away the client reports every try: once in a while is enough.
            self._told_s = now_s
            log.warning("broker", group=self.group, error=error.str())

    def read(self, max_records: int, timeout_s: float) -> list[Message]:
        """Up to `max_records`, waiting at most `timeout_s` for them. Raises Refused, RetryLater."""
        return self._sound(self._consumed(max_records, timeout_s))

    def gather(
        self, at_once: int, timeout_s: float, max_bytes: int, *, gather_s: float = 0.0
    ) -> list[Message]:
        """What comes within `gather_s`, no more than `max_bytes` (a record is RECORD_BYTES more
        than its value) and `at_once` records beyond them; with `gather_s` of 0 what is there. Waits
        at most `timeout_s` for a first record, and no longer than `gather_s` once there is one.
        Raises Refused, RetryLater.
        """
        end_s = time.monotonic() + gather_s
        messages = self._consumed(1, max(timeout_s, gather_s))
        last, asked = messages, 1
        while len(last) == asked and _weight(messages) < max_bytes:
            self._given_away.clear()
            last, asked = self._consumed(at_once, max(0.0, end_s - time.monotonic())), at_once
            # Whoever owns a place now reads on from what is committed.
            messages = [m for m in messages if place_of(m) not in self._given_away] + last
        return self._sound(messages)

    def _sound(self, messages: list[Message]) -> list[Message]:
        if self._failure:
            raise self._failure
        return [message for message in messages if self._usable(message)]

    def _consumed(self, max_records: int, timeout_s: float) -> list[Message]:
        try:
            return self._consumer.consume(max_records, timeout_s)
        except KafkaException as error:
            raise mapped(error.args[0], f"group {self.group}") from error

    def _usable(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() in _EXPIRED:
            raise Refused(
                f"{message.topic()}/{message.partition()}: the committed offset is no longer kept;"
                f" reset group {self.group} deliberately to go on"
            )
        if error.code() not in _QUIET:
            raise mapped(error, f"{message.topic()}/{message.partition()}")
        return False

    def commit(self, offsets: Mapping[Place, int]) -> None:
        """Commit the next offset of each place, and wait for it. Raises RetryLater, Refused."""
        self.commit_noted({place: Commitment(offset, "") for place, offset in offsets.items()})

    def commit_noted(self, commitments: Mapping[Place, Commitment]) -> None:
        """As `commit`, with notes: short texts, for who owns a place next."""
        if not commitments:
            return
        places = [
            TopicPartition(*place, offset, metadata=note)
            for place, (offset, note) in commitments.items()
        ]
        try:
            self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            raise mapped(error.args[0], f"commit of group {self.group}") from error

    def committed(self, places: Iterable[Place]) -> dict[Place, int]:
        """Committed next offset of each place; places without one are absent."""
        return {place: found.offset for place, found in self.commitments(places).items()}

    def commitments(self, places: Iterable[Place]) -> dict[Place, Commitment]:
        """As `committed`, with the notes."""
        asked = [TopicPartition(topic, part) for topic, part in places]
        try:
            found = self._consumer.committed(asked, timeout=CALL_TIMEOUT_S)
        except KafkaException as error:
            raise mapped(error.args[0], f"committed offsets of {self.group}") from error
        return {
            (p.topic, p.partition): Commitment(p.offset, p.metadata or "")
            for p in found
            if p.offset >= 0
        }

    def bounds(self, place: Place, *, cached: bool = False) -> tuple[int, int]:
        """(earliest, next) offset of a place. Raises RetryLater."""
        try:
            at = TopicPartition(*place)
            low, high = self._consumer.get_watermark_offsets(at, CALL_TIMEOUT_S, cached)
        except KafkaException as error:
            raise mapped(error.args[0], f"bounds of {place[0]}/{place[1]}") from error
        return low, high

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """The next offset of each place, in one question for all of them; one whose leader does
        not answer is absent. Raises RetryLater.
        """
        return self._offsets(places, OFFSET_END)

    def starts(self, places: Iterable[Place]) -> dict[Place, int]:
        """As `ends`, the earliest offset that is kept."""
        return self._offsets(places, OFFSET_BEGINNING)

    def _offsets(self, places: Iterable[Place], which: int) -> dict[Place, int]:
        asked = [TopicPartition(*place, which) for place in places]
        if not asked:
            return {}
        try:
            # Kafka takes the two ends of a log for times, too.
            found = self._consumer.offsets_for_times(asked, CALL_TIMEOUT_S)
        except KafkaException as error:
            raise mapped(error.args[0], f"ends of what {self.group} reads") from error
        return {(p.topic, p.partition): p.offset for p in found if not p.error and p.offset >= 0}

    def position(self, place: Place) -> int | None:
        """Next offset to be read at a place, or None before the first read."""
        [at] = self._consumer.position([TopicPartition(*place)])
        return at.offset if at.offset >= 0 else None

    def seek(self, place: Place, offset: int) -> None:
        """Read on from `offset` at a place that is assigned."""
        try:
            self._consumer.seek(TopicPartition(*place, offset))
        except KafkaException as error:
            raise mapped(error.args[0], f"seek of {place[0]}/{place[1]}") from error

    def pause(self, places: Iterable[Place]) -> None:
        """Stop fetching these places; reading on keeps the membership. A place that is given away
        is not paused any more when it comes back.
        """
        named = list(places)
        self._consumer.pause([TopicPartition(*place) for place in named])
        self._paused.update(named)

    def resume(self, places: Iterable[Place]) -> None:
        """Fetch these places again."""
        named = list(places)
        self._consumer.resume([TopicPartition(*place) for place in named])
        self._paused.difference_update(named)

    def assignment(self) -> list[Place]:
        """Places owned now."""
        return [(p.topic, p.partition) for p in self._consumer.assignment()]

    def lag(self) -> dict[Place, int]:
        """Records not read yet, by place, from what the client knows already (no call to the
        broker).
        """
        found = {}
        for place in self.assignment():
            _, high = self.bounds(place, cached=True)
            at = self.position(place)
            if high >= 0 and at is not None:
                found[place] = max(0, high - at)
        return found

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


def _weight(messages: list[Message]) -> int:
    return sum(map(len, messages)) + RECORD_BYTES * len(messages)


def place_of(message: Message) -> Place:
    """Where a record lies."""
    return message.topic() or "", message.partition() or 0


def headers_of(message: Message) -> dict[str, bytes]:
    """Headers by name; of a repeated one the last."""
    found = message.headers() or []
    pairs = found.items() if isinstance(found, dict) else found
    return {name: value for name, value in pairs if isinstance(value, bytes)}


class _Silent:
    """librdkafka's own log lines: the ones that matter reach us as errors."""

    def log(self, *_args: object, **_kwargs: object) -> None: ...

    debug = info = warning = error = critical = log


SILENT = _Silent()
