"""A ClickHouse with all tables, one a module, and a log of records with their notary and store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tachograph.pipeline.notarize.leaves import LOGS
from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.pipeline.store.clickhouse import Connection
from tests.pipeline.notarize.evidence import TOPICS
from tests.warehouse import migrated, writer_of


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseSettings]:
    """A migrated server, as its writer reaches it."""
    with migrated(tmp_path_factory.mktemp("clickhouse")) as server:
        yield writer_of(server)


@pytest.fixture
def connection(clickhouse: ClickHouseSettings) -> Iterator[Connection]:
    """A connection with every right on the tables."""
    with Connection(clickhouse) as found:
        yield found


@pytest.fixture
def broker() -> Iterator[MockBroker]:
    """A broker of this test: a cluster that nobody else knows."""
    with MockBroker(2, TOPICS) as found:
        yield found


@pytest.fixture
def live(
    clickhouse: ClickHouseSettings, connection: Connection, broker: MockBroker, tmp_path: Path
) -> Settings:
    """Settings with that broker, and empty tables: the name of its cluster may come again."""
    for table in (*LOGS.values(), "leaves_log", "tree_heads_log"):
        connection.command(f"TRUNCATE TABLE tacho.{table}")
    return Settings(
        kafka=KafkaSettings(bootstrap=broker.bootstrap_servers),
        clickhouse=clickhouse,
        home=tmp_path / "home",
    )
