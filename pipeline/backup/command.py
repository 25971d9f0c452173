"""`tacho backup FOLDER` and `tacho restore FOLDER`."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tachograph.pipeline.settings import ClickHouseSettings

Folder = Annotated[Path, typer.Argument(help="folder of the backup")]


def backup(
    folder: Folder,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="actions, signals, dead letters and health too")
    ] = False,
) -> None:
    """Alerts, incidents, captured states, directives, what people said and the evidence, as Parquet
    files with their hashes. The pipeline may run meanwhile.
    """
    from tachograph.pipeline.backup import files
    from tachograph.pipeline.query.place import served
    from tachograph.pipeline.query.reader import Reader
    from tachograph.pipeline.settings import Settings

    with served(Settings.from_env()) as place, Reader(place) as reader:
        made = files.write(reader, folder, files.tables(everything=everything))
    tables = len({part.table for part in made.parts})
    typer.echo(f"{made.rows:,} rows of {tables} tables in {folder}")


def restore(folder: Folder) -> None:
    """Put a backup back into ClickHouse: all of it, or nothing where a file was changed. Tables are
    made first. Rows that are there already stay once.
    """
    from tachograph.pipeline.backup import files
    from tachograph.pipeline.migrate import Layout, apply
    from tachograph.pipeline.store.clickhouse import Connection

    manifest = files.read(folder)
    with _writable() as place, Connection(place) as connection:
        apply(connection, Layout.from_env(os.environ))
        files.put_back(connection, folder, manifest)
    tables = len({part.table for part in manifest.parts})
    typer.echo(f"{manifest.rows:,} rows of {tables} tables put back")


@contextlib.contextmanager
def _writable() -> Iterator["ClickHouseSettings"]:
    """The server that is named, else the embedded one of this home. Raises ConfigError."""
    from tachograph.pipeline.errors import ConfigError
    from tachograph.pipeline.settings import CLICKHOUSE_FILE, ClickHouseSettings, Settings
    from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse

    settings = Settings.from_env()
    if "CLICKHOUSE_URL" in os.environ:
        yield settings.clickhouse
        return
    if (settings.home / CLICKHOUSE_FILE).is_file():
        raise ConfigError(f"stop `tacho up` on {settings.home} first: it alone writes there")
    with EmbeddedClickHouse(settings.home / "clickhouse") as engine:
        yield ClickHouseSettings(
            url=engine.url, user=engine.writer_user, password=engine.writer_password
        )
