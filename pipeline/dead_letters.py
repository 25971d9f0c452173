"""Dead letters: what could not be used, kept with its bytes, within a limit a source.

Above the limit a source's letters lose their bytes (the hash stays), the loss is counted and said
on agent.health, and every other source goes on as before.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from tachograph.pipeline import metrics
from tachograph.pipeline.clock import SECOND_US, Clock, system_us
from tachograph.pipeline.errors import Refused
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.records import DeadLetter

log = get("dead_letters")
TOPIC: Final = "agent.dead_letters"
HEADERS: Final = {RECORD_HEADER: b"dead_letter", VERSION_HEADER: b"1"}
# Letters with their bytes that one source may have in a minute, and the bytes of those.
LETTERS_A_MINUTE: Final = 600
BYTES_A_MINUTE: Final = 32_000_000
SOURCES: Final = 10_000
# Base64 makes 4 of 3; the topic takes 8 MiB a record.
RECORD_BYTES: Final = 8_000_000
MINUTE_US: Final = 60 * SECOND_US


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

    def admits(self, letter: DeadLetter) -> bool:
        """Whether this letter keeps its bytes."""
        source = letter.source or letter.topic
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

    def _bare(self, letter: DeadLetter) -> DeadLetter:
        if letter.original is not None:
            self.without_bytes += 1
            metrics.DROPPED.labels(self._stage, "dead_letter_bytes").inc()
        return msgspec.structs.replace(letter, original=None)
