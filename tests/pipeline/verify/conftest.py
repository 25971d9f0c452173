"""A ClickHouse with all tables, one a module."""

from collections.abc import Iterator

import pytest

from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.store.clickhouse import Connection
from tests.warehouse import migrated, writer_of


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseSettings]:
    """A migrated server, as its writer reaches it."""
    with migrated(tmp_path_factory.mktemp("clickhouse")) as server:
        yield writer_of(server)


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
