"""`tacho replay`: put dead letters back on their topic after a fix.

Reads agent.dead_letters from its start to where it ended when the command began, and sends the
original bytes with their headers again, and with where they first lay: what is put back a second
time keeps its ids and changes nothing, and what is refused again is one letter to the next replay,
not two.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tachograph.pipeline.dead_letters import TOPIC
from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.kafka.reader import SILENT, mapped
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.replayed import REPLAYED, first_place
from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec, contracts
from tachograph.schemas.records import DeadLetter

log = get("replay")
CALL_TIMEOUT_S: Final = 30.0
READ_RECORDS: Final = 500
# Places of letters that are told apart; beyond so many one may be put back twice, to no effect.
KNOWN_PLACES: Final = 1_000_000
WRITER_OVERRIDES: Final = {"message.max.bytes": 8_388_608}


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters to put back; None: any."""

    reason: str | None = None
    source: str | None = None
    limit: int | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether this letter is meant (bytes or no bytes)."""
        wanted = self.reason is None or letter.reason == self.reason
        return wanted and (self.source is None or letter.source == self.source)


class Outcome(msgspec.Struct):
    """What a replay did."""

    replayed: dict[str, int] = {}  # by topic
    without_bytes: int = 0  # only the hash was kept
    at_destinations: dict[str, int] = {}  # alerts that a destination refused, by its name
    behind: dict[str, int] = {}  # what a stage behind the entrance could not read, by topic
    unreadable: int = 0

    @property
    def total(self) -> int:
        """Letters put back."""
        return sum(self.replayed.values())


def run_replay(settings: Settings, choice: Choice, *, dry_run: bool) -> Outcome:
    """Put the chosen letters back; with `dry_run` only count. Raises RetryLater, Refused."""
    outcome = Outcome()
    known: set[int] = set()
    raw = {name for name, topic in contracts.topics().items() if topic.raw and name != TOPIC}
    writer = None if dry_run else Writer(settings, overrides=WRITER_OVERRIDES)
    for letter in _letters(settings, outcome):
        if not choice.takes(letter) or _again(letter, known):
            continue
        if letter.original is None:
            outcome.without_bytes += 1
        elif letter.stage == "forward":
            name = (letter.source or "").removeprefix("forward.")
            outcome.at_destinations[name] = outcome.at_destinations.get(name, 0) + 1
        elif letter.topic not in raw:
            outcome.behind[letter.topic] = outcome.behind.get(letter.topic, 0) + 1
        else:
            if writer is not None:
                _send(writer, letter, letter.original)
            outcome.replayed[letter.topic] = outcome.replayed.get(letter.topic, 0) + 1
        if choice.limit is not None and outcome.total >= choice.limit:
            break
    if writer is not None:
        writer.flush()
    return outcome


def _again(letter: DeadLetter, known: set[int]) -> bool:
    """Whether it is of something that this replay met already: an earlier replay put it back, and
    it was refused again.
    """
    if letter.stage != "normalize":
        return False
    place = hash((letter.topic, first_place(letter)))
    if place in known:
        return True
    if len(known) < KNOWN_PLACES:
        known.add(place)
    return False


def _send(writer: Writer, letter: DeadLetter, original: bytes) -> None:
    headers = {name: value.encode() for name, value in letter.headers.items()}
    headers[REPLAYED] = first_place(letter).encode()
    # The same partition, so that a place's order and its agent's partition stay what they were.
    partition = letter.partition if letter.partition >= 0 else None
    writer.send(letter.topic, original, partition=partition, headers=headers)


def _letters(settings: Settings, outcome: Outcome) -> Iterator[DeadLetter]:
    """Every dead letter there was when the command began, partition by partition."""
    consumer = Consumer(
        {
            **settings.kafka.client_config(),
            "group.id": "tacho.replay",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "logger": SILENT,
        }
    )
    try:
        for partition, start, end in _bounds(consumer):
            for value in _values(consumer, partition, start, end):
                try:
                    yield codec.decode(DeadLetter, value)
                except codec.InvalidRecord:
                    outcome.unreadable += 1
    except KafkaException as error:
        raise mapped(error.args[0], TOPIC) from error
    finally:
        consumer.close()


def _bounds(consumer: Consumer) -> list[tuple[int, int, int]]:
    topic = consumer.list_topics(TOPIC, CALL_TIMEOUT_S).topics[TOPIC]
    if topic.error is not None:
        raise RetryLater(f"{TOPIC} is not there yet")
    found = []
    for partition in sorted(topic.partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), CALL_TIMEOUT_S)
        found.append((partition, low, high))
    return found


def _values(consumer: Consumer, partition: int, start: int, end: int) -> Iterator[bytes]:
    if start >= end:
        return
    consumer.assign([TopicPartition(TOPIC, partition, start)])
    quiet_until = time.monotonic() + CALL_TIMEOUT_S
    while True:
        messages = consumer.consume(READ_RECORDS, 0.2)
        for message in messages:
            error = message.error()
            if error is not None:
                raise mapped(error, TOPIC)
            quiet_until = time.monotonic() + CALL_TIMEOUT_S
            if (message.offset() or 0) < end:
                yield message.value() or b""
        [at] = consumer.position([TopicPartition(TOPIC, partition)])
        if at.offset >= end:
            return
        if time.monotonic() > quiet_until:
            raise RetryLater(f"{TOPIC}/{partition} gives nothing more before offset {end}")


def summary(outcome: Outcome, *, dry_run: bool) -> str:
    """What a person is told."""
    verb = "would put back" if dry_run else "put back"
    lines = [f"{verb} {outcome.total} dead letters{_listed(outcome.replayed)}"]
    if outcome.without_bytes:
        lines.append(
            f"{outcome.without_bytes} cannot be: only their hash was kept (above a source's limit)"
        )
    if refused := sum(outcome.at_destinations.values()):
        lines.append(
            f"{refused} alerts that a destination refused are left"
            f"{_listed(outcome.at_destinations)};"
            " tacho.alerts has them, and the destination gets their next revision"
        )
    if left := sum(outcome.behind.values()):
        lines.append(
            f"{left} that a stage behind the entrance could not read are left"
            f"{_listed(outcome.behind)}"
        )
    if outcome.unreadable:
        lines.append(f"{outcome.unreadable} records of {TOPIC} are no dead letters")
    return "\n".join(lines)


def _listed(counts: Mapping[str, int]) -> str:
    return ": " + ", ".join(f"{topic} {n}" for topic, n in sorted(counts.items())) if counts else ""
