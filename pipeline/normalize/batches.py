"""Actions to records of agent.actions: one Arrow record a partition and flush, bounded by rows and
bytes.
"""

from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
import polars as pl

from tachograph.schemas import batch
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.identity import partition_of

ROWS: Final = 5_000
BYTES: Final = 900_000
ROWS_HEADER: Final = "tacho-rows"
# Partition keys whose partition is remembered.
KNOWN_KEYS: Final = 100_000


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record for agent.actions."""

    partition: int
    value: bytes
    headers: dict[str, bytes]
    rows: int


def place_key(tenant: str, partition_key: str) -> str:
    """What the partition is computed from: the same for actions and links."""
    return f"{tenant}/{partition_key}"


class Batches:
    """Cuts frames into records for N partitions."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._known: dict[tuple[str, str], int] = {}

    def partition(self, tenant: str, partition_key: str) -> int:
        """Partition of an agent's records."""
        place = (tenant, partition_key)
        found = self._known.get(place)
        if found is None:
            if len(self._known) >= KNOWN_KEYS:
                self._known.clear()
            found = partition_of(place_key(*place), self._partitions)
            self._known[place] = found
        return found

    def records(self, frame: pl.DataFrame) -> Iterator[Record]:
        """Records of a frame; an agent's actions keep their order."""
        if frame.is_empty():
            return
        tenants, keys = frame["tenant"].to_list(), frame["partition_key"].to_list()
        targets = np.array(list(map(self.partition, tenants, keys)))
        for target in dict.fromkeys(targets.tolist()):
            part = frame[pl.Series(np.flatnonzero(targets == target).astype(np.uint32))]
            for start in range(0, part.height, ROWS):
                yield from _bounded(target, part.slice(start, ROWS))


def _bounded(partition: int, frame: pl.DataFrame) -> Iterator[Record]:
    value = batch.encode(frame)
    if len(value) > BYTES and frame.height > 1:
        half = frame.height // 2
        yield from _bounded(partition, frame.head(half))
        yield from _bounded(partition, frame.slice(half))
        return
    headers = {
        RECORD_HEADER: b"action_batch",
        VERSION_HEADER: b"%d" % batch.SCHEMA_VERSION,
        ROWS_HEADER: b"%d" % frame.height,
    }
    yield Record(partition, value, headers, frame.height)
