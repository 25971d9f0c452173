"""One embedded ClickHouse for all tests of a module: starting the engine is most of their time."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import clickhouse_connect
import httpx
import pytest

from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tests.waiting import WAIT_S


@dataclass(frozen=True)
class Door:
    """The server and the ways in."""

    server: EmbeddedClickHouse
    http: httpx.Client

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    @property
    def auth(self) -> tuple[str, str]:
        return (self.server.writer_user, self.server.writer_password)

    def reader(self, **options: Any) -> Any:
        return clickhouse_connect.get_client(host="127.0.0.1", port=self.port, **options)

    def writer(self, **options: Any) -> Any:
        user, password = self.auth
        return self.reader(username=user, password=password, **options)

    def ask(self, sql: str | bytes, **params: str) -> httpx.Response:
        """As anyone."""
        return self.http.post("/", params=params, content=sql)

    def do(self, sql: str | bytes, **params: str) -> httpx.Response:
        """As the writer."""
        return self.http.post("/", params=params, content=sql, auth=self.auth)

    def table(self, columns: str = "a UInt64, s String", rows: str = "") -> str:
        """A new table, with rows if `rows` is a SELECT."""
        name = f"t{uuid.uuid4().hex}"
        made = self.do(f"CREATE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY tuple()")
        assert made.status_code == 200, made.text
        if rows:
            filled = self.do(f"INSERT INTO {name} {rows}")
            assert filled.status_code == 200, filled.text
        return name


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    path = tmp_path_factory.mktemp("clickhouse") / "clickhouse"
    with (
        EmbeddedClickHouse(path) as server,
        httpx.Client(base_url=server.url, timeout=WAIT_S) as http,
    ):
        yield Door(server, http)
