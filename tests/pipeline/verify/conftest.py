"""A ClickHouse with all tables, one a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tachograph.pipeline.migrate import Layout, apply
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.store.clickhouse import Connection


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseSettings]:
    """A migrated server, as its writer reaches it."""
    with EmbeddedClickHouse(Path(tmp_path_factory.mktemp("clickhouse"))) as embedded:
        settings = ClickHouseSettings(
            url=embedded.url, user=embedded.writer_user, password=embedded.writer_password
        )
        with Connection(settings) as connection:
            apply(connection, Layout())
        yield settings


@pytest.fixture(scope="module")
def owner(clickhouse: ClickHouseSettings) -> Iterator[Connection]:
    """A connection with every right on the tables."""
    with Connection(clickhouse) as found:
        yield found


@pytest.fixture(scope="module")
def reader(clickhouse: ClickHouseSettings) -> Iterator[Connection]:
    """A connection that may only read, within limits."""
    with Connection(ClickHouseSettings(url=clickhouse.url), reads_only=True) as found:
        yield found
