"""Dead letters: what could not be used, kept with its bytes, within a limit a source.

Above the limit a source's letters lose their bytes (the hash stays), the loss is counted and said
on agent.health, where it becomes an alert, and every other source goes on as before.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from tachograph.pipeline import metrics
from tachograph.pipeline.clock import SECOND_US, Clock, system_us, to_datetime
from tachograph.pipeline.errors import Refused
from tachograph.pipeline.health import FLOOD, HEALTH_TOPIC, MAX_SOURCE_CHARS, record_key
from tachograph.pipeline.health import HEADERS as HEALTH_HEADERS
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.records import DeadLetter, Health

log = get("dead_letters")
TOPIC: Final = "agent.dead_letters"
DEFAULT_TENANT: Final = "default"
HEADERS: Final = {RECORD_HEADER: b"dead_letter", VERSION_HEADER: b"1"}
# Letters with their bytes that one source may have in a minute, and the bytes of those.
LETTERS_A_MINUTE: Final = 600
BYTES_A_MINUTE: Final = 32_000_000
SOURCES: Final = 10_000
# Base64 makes 4 of 3; the topic takes 8 MiB a record.
RECORD_BYTES: Final = 8_000_000
MINUTE_US: Final = 60 * SECOND_US
# A source above its limit is told once in so long, and of so many sources.
TELL_EVERY_US: Final = 10 * MINUTE_US
TOLD_SOURCES: Final = 100


class _Minute(msgspec.Struct):
    start_us: int
    letters: int = 0
    size_bytes: int = 0


class Quota:
    """Who may still send bytes. Bounded: the source longest unseen is forgotten."""

    def __init__(
        self,
        clock: Clock = system_us,
        *,
        letters: int = LETTERS_A_MINUTE,
        size_bytes: int = BYTES_A_MINUTE,
    ) -> None:
        self._clock, self._letters, self._bytes = clock, letters, size_bytes
        self._minutes: OrderedDict[str, _Minute] = OrderedDict()
        self._told: set[tuple[str, str]] = set()
        self._told_us = 0

    def admits(self, letter: DeadLetter) -> bool:
        """Whether this letter keeps its bytes."""
        source = _source(letter)
        now_us = self._clock()
        minute = self._minutes.get(source)
        if minute is None or now_us - minute.start_us >= MINUTE_US:
            minute = self._minutes[source] = _Minute(now_us)
        self._minutes.move_to_end(source)
        if len(self._minutes) > SOURCES:
            self._minutes.popitem(last=False)
        minute.letters += 1
        minute.size_bytes += letter.size_bytes
        return minute.letters <= self._letters and minute.size_bytes <= self._bytes

    def news(self, letter: DeadLetter) -> Health | None:
        """What is to be said of a source whose letter was not admitted, where it was not said just
        now. The same in every process, so that two that see one source say one thing.
        """
        now_us, who = self._clock(), (letter.tenant or DEFAULT_TENANT, _source(letter))
        since_us = now_us - now_us % TELL_EVERY_US
        if since_us != self._told_us:
            self._told_us = since_us
            self._told.clear()
        if who in self._told or len(self._told) >= TOLD_SOURCES:
            return None
        self._told.add(who)
        return Health(
            component=FLOOD + who[1],
            tenant=who[0],
            status="degraded",
            at=to_datetime(now_us),
            watermark=to_datetime(since_us),
            detail=f"more than {self._letters} records or {self._bytes} bytes a minute that cannot"
            " be used: of some only the hash is kept",
        )


def _source(letter: DeadLetter) -> str:
    return (letter.source or letter.topic)[:MAX_SOURCE_CHARS]


class DeadLetters:
    """Sends dead letters; used by the stage's thread. The stage flushes and commits as for all it
    sends.
    """

    def __init__(self, writer: Writer, stage: str, quota: Quota | None = None) -> None:
        self._writer, self._stage = writer, stage
        self._quota = quota or Quota()
        self.without_bytes = 0

    def send(self, letter: DeadLetter) -> None:
        """Queue one letter. Raises RetryLater; never Refused for its size."""
        metrics.DEAD_LETTERS.labels(self._stage, letter.reason).inc()
        if not self._quota.admits(letter):
            self._tell(letter)
            letter = self._bare(letter)
        value = codec.encode(letter)
        if len(value) > RECORD_BYTES:
            value = codec.encode(self._bare(letter))
        self._queue(letter, value)

    def _queue(self, letter: DeadLetter, value: bytes) -> None:
        key = f"{letter.topic}/{letter.partition}".encode()
        try:
            self._writer.send(TOPIC, value, key=key, headers=HEADERS)
        except Refused:
            if letter.original is None:
                raise
            self._writer.send(TOPIC, codec.encode(self._bare(letter)), key=key, headers=HEADERS)

    def _tell(self, letter: DeadLetter) -> None:
        news = self._quota.news(letter)
        if news is not None:
            self._writer.send(
                HEALTH_TOPIC, codec.encode(news), key=record_key(news), headers=HEALTH_HEADERS
            )

    def _bare(self, letter: DeadLetter) -> DeadLetter:
        if letter.original is not None:
            self.without_bytes += 1
            metrics.DROPPED.labels(self._stage, "dead_letter_bytes").inc()
        return msgspec.structs.replace(letter, original=None)
