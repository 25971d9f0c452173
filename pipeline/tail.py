"""`tacho tail TOPIC`: any topic of ours as JSON lines."""

import base64
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import msgspec
import polars as pl
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.kafka.reader import SILENT, headers_of, mapped
from tachograph.pipeline.plain_json import written_to
from tachograph.pipeline.settings import Settings
from tachograph.schemas import batch, contracts
from tachograph.schemas.contracts import RECORD_HEADER

TIMEOUT_S = 10.0
POLL_S = 0.2
POLL_RECORDS = 500
IDLE_S = 1.0
_BATCHES = {
    contract.record
    for topic in contracts.topics().values()
    for contract in topic.records
    if contract.encoding == "arrow_ipc"
}


class Filters(msgspec.Struct, frozen=True):
    """Which records to show: `where` compares top-level fields as text, `record` the kind."""

    where: dict[str, str] = {}
    record: str | None = None

    @classmethod
    def parse(cls, pairs: list[str], record: str | None) -> "Filters":
        """From `field=value` words. Raises ConfigError."""
        for pair in pairs:
            if "=" not in pair:
                raise ConfigError(f"--where {pair!r}: write it as field=value")
        return cls(dict(pair.split("=", 1) for pair in pairs), record)

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is to be shown."""
        if self.record and row.get("_record") != self.record:
            return False
        return all(_text(row.get(name)) == value for name, value in self.where.items())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def rows(message: Message) -> Iterator[dict[str, Any]]:
    """A record as rows: one for each row of an Arrow batch, and for each line of JSON."""
    headers = headers_of(message)
    record = (headers.get(RECORD_HEADER) or b"").decode("ascii", "replace")
    place = {
        "_record": record or None,
        "_partition": message.partition(),
        "_offset": message.offset(),
    }
    payload = message.value() or b""
    if record in _BATCHES:
        for row in batch.decode(payload).iter_rows(named=True):
            yield place | {name: value for name, value in row.items() if value is not None}
        return
    for value in _values(payload):
        yield place | (value if isinstance(value, dict) else {"_value": value})


def _values(payload: bytes) -> list[Any]:
    """What a record says: one JSON value, several on lines (raw topics), or other bytes."""
    try:
        return msgspec.json.Decoder().decode_lines(payload) if payload else [None]
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return [msgspec.json.decode(payload)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [{"_base64": base64.b64encode(payload).decode()}]


def _places(consumer: Consumer, topic: str, *, from_start: bool) -> list[TopicPartition]:
    try:
        found = consumer.list_topics(topic, TIMEOUT_S).topics[topic]
    except KafkaException as error:
        raise mapped(error.args[0], f"topic {topic}") from error
    if not found.partitions:
        raise ConfigError(f"topic {topic} is not there")
    places = []
    for part in found.partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, part), TIMEOUT_S)
        places.append(TopicPartition(topic, part, low if from_start else high))
    return places


def messages(
    settings: Settings, topic: str, *, from_start: bool, follow: bool
) -> Iterator[Message]:
    """Records of a topic, without a group of its own; ends when nothing comes unless `follow`."""
    consumer = Consumer(
        {**settings.kafka.client_config(), "group.id": "tacho.tail", "enable.auto.commit": False,
         "logger": SILENT}
    )  # fmt: skip
    try:
        consumer.assign(_places(consumer, topic, from_start=from_start))
        quiet_since = time.monotonic()
        while follow or time.monotonic() - quiet_since < IDLE_S:
            for message in consumer.consume(POLL_RECORDS, POLL_S):
                if message.error() is None:
                    quiet_since = time.monotonic()
                    yield message
    finally:
        consumer.close()


def _check_record(topic: str, record: str | None) -> None:
    contract = contracts.topics().get(topic)
    known = [one.record for one in contract.records] if contract else []
    if record and known and record not in known:
        raise ConfigError(f"--record {record}: {topic} carries {', '.join(known)}")


def tail(
    settings: Settings,
    topic: str,
    filters: Filters,
    *,
    from_start: bool = False,
    follow: bool = True,
    limit: int | None = None,
    out: BinaryIO | None = None,
) -> int:
    """Write matching records as JSON lines; the number written. Raises ConfigError, RetryLater."""
    _check_record(topic, filters.record)
    sink = out or sys.stdout.buffer
    shown = written_to(sink)
    written = 0
    for message in messages(settings, topic, from_start=from_start, follow=follow):
        try:
            found = list(rows(message))
        except (pl.exceptions.PolarsError, OSError) as error:
            found = [{"_offset": message.offset(), "_error": str(error)}]
        for row in filter(filters.keeps, found):
            sink.write(shown(msgspec.json.encode(row)) + b"\n")
            written += 1
            if limit is not None and written >= limit:
                sink.flush()
                return written
        sink.flush()
    return written
