"""A backup: a folder of Parquet files, a few for each table, and a manifest of what they are.

Rows are taken as a reader and put back as the writer. What is put back twice is there once: every
table is keyed by what its rows are, and copies are merged away.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from tachograph.pipeline.errors import ConfigError, Refused
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.retention.classes import CLASSES
from tachograph.pipeline.store.catalogue import TABLES
from tachograph.pipeline.store.clickhouse import Connection

MANIFEST = "manifest.json"
# Rows of a file, before compression: it is inserted as one block, well below a statement's time.
FILE_BYTES = 16 << 20
# What can be made again from Kafka is taken only when all is.
_CLASSES = ("actions", "signals", "dead_letters", "health")
_LEFT_OUT = {table for name in _CLASSES for table in CLASSES[name]}

# Made again from the actions by whoever has them; older backups hold them, some in other shapes.
ROLL_UPS = frozenset(
    {
        "hours_data", "touches_data", "touched_data", "minutes_data", "denials_data",
        "delegated_data", "destinations_data", "texts_data", "reached_data",
    }
)  # fmt: skip
KNOWN = ROLL_UPS | TABLES.keys()


class Part(msgspec.Struct, frozen=True):
    """One file."""

    table: str
    file: str
    rows: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds."""

    made_at: datetime
    parts: list[Part]
    format: int = 1

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(part.rows for part in self.parts)


def tables(*, everything: bool) -> list[str]:
    """Tables of a backup: alerts, incidents, states, directives, words of people, evidence."""
    return [
        name for name in TABLES if name not in ROLL_UPS and (everything or name not in _LEFT_OUT)
    ]


def write(reader: Reader, folder: Path, names: list[str]) -> Manifest:
    """Write a backup into a folder that is empty or is not there. Raises ConfigError, Refused,
    RetryLater.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty: name a new folder for each backup")
        parts = [part for name in names for part in _parts(reader, folder, name)]
        manifest = Manifest(datetime.now(UTC), parts)
        # Written last: a folder without it is no backup.
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}") from error
    return manifest


def _parts(reader: Reader, folder: Path, table: str) -> Iterator[Part]:
    [size] = reader.rows(
        f"SELECT count() AS n, sum(byteSize(*)) AS bytes FROM tacho.{table}"  # noqa: S608 - our names
    )
    slices = int(size["bytes"] or 0) // FILE_BYTES + 1 if int(size["n"]) else 0
    key = TABLES[table].order_by.strip("()")
    for number in range(slices):
        sql = f"SELECT * FROM tacho.{table} WHERE cityHash64({key}) % {slices} = {number}"  # noqa: S608
        file = f"{table}.{number:04d}.parquet"
        digest = hashlib.sha256()
        with (folder / file).open("wb") as sink:
            for piece in reader.stream(sql, {}, "Parquet"):
                digest.update(piece)
                sink.write(piece)
        rows = pq.read_metadata(folder / file).num_rows
        yield Part(table, file, rows, digest.hexdigest())


def read(folder: Path) -> Manifest:
    """The manifest, once every file of it is what it was. Raises ConfigError, Refused."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise ConfigError(f"{folder} is no backup: no {MANIFEST} can be read") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{folder / MANIFEST}: {error}") from error
    for part in manifest.parts:
        if part.table not in KNOWN or Path(part.file).name != part.file:
            raise Refused(f"{MANIFEST} names {part.file!r} for {part.table!r}: no table of ours")
    for part in manifest.parts:
        if _sha256(folder / part.file) != part.sha256:
            raise Refused(f"{part.file} is not what was backed up: nothing was put back")
    return manifest


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Refused(f"{path.name} cannot be read: nothing was put back") from error


def put_back(connection: Connection, folder: Path, manifest: Manifest) -> None:
    """Insert the rows of a backup that `read` has checked. Raises Refused, RetryLater."""
    for part in manifest.parts:
        if part.table in ROLL_UPS:
            continue
        path = folder / part.file
        columns = pq.read_schema(path).names
        known = {column.name for column in TABLES[part.table].columns}
        if more := sorted(set(columns) - known):
            raise Refused(f"{part.file}: this version has no column {', '.join(more)}")
        connection.insert(part.table, columns, path.read_bytes(), form="Parquet")
