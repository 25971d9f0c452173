"""Records that evidence rests on, made from a number, and who reads them."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.notarize.heads import heads_file, heads_in_file
from tachograph.pipeline.notarize.leaves import LOGS, Leaves
from tachograph.pipeline.notarize.merkle import Tree
from tachograph.pipeline.notarize.stage import Notary
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.schemas import codec, contracts
from tachograph.schemas.records import TreeHead
from tests.waiting import WAIT_S

TOPICS = (*LOGS, "agent.tree_heads", "agent.health", "agent.config", "agent.actions")
PLACE = ("agent.dispositions", 0)


def record(topic: str, number: int) -> bytes:
    """A record of a topic: an example of its contract, with the number in it."""
    contract = contracts.topics()[topic].records[0]
    example = next(iter(contracts.examples(contract.record).valid.values()))
    made: Any = codec.decode(contract.type, example)
    name = next(f for f in ("note", "reason", "detail", "title", "snapshot_id") if hasattr(made, f))
    return codec.encode(msgspec.structs.replace(made, **{name: f"number {number}"}))


class Message(NamedTuple):
    """A record as a consumer gives it."""

    at: int
    payload: bytes

    def topic(self) -> str:
        return PLACE[0]

    def partition(self) -> int:
        return PLACE[1]

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return self.payload


class Log:
    """One partition in memory, of which `gone` records are kept no more; makes readers of it."""

    def __init__(self, values: Iterable[bytes] = (), gone: int = 0) -> None:
        self.values, self.gone = list(values), gone
        self.committed = 0

    def reader(self, *_: Any, on_assign: Any, on_revoke: Any) -> Any:
        return LogReader(self, on_assign, on_revoke)


class LogReader:
    """What the notary knows of a reader."""

    def __init__(self, log: Log, on_assign: Any, on_revoke: Any) -> None:
        self._log, self._on_assign, self._on_revoke = log, on_assign, on_revoke
        self._at = -1

    def read(self, max_records: int, _timeout_s: float) -> list[Message]:
        if self._at < 0:
            self._at = self._on_assign([PLACE])[PLACE]
        end = min(len(self._log.values), self._at + min(max_records, 7))
        found = [Message(at, self._log.values[at]) for at in range(self._at, end)]
        self._at = end
        return found

    def bounds(self, _place: tuple[str, int]) -> tuple[int, int]:
        return self._log.gone, len(self._log.values)

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        self._log.committed = offsets.get(PLACE, self._log.committed)

    def lag(self) -> dict[tuple[str, int], int]:
        return {PLACE: len(self._log.values) - self._at}

    def revoke(self) -> None:
        self._on_revoke([PLACE])
        self._at = -1

    def close(self) -> None: ...


def send(settings: Settings, topic: str, values: list[bytes], partition: int = 0) -> None:
    """Put values into a partition."""
    writer = Writer(settings)
    for value in values:
        writer.send(topic, value, partition=partition)
    writer.flush()


def until(notary: Notary, done: Callable[[], bool], what: str) -> None:
    """Let the notary work until it is true."""
    end = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < end, f"never came true: {what}"
        notary.round()


def heads(settings: Settings) -> list[TreeHead]:
    """The heads of the file."""
    return list(heads_in_file(heads_file(settings.home, {})))


def covered(settings: Settings, place: tuple[str, int] = PLACE) -> int:
    """Offsets that the newest head of a place covers."""
    mine = [head.next_offset for head in heads(settings) if (head.topic, head.partition) == place]
    return max(mine, default=0)


def leaves_of(place: tuple[str, int], values: list[bytes]) -> list[bytes]:
    """The leaves that records from offset 0 on make."""
    made = Leaves(place)
    return [made.read(offset, value).hash for offset, value in enumerate(values)]


def root_of(place: tuple[str, int], values: list[bytes], size: int | None = None) -> str:
    """The root they make."""
    return Tree(leaves_of(place, values)).root(size).hex()


def stored_leaves(connection: Connection, cluster: str, topic: str) -> list[tuple[Any, ...]]:
    """What the table of leaves holds of a topic's first partition."""
    return connection.rows(
        "SELECT leaf_index, kind, log_offset, log_until, leaf FROM tacho.leaves"
        f" WHERE log_cluster = '{cluster}' AND log_topic = '{topic}' AND log_partition = 0"
        " ORDER BY leaf_index"
    )
