"""What the stages stand on: a home for one `tacho up`, stand-ins that are looked after."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.up.embedded import StandIns, alone
from tests.waiting import eventually


@pytest.fixture
def standins() -> Iterator[StandIns]:
    with contextlib.closing(StandIns()) as made:
        yield made


def _kill(pid: int, gone: Callable[[], bool]) -> None:
    os.kill(pid, signal.SIGKILL)
    eventually(gone, "it has gone")


def test_a_home_is_one_ups_alone_and_free_when_that_has_gone(tmp_path: Path) -> None:
    with (
        alone(tmp_path),
        pytest.raises(ConfigError, match=rf"{os.getpid()}.*TACHO_HOME"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc")):
        with pytest.raises(ConfigError, match=f"TACHO_HOME: {home} cannot be"), alone(home):
            pass


def test_clickhouse_that_died_is_started_again_with_what_it_held(
    standins: StandIns, tmp_path: Path
) -> None:
    engine = standins.clickhouse(tmp_path, port=0)

    def connect() -> Client:
        return clickhouse_connect.get_client(
            dsn=engine.url, username=engine.writer_user, password=engine.writer_password
        )

    client = connect()
    client.command("CREATE TABLE kept (n UInt8) ENGINE = MergeTree ORDER BY n")
    client.command("INSERT INTO kept VALUES (7)")
    standins.revive()
    assert engine.alive(), "what runs is left alone"
    _kill(engine.pid, lambda: not engine.alive())
    standins.revive()
    assert connect().query("SELECT n FROM kept").result_rows == [(7,)]


def test_a_broker_that_died_is_the_end_and_it_says_why(standins: StandIns) -> None:
    broker = standins.broker()

    def ended() -> bool:
        return standins.broker_ended

    standins.revive()
    assert not ended()
    _kill(broker.pid, lambda: not broker.alive())
    assert ended()
    with pytest.raises(RetryLater, match="start `tacho up` again"):
        standins.revive()
