"""ClickHouse with all tables, or more: made once a run, and every server begins with a copy."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from tachograph.pipeline.migrate import Layout, apply
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.store.clickhouse import Connection
from tests import real_clickhouse
from tests.hung import BEGAN, SHARED_FOLDER
from tests.real_clickhouse import RealClickHouse

# What tests know of a server, whichever it is.
Server = EmbeddedClickHouse | RealClickHouse
# For fixtures that give each in turn.
KINDS = real_clickhouse.kinds()


@contextmanager
def served(kind: str, folder: Path) -> Iterator[Server]:
    """A server of this kind without our database."""
    if kind == "real":
        with real_clickhouse.real(folder) as real:
            yield real
        return
    with EmbeddedClickHouse(folder) as embedded:
        yield embedded


@contextmanager
def laid(kind: str, folder: Path) -> Iterator[Server]:
    """A server of this kind with all tables and no rows."""
    if kind == "real":
        with real_clickhouse.migrated(folder) as real:
            yield real
        return
    with migrated(folder) as embedded:
        yield embedded


@contextmanager
def migrated(folder: Path) -> Iterator[EmbeddedClickHouse]:
    """A server of its own on `folder`, with all tables and no rows."""
    lay_tables(folder)
    with EmbeddedClickHouse(folder) as server:
        yield server


def lay_tables(folder: Path) -> None:
    """Put the files of a migrated server there, before one is started on it."""
    lay("tables", _migrate, folder)


def lay(name: str, make: Callable[[Path], None], folder: Path) -> None:
    """Put the files of a server there that `make` filled and stopped: once a run, by the first who
    asks.
    """
    made = _made(Path(os.environ[SHARED_FOLDER]), name, make)
    shutil.copytree(made, folder, symlinks=True, dirs_exist_ok=True)


@cache
def run_began() -> datetime:
    """When this run of tests began, whichever of its processes asks."""
    return datetime.fromtimestamp((Path(os.environ[SHARED_FOLDER]) / BEGAN).stat().st_mtime, UTC)


def reader_of(server: Server) -> ClickHouseSettings:
    """How a reader reaches it: the embedded one without a name."""
    if isinstance(server, RealClickHouse):
        return server.settings
    return ClickHouseSettings(url=server.url)


def environment(settings: ClickHouseSettings) -> dict[str, str]:
    """The same for a process that is told by its environment."""
    return {
        "CLICKHOUSE_URL": settings.url,
        "CLICKHOUSE_USER": settings.user,
        "CLICKHOUSE_PASSWORD": settings.password,
    }


def writer_of(server: Server) -> ClickHouseSettings:
    """How its writer reaches a server."""
    return ClickHouseSettings(
        url=server.url, user=server.writer_user, password=server.writer_password
    )


def _migrate(folder: Path) -> None:
    with EmbeddedClickHouse(folder) as server, Connection(writer_of(server)) as connection:
        apply(connection, Layout())


def _made(shared: Path, name: str, make: Callable[[Path], None]) -> Path:
    made = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            begun = shared / f"{name}.begun"
            shutil.rmtree(begun, ignore_errors=True)
            make(begun)
            begun.rename(made)
    return made
