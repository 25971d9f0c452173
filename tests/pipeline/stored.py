"""Fixtures: an embedded ClickHouse with all tables, one a module, and ways to fill and ask it."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pytest

from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.pending import Pending
from tachograph.pipeline.store.records import Origin
from tachograph.pipeline.store.sink import Sink
from tachograph.schemas import batch, codec
from tachograph.schemas.alert import Alert, Signal
from tests.warehouse import migrated, writer_of

Ask = Callable[[str], list[tuple[Any, ...]]]
Store = Callable[[pl.DataFrame | list[Signal] | list[Alert]], None]


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseSettings]:
    """A migrated server, as its writer reaches it."""
    with migrated(tmp_path_factory.mktemp("clickhouse")) as server:
        yield writer_of(server)


@pytest.fixture(scope="module")
def ask(clickhouse: ClickHouseSettings) -> Iterator[Ask]:
    """Rows of a query."""
    with Connection(clickhouse) as connection:
        yield connection.rows


@pytest.fixture(scope="module")
def store(
    clickhouse: ClickHouseSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """Stores actions, signals or alerts, as the store stage does."""
    settings = Settings(
        kafka=KafkaSettings(bootstrap="127.0.0.1:9"),
        clickhouse=clickhouse,
        home=tmp_path_factory.mktemp("home"),
    )
    sink = Sink(settings, stopping=lambda: True)
    offsets = iter(range(1 << 30))

    def put(items: pl.DataFrame | list[Signal] | list[Alert]) -> None:
        pending = Pending(clock=lambda: 0, redact=lambda text: text, tenant="default")
        if isinstance(items, list):
            for item in items:
                kind = "signal" if isinstance(item, Signal) else "alert"
                origin = Origin((f"agent.{kind}s", 0), next(offsets), codec.encode(item))
                pending.add(origin, kind, 0.0)
        else:
            origin = Origin(("agent.actions", 0), next(offsets), batch.encode(items))
            pending.add(origin, "action_batch", 0.0)
        sink.store(pending)

    yield put
    sink.close()


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"
