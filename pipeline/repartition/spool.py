"""What is kept of the old generation while its topic is made anew: a file for each partition.

A record is its length in four bytes and then itself, as msgpack. A spool is complete once its plan
stands beside it: before that nothing was taken from Kafka, after it everything can be done again.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from tachograph.pipeline.errors import Refused
from tachograph.pipeline.kafka.generations import Generation
from tachograph.pipeline.repartition.layout import Kept

PLAN = "plan.json"
_LENGTH_BYTES = 4


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is being done, for whoever has to finish it."""

    topic: str
    cluster: str
    before: int  # partitions
    after: int
    base: int  # of the new generation's offsets
    base_before: int  # of the old one's
    records: int
    replicas: int
    config: dict[str, str]  # what was set for the topic

    @property
    def generation(self) -> Generation:
        """As it is announced when all is done."""
        return Generation(self.after, self.base)

    @property
    def old(self) -> Generation:
        """As it was announced before."""
        return Generation(self.before, self.base_before)


class Spool:
    """A folder of its own. Raises Refused for what the disk will not do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._decoder = msgspec.msgpack.Decoder(Kept)

    def plan(self) -> Plan | None:
        """Of a change that was begun and not finished; None: there is none."""
        path = self.folder / PLAN
        try:
            return msgspec.json.decode(path.read_bytes(), type=Plan) if path.is_file() else None
        except (OSError, msgspec.DecodeError) as error:
            raise Refused(f"{path} cannot be read: {error}") from error

    def keep(self, partition: int, records: Iterable[Kept]) -> int:
        """Write the records of an old partition; how many they were. They are on disk then."""
        count = 0
        encoder = msgspec.msgpack.Encoder()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._file(partition).open("wb") as sink:
                for record in records:
                    packed = encoder.encode(record)
                    sink.write(len(packed).to_bytes(_LENGTH_BYTES, "big"))
                    sink.write(packed)
                    count += 1
                _on_disk(sink)
        except OSError as error:
            raise Refused(f"{self.folder} cannot be written: {error.strerror}") from error
        return count

    def begin(self, plan: Plan) -> None:
        """All partitions are kept: from now on the topic may go."""
        written, path = self.folder / f"{PLAN}.new", self.folder / PLAN
        try:
            with written.open("wb") as sink:
                sink.write(msgspec.json.encode(plan))
                _on_disk(sink)
            written.replace(path)
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise Refused(f"{path} cannot be written: {error.strerror}") from error

    def records(self, partition: int) -> Iterator[Kept]:
        """What was kept of an old partition."""
        path = self._file(partition)
        try:
            with path.open("rb") as source:
                while length := source.read(_LENGTH_BYTES):
                    yield self._decoder.decode(source.read(int.from_bytes(length, "big")))
        except (OSError, msgspec.DecodeError) as error:
            raise Refused(f"{path} cannot be read: {error}") from error

    def end(self) -> None:
        """The change is done: nothing of this is needed any more. The plan goes last but one, so
        that what is left of an end that was cut short is no change under way.
        """
        (self.folder / PLAN).unlink(missing_ok=True)
        for path in self.folder.glob("*.records"):
            path.unlink(missing_ok=True)
        self.folder.rmdir()

    def _file(self, partition: int) -> Path:
        return self.folder / f"{partition}.records"


def _on_disk(sink: BinaryIO) -> None:
    sink.flush()
    os.fsync(sink.fileno())
