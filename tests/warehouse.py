"""ClickHouse with all tables: they are made once a run, and every server begins with a copy."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tachograph.pipeline.migrate import Layout, apply
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.store.clickhouse import Connection
from tests.hung import SHARED_FOLDER


@contextmanager
def migrated(folder: Path) -> Iterator[EmbeddedClickHouse]:
    """A server of its own on `folder`, with all tables and no rows."""
    lay_tables(folder)
    with EmbeddedClickHouse(folder) as server:
        yield server


def lay_tables(folder: Path) -> None:
    """Put the files of a migrated server there, before one is started on it."""
    shutil.copytree(
        _tables(Path(os.environ[SHARED_FOLDER])), folder, symlinks=True, dirs_exist_ok=True
    )


def writer_of(server: EmbeddedClickHouse) -> ClickHouseSettings:
    """How its writer reaches a server."""
    return ClickHouseSettings(
        url=server.url, user=server.writer_user, password=server.writer_password
    )


def _tables(shared: Path) -> Path:
    """The files of a server that was migrated and stopped; made by the first who asks."""
    made = shared / "tables"
    with (shared / "tables.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            begun = shared / "tables.begun"
            shutil.rmtree(begun, ignore_errors=True)
            with EmbeddedClickHouse(begun) as server, Connection(writer_of(server)) as connection:
                apply(connection, Layout())
            begun.rename(made)
    return made
