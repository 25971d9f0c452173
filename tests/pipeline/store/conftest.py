"""An embedded ClickHouse with all tables, one a test module; each test has its own tenant."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest

from tachograph.pipeline.settings import KafkaSettings, Settings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.store.sink import Sink
from tests.warehouse import migrated, writer_of

Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """A migrated server."""
    with migrated(tmp_path_factory.mktemp("clickhouse")) as found:
        yield found


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def settings(server: EmbeddedClickHouse, tmp_path: Path, tenant: str) -> Settings:
    """Settings with a broker that is not there: for tests that need none."""
    return Settings(
        kafka=KafkaSettings(bootstrap="127.0.0.1:9"),
        clickhouse=writer_of(server),
        home=tmp_path / "home",
        tenant=tenant,
    )


@pytest.fixture
def sink(settings: Settings) -> Iterator[Sink]:
    """A sink that gives up at the first error, so that a test ends."""
    sink = Sink(settings, stopping=lambda: True)
    yield sink
    sink.close()


@pytest.fixture
def ask(server: EmbeddedClickHouse) -> Iterator[Ask]:
    """Questions as an analyst puts them: anonymous, plain SELECTs."""
    url = server.url.removeprefix("http://")
    host, port = url.split(":")
    client = clickhouse_connect.get_client(host=host, port=int(port))
    yield lambda query: [tuple(row) for row in client.query(query).result_rows]
    client.close()
