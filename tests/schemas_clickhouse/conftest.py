"""An embedded ClickHouse with all migrations applied, one for this folder's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tachograph.pipeline.migrate import Layout, apply
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.store.clickhouse import Connection


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseSettings]:
    """Settings of the writer of an empty server."""
    with EmbeddedClickHouse(Path(tmp_path_factory.mktemp("clickhouse"))) as server:
        yield ClickHouseSettings(
            url=server.url, user=server.writer_user, password=server.writer_password
        )


@pytest.fixture(scope="module")
def migrated(writer: ClickHouseSettings) -> Iterator[Connection]:
    """A writer's connection to a server with all tables."""
    with Connection(writer) as connection:
        apply(connection, Layout())
        yield connection
