"""agent.config: what is in force, said once for all processes, and the contents it refers to.

All of it lies in one partition, so that everybody reads it in one order. A content is written
before the activation that names it; it is used when all its pieces are there and have its hash.
"""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.kafka.reader import SILENT, headers_of, mapped
from tachograph.pipeline.kafka.whole import bounds
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.records import Activation, ContentChunk

log = get("config")

CONFIG_TOPIC = "agent.config"
PARTITION = 0
# A topic has its partitions, and a detector its rules, whoever's actions they see.
EVERY_TENANT = "*"
CHUNK_BYTES = 512 * 1024
MAX_CHUNKS = 64
READ_AT_ONCE = 256
READ_WITHIN_S = 60.0
_IN_TIME = frozenset({"rules", "reference", "model"})


def content_hash(content: bytes) -> str:
    """The hash by which a content is named."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def key_of(activation: Activation) -> str:
    """Key of the record: where what held before must stay known, its time is part of it."""
    key = f"{activation.tenant}/{activation.subject}/{activation.name}"
    if activation.subject in _IN_TIME:
        key += f"/{activation.effective_from.astimezone(UTC).isoformat()}"
    return key


def publish(writer: Writer, activation: Activation, content: bytes | None = None) -> None:
    """Send an activation and what it refers to; it counts once the writer is flushed."""
    if content is not None:
        for chunk in _chunks(activation.content_hash, content):
            key = f"{EVERY_TENANT}/content/{chunk.content_hash}/{chunk.chunk}"
            _send(writer, b"content_chunk", key, codec.encode(chunk))
    _send(writer, b"activation", key_of(activation), codec.encode(activation))


def _send(writer: Writer, record: bytes, key: str, value: bytes) -> None:
    headers = {RECORD_HEADER: record, VERSION_HEADER: b"1"}
    writer.send(CONFIG_TOPIC, value, key=key.encode(), partition=PARTITION, headers=headers)


def _chunks(name: str, content: bytes) -> list[ContentChunk]:
    parts = [content[at : at + CHUNK_BYTES] for at in range(0, max(1, len(content)), CHUNK_BYTES)]
    return [
        ContentChunk(content_hash=name, chunk=number, chunks=len(parts), data=part)
        for number, part in enumerate(parts)
    ]


class Said(msgspec.Struct, frozen=True):
    """An activation as it stands in the log."""

    activation: Activation
    offset: int
    # Kafka's time of the record.
    at: datetime


class ConfigLog:
    """Reads agent.config from its beginning, and on. Used by one thread."""

    def __init__(self, settings: Settings, stage: str) -> None:
        """`stage`: a name for the broker's rights; nothing is committed."""
        self._consumer = Consumer(
            {
                **settings.kafka.client_config(),
                "group.id": f"tacho.{stage}.config",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": settings.kafka.fetch_wait_ms,
                "logger": SILENT,
            }
        )
        self._place = TopicPartition(CONFIG_TOPIC, PARTITION)
        self._next = -1
        self._pieces: dict[str, dict[int, ContentChunk]] = {}

    def whole(self, now_s: Callable[[], float] = time.monotonic) -> list[Said]:
        """Everything that was not read yet, up to where the log ends now. Raises RetryLater,
        Refused.
        """
        end = self._begin()
        found: list[Said] = []
        until_s = now_s() + READ_WITHIN_S
        while self._next < end:
            found += self.news(0.2)
            if now_s() > until_s:
                raise RetryLater(f"{CONFIG_TOPIC} cannot be read to its end")
        return found

    def _begin(self) -> int:
        """Where the log ends now; reading begins at its beginning."""
        try:
            low, end = bounds(self._consumer, self._place)
        except KafkaException as error:
            raise mapped(error.args[0], CONFIG_TOPIC) from error
        if self._next < 0:
            self._next = low
            self._consumer.assign([TopicPartition(CONFIG_TOPIC, PARTITION, low)])
        return end

    def news(self, wait_s: float = 0.0) -> list[Said]:
        """Activations that came since the last call, some of them. Raises RetryLater, Refused."""
        if self._next < 0:
            self._begin()
        try:
            messages = self._consumer.consume(READ_AT_ONCE, wait_s)
        except KafkaException as error:
            raise mapped(error.args[0], CONFIG_TOPIC) from error
        usable = [message for message in messages if message.error() is None]
        if usable:
            self._next = (usable[-1].offset() or 0) + 1
        found = [self._take(message) for message in usable]
        return [said for said in found if said is not None]

    def _take(self, message: Message) -> Said | None:
        value = message.value()
        if not value:
            return None
        try:
            match headers_of(message).get(RECORD_HEADER):
                case b"activation":
                    moment = datetime.fromtimestamp(message.timestamp()[1] / 1_000, UTC)
                    activation = codec.decode(Activation, value)
                    return Said(activation, message.offset() or 0, moment)
                case b"content_chunk":
                    self._piece(codec.decode(ContentChunk, value))
        except codec.InvalidRecord as error:
            log.warning("record cannot be read", offset=message.offset(), error=str(error))
        return None

    def _piece(self, chunk: ContentChunk) -> None:
        if chunk.chunks <= MAX_CHUNKS and len(chunk.data) <= CHUNK_BYTES:
            self._pieces.setdefault(chunk.content_hash, {})[chunk.chunk] = chunk

    def content(self, name: str) -> bytes | None:
        """The content of this hash; None when it is not all there or is another."""
        pieces = self._pieces.get(name, {})
        total = next(iter(pieces.values())).chunks if pieces else 0
        if not total or set(pieces) != set(range(total)):
            return None
        whole = b"".join(pieces[number].data for number in range(total))
        return whole if content_hash(whole) == name else None

    def forget(self, names: set[str]) -> None:
        """Contents that are needed no more."""
        for name in names & self._pieces.keys():
            del self._pieces[name]

    def close(self) -> None:
        """Let the broker go."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
