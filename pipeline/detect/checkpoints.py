"""Checkpoints of a stage's state on the compacted topic agent.checkpoints.

A state is cut into chunks. There are two slots for every place, used in turn: while a new set of
chunks is being written the old one stays whole, so a crash in mid-write never costs both.
"""

import hashlib
from collections import deque

from tachograph.pipeline.kafka.reader import Place
from tachograph.pipeline.kafka.whole import whole_partition
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.identity import partition_of
from tachograph.schemas.records import Checkpoint

log = get("detect.checkpoints")

TOPIC = "agent.checkpoints"
FORMAT = 1
CHUNK_BYTES = 512 * 1024
SLOTS = 2
# Of one chunk: a set being written over another leaves some of both.
VERSIONS = 2


def chunks_of(
    stage: str, place: Place, offset: int, rules_hash: str, state: bytes
) -> list[Checkpoint]:
    """The state as records, each small enough for the broker."""
    digest = hashlib.blake2b(state, digest_size=16).hexdigest()
    parts = [state[at : at + CHUNK_BYTES] for at in range(0, max(1, len(state)), CHUNK_BYTES)]
    return [
        Checkpoint(
            stage=stage,
            topic=place[0],
            partition=place[1],
            offset=offset,
            format=FORMAT,
            rules_hash=rules_hash,
            chunk=number,
            chunks=len(parts),
            digest=digest,
            data=part,
        )
        for number, part in enumerate(parts)
    ]


def newest(records: list[Checkpoint]) -> tuple[int, bytes] | None:
    """(offset, state) of the newest complete set among the records; broken sets are passed over."""
    sets: dict[tuple[int, str], dict[int, Checkpoint]] = {}
    for record in records:
        if record.format == FORMAT:
            sets.setdefault((record.offset, record.digest), {})[record.chunk] = record
    for (offset, digest), found in sorted(sets.items(), reverse=True):
        total = next(iter(found.values())).chunks
        if set(found) != set(range(total)):
            continue
        state = b"".join(found[number].data for number in range(total))
        if hashlib.blake2b(state, digest_size=16).hexdigest() == digest:
            return offset, state
    return None


class Checkpoints:
    """Checkpoints of one stage. `save` uses the stage's writer; `load` opens a reader of its
    own.
    """

    def __init__(self, settings: Settings, stage: str, writer: Writer) -> None:
        self._settings, self._stage, self._writer = settings, stage, writer
        self._slot: dict[Place, int] = {}

    def _partition(self, place: Place) -> int:
        return partition_of(f"{self._stage}/{place[0]}/{place[1]}", self._writer.partitions(TOPIC))

    def save(self, place: Place, offset: int, rules_hash: str, state: bytes) -> None:
        """Send the state; it counts once the writer is flushed."""
        slot = self._slot.get(place, 0)
        self._slot[place] = (slot + 1) % SLOTS
        partition = self._partition(place)
        for record in chunks_of(self._stage, place, offset, rules_hash, state):
            key = f"{self._stage}/{place[0]}/{place[1]}/{slot}/{record.chunk}"
            self._writer.send(
                TOPIC,
                codec.encode(record),
                key=key.encode(),
                partition=partition,
                headers={RECORD_HEADER: b"checkpoint"},
            )

    def forget(self, topic: str) -> int:
        """No state of any place of a topic counts any more; the number of chunks that are gone.
        It counts once the writer is flushed. Raises RetryLater.
        """
        prefix = f"{self._stage}/{topic}/"
        gone = 0
        for partition in range(self._writer.partitions(TOPIC)):
            for key in self._chunks(partition, prefix):
                self._writer.send(TOPIC, None, key=key.encode(), partition=partition)
                gone += 1
        return gone

    def load(self, place: Place, *, until: int | None = None) -> tuple[int, bytes] | None:
        """(offset, state) of the newest checkpoint of a place, or None. Raises RetryLater.

        `until`: one beyond this offset is passed over. It holds what was judged but is not
        committed, so what that caused would never be said.
        """
        mine: list[Checkpoint] = []
        slots: dict[tuple[int, str], int] = {}
        prefix = f"{self._stage}/{place[0]}/{place[1]}/"
        for slot, payload in self._read(self._partition(place), prefix):
            try:
                record = codec.decode(Checkpoint, payload)
            except codec.InvalidRecord as error:
                log.warning("checkpoint cannot be read", place=list(place), error=str(error))
                continue
            if until is not None and record.offset > until:
                continue
            mine.append(record)
            slots[record.offset, record.digest] = slot
        found = newest(mine)
        if found is not None:
            digest = hashlib.blake2b(found[1], digest_size=16).hexdigest()
            self._slot[place] = (slots[found[0], digest] + 1) % SLOTS
        return found

    def _read(self, partition: int, prefix: str) -> list[tuple[int, bytes]]:
        """(slot, chunk) of the keys of a partition of checkpoints that begin with the prefix.

        Of each key the newest VERSIONS: what is older may lie there for long before it is compacted
        away, and would not fit into memory.
        """
        return [
            (int(key.removeprefix(prefix).partition("/")[0]), value)
            for key, values in self._chunks(partition, prefix).items()
            for value in values
        ]

    def _chunks(self, partition: int, prefix: str) -> dict[str, deque[bytes]]:
        found: dict[str, deque[bytes]] = {}
        group = f"tacho.{self._stage}.checkpoints"
        for message in whole_partition(self._settings, group, TOPIC, partition):
            key, value = _text(message.key() or b""), message.value()
            if not key.startswith(prefix):
                continue
            if value:
                found.setdefault(key, deque(maxlen=VERSIONS)).append(value)
            else:
                found.pop(key, None)
        return found


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key
