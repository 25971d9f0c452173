"""Contracts as data: what each topic carries, who writes it, how long it stays, with examples.

The TOML files under `topics/` are the source; whoever creates, reads or documents topics asks here.
Nothing is read but files of this package.
"""

import tomllib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Literal

import msgspec

from tachograph.schemas import action, alert
from tachograph.schemas import records as small
from tachograph.schemas.fields import Record

RECORD_HEADER = "tacho-record"
VERSION_HEADER = "tacho-version"

Encoding = Literal["json", "arrow_ipc", "otlp"]
TimestampType = Literal["LogAppendTime", "CreateTime"]

_HOUR_MS = 3_600_000
_PACKAGE = "tachograph.schemas"


class RecordContract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of record on one topic."""

    record: str  # value of the header tacho-record, and the folder of its examples
    struct: str | None = None  # class that decodes it; None: a format of someone else's
    encoding: Encoding
    key: str  # template of the Kafka key
    writer: str  # stages that write it here
    version: int
    meaning: str

    @property
    def type(self) -> type[Record]:
        """Class that decodes the record. Raises LookupError for formats that are not ours."""
        if self.struct is None:
            raise LookupError(f"{self.record} is not one of our formats")
        return STRUCTS[self.struct]


class Topic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One topic: how to create it and what is on it."""

    topic: str
    meaning: str
    owner: str  # stage that writes it
    raw: bool  # holds originals, secrets included: an ACL of its own
    partitions: int  # default; fixed for a generation of the topic
    retention_hours: int | None = None  # None: kept for ever
    compacted: bool
    timestamp_type: TimestampType
    max_message_bytes: int
    records: list[RecordContract]

    def config(self) -> dict[str, str]:
        """Kafka's settings of the topic, by Kafka's names."""
        kept = self.retention_hours
        return {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": "-1" if kept is None else str(kept * _HOUR_MS),
            "message.timestamp.type": self.timestamp_type,
            "max.message.bytes": str(self.max_message_bytes),
        }

    def record(self, name: str) -> RecordContract:
        """The record of that name on this topic. Raises LookupError."""
        for contract in self.records:
            if contract.record == name:
                return contract
        raise LookupError(f"{self.topic} carries no record called {name}")


class Examples(msgspec.Struct, frozen=True):
    """Example payloads of one record by name: those that decode and those that must be refused."""

    valid: dict[str, bytes]
    invalid: dict[str, bytes]


STRUCTS: dict[str, type[Record]] = {
    kind.__name__: kind
    for module in (action, alert, small)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Record) and kind is not Record
}


@cache
def topics() -> dict[str, Topic]:
    """Every topic by name, in order of name."""
    folder = _folder("topics")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda f: f.name
    )
    found = [_topic(file) for file in files]
    return {topic.topic: topic for topic in found}


@cache
def records() -> dict[str, RecordContract]:
    """Every kind of record by name; one that is on several topics, as its first topic states it."""
    found: dict[str, RecordContract] = {}
    for topic in topics().values():
        for contract in topic.records:
            found.setdefault(contract.record, contract)
    return found


def topics_of(record: str) -> list[str]:
    """Names of the topics that carry a record."""
    return [
        topic.topic
        for topic in topics().values()
        if any(contract.record == record for contract in topic.records)
    ]


@cache
def examples(record: str) -> Examples:
    """Examples of one record. Raises LookupError for a name that no contract has."""
    if record not in records():
        raise LookupError(f"no contract for a record called {record}")
    folder = _folder("examples") / record
    return Examples(valid=_payloads(folder / "valid"), invalid=_payloads(folder / "invalid"))


def json_schema(record: str) -> bytes:
    """The committed JSON Schema of a record. Raises LookupError for one that is not ours."""
    if record not in records():
        raise LookupError(f"no contract for a record called {record}")
    file = _folder("json") / f"{record}.schema.json"
    if not file.is_file():
        raise LookupError(f"{record} is not one of our formats and has no schema here")
    return file.read_bytes()


def _folder(name: str) -> Traversable:
    return resources.files(_PACKAGE) / name


def _topic(file: Traversable) -> Topic:
    content = tomllib.loads(file.read_text("utf-8"))
    try:
        return msgspec.convert(content, Topic)
    except msgspec.ValidationError as error:
        raise ValueError(f"contract file {file.name}: {error}") from error


def _payloads(folder: Traversable) -> dict[str, bytes]:
    if not folder.is_dir():
        return {}
    return {
        file.name.removesuffix(".json"): file.read_bytes()
        for file in sorted(folder.iterdir(), key=lambda f: f.name)
        if file.name.endswith(".json")
    }
