"""An embedded ClickHouse with all tables, one a test module; each test has its own tenant."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest

from tachograph.pipeline.settings import KafkaSettings, Settings
from tachograph.pipeline.store.sink import Sink
from tests.warehouse import KINDS, Server, laid, reader_of, writer_of

Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A migrated server: the embedded one, and a real one where there is one."""
    with laid(request.param, tmp_path_factory.mktemp("clickhouse")) as found:
        yield found


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def settings(server: Server, tmp_path: Path, tenant: str) -> Settings:
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
def ask(server: Server) -> Iterator[Ask]:
    """Questions as an analyst puts them: plain SELECTs, without a name where that is enough."""
    reader = reader_of(server)
    host, port = reader.url.removeprefix("http://").split(":")
    client = clickhouse_connect.get_client(
        host=host, port=int(port), username=reader.user, password=reader.password
    )
    yield lambda query: [tuple(row) for row in client.query(query).result_rows]
    client.close()
