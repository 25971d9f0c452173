"""Embedded ClickHouse for this folder's tests: empty, and with all migrations applied."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.store.clickhouse import Connection
from tests import warehouse


@pytest.fixture(scope="module", params=warehouse.KINDS)
def writer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClickHouseSettings]:
    """Settings of the writer of an empty server: the embedded one, and a real one if there is."""
    with warehouse.served(request.param, tmp_path_factory.mktemp("clickhouse")) as server:
        yield warehouse.writer_of(server)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A writer's connection to a server with all tables, which nobody changes."""
    with (
        warehouse.migrated(Path(tmp_path_factory.mktemp("migrated"))) as server,
        Connection(warehouse.writer_of(server)) as connection,
    ):
        yield connection
