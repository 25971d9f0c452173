"""Actions to learn from, in frames: files, or what ClickHouse has."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tachograph.detectors.behaviour.rows import ASKED
from tachograph.pipeline.backtest.actions import StoredActions
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize.formats.registry import Formats
from tachograph.pipeline.query.place import served
from tachograph.pipeline.scan.feed import Feeder, feeder
from tachograph.pipeline.scan.inputs import Chunk, as_lines, chunks, detect
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.schemas.records import SessionLink


class Given(NamedTuple):
    """Some actions. `done`: the share of the source that has been read by now; `reached`: no
    earlier action comes any more (None: one may).
    """

    frame: pl.DataFrame
    links: list[SessionLink]
    done: float
    reached: datetime | None = None


def from_files(paths: Sequence[Path], settings: Settings) -> Iterator[Given]:
    """Files that `tacho scan` reads actions of. Raises ConfigError."""
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path} is no file")
    total = sum(path.stat().st_size for path in paths) or 1
    before = 0
    for path in paths:
        made_by: Feeder | None = None
        for found in chunks(path):
            chunk = as_lines(found)
            made_by = made_by or _feeder(path, chunk, settings)
            fed = made_by.feed(chunk)
            yield Given(fed.frame, fed.links, (before + chunk.position) / total)
        before += path.stat().st_size


def _feeder(path: Path, chunk: Chunk, settings: Settings) -> Feeder:
    formats = Formats()
    kind = detect(chunk.lines, formats)
    if kind == "raw":
        raise ConfigError(f"{path} holds no actions and nothing that actions are made of")
    return feeder(kind, settings.home, settings.tenant, None, formats=formats, path=path)


def from_store(since: datetime, until: datetime, settings: Settings) -> Iterator[Given]:
    """What ClickHouse has of a stretch of time. Raises RetryLater, Refused."""
    length_s = (until - since).total_seconds() or 1.0
    with served(settings) as place, Connection(place, reads_only=True) as connection:
        for frame, upto in StoredActions(connection, ASKED).pages(since, until):
            yield Given(frame, [], (upto - since).total_seconds() / length_s, upto)
