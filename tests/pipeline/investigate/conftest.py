"""The world that is investigated."""

from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.verbs import app
from tests.pipeline.world import world, world_server, world_writer
from tests.warehouse import environment

__all__ = ["reader", "tacho", "world", "world_server", "world_writer"]

Tacho = Callable[..., Result]


@pytest.fixture(scope="module")
def reader(world: ClickHouseSettings) -> Iterator[Reader]:
    """A reader of the world."""
    with Reader(world) as reader:
        yield reader


@pytest.fixture
def tacho(world: ClickHouseSettings) -> Tacho:
    """`tacho …` over the world."""

    def run(*words: str) -> Result:
        asked = {**environment(world), "COLUMNS": "140"}
        return CliRunner().invoke(app, list(words), env=asked)

    return run
