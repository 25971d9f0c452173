"""The embedded ClickHouse as a process: start, stop, death, data, secrets."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.standins import child, clickhouse_errors
from tachograph.pipeline.standins.child import Child
from tachograph.pipeline.standins.clickhouse import (
    SECRET_FILE,
    SECRET_VARIABLE,
    EmbeddedClickHouse,
    new_secret,
)
from tachograph.pipeline.standins.clickhouse_held import HELD_FILE, held, verb_of
from tests.pipeline.standins.conftest import Door
from tests.waiting import WAIT_S, eventually


def _do(server: EmbeddedClickHouse, sql: str) -> str:
    auth = (server.writer_user, server.writer_password)
    answer = httpx.post(server.url, content=sql, auth=auth, timeout=WAIT_S)
    assert answer.status_code == 200, answer.text
    return answer.text


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_acknowledged_rows_survive_kill_9_in_every_database(tmp_path: Path) -> None:
    with EmbeddedClickHouse(tmp_path / "ch") as server:
        _do(server, "CREATE DATABASE tacho")
        for database in ("tacho", "default"):
            _do(server, f"CREATE TABLE {database}.t (a UInt64) ENGINE = MergeTree ORDER BY a")
        for row in range(20):
            _do(server, f"INSERT INTO tacho.t VALUES ({row})")
        _do(server, "INSERT INTO default.t VALUES (1)")
        os.kill(server.pid, signal.SIGKILL)
    for _ in range(2):  # the second start must not find less than the first
        with EmbeddedClickHouse(tmp_path / "ch") as server:
            assert _do(server, "SELECT count(), sum(a) FROM tacho.t") == "20\t190\n"
            assert _do(server, "SELECT count() FROM default.t") == "1\n"


def test_a_database_whose_default_is_empty_opens_again_and_again(tmp_path: Path) -> None:
    with EmbeddedClickHouse(tmp_path / "ch") as server:
        _do(server, "CREATE DATABASE tacho")
        _do(server, "CREATE TABLE tacho.t (a UInt64) ENGINE = MergeTree ORDER BY a")
        _do(server, "INSERT INTO tacho.t VALUES (7)")
    for _ in range(2):
        with EmbeddedClickHouse(tmp_path / "ch") as server:
            assert _do(server, "SELECT a FROM tacho.t") == "7\n"


def test_a_second_process_on_the_same_path_is_told_who_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/tacho", "query", "SELECT 'secret'"])
    with EmbeddedClickHouse(tmp_path / "ch") as server:
        note = (tmp_path / "ch" / HELD_FILE).read_text()
        assert note == f"tacho query, process {server.pid}"
        second = held(tmp_path / "ch", "tacho clickhouse", wait_s=0)
        with pytest.raises(ConfigError, match=f"open in another process .{note}.*after 0 s"):
            second.__enter__()
    with held(tmp_path / "ch", "tacho clickhouse", wait_s=0):
        pass


def test_who_comes_second_waits_for_a_question_that_ends(tmp_path: Path) -> None:
    first = contextlib.ExitStack()
    first.enter_context(held(tmp_path, "tacho query"))
    looked: list[float] = []

    def sleep(for_s: float) -> None:
        looked.append(for_s)
        if len(looked) == 3:
            first.close()

    with held(tmp_path, "tacho clickhouse", clock=lambda: sum(looked), sleep=sleep):
        assert len(looked) == 3


def test_a_question_in_its_way_is_named_by_its_verb_alone() -> None:
    assert verb_of(["/venv/bin/tacho", "query", "SELECT 1"]) == "tacho query"
    assert verb_of(["/venv/bin/tacho", "--help"]) == verb_of(["python", "x"]) == "another program"


def test_a_child_that_says_nothing_is_told_of_with_what_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RetryLater, match="it ended with code 0; its reason is on standard error"):
        Child("colorsys", [], {})
    monkeypatch.setattr(child, "START_TIMEOUT_S", 0.0)
    with pytest.raises(RetryLater, match=r"waited for 0 s and had \d+\.\d s of a processor"):
        Child("json.tool", [], {})  # waits for input


def test_a_port_in_use_names_the_option(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port} .*--my-port"):
            EmbeddedClickHouse(tmp_path / "ch", port=port, port_option="--my-port")


def test_the_server_ends_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib\n"
        "from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse\n"
        "server = EmbeddedClickHouse(pathlib.Path(sys.argv[1]))\n"
        "print(server.pid, flush=True)\n"
        "os._exit(1)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "ch")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    eventually(lambda: _gone(int(run.stdout)), "the server ends")


def test_stopping_waits_for_no_reader(tmp_path: Path) -> None:
    with EmbeddedClickHouse(tmp_path / "ch") as server:
        port = int(server.url.rpartition(":")[2])
        body = "SELECT count() FROM system.numbers"
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall((head + body).encode())
            while body not in _do(server, "SELECT query FROM system.processes"):
                time.sleep(0.02)
            os.kill(server.pid, signal.SIGTERM)
            server.close()
    assert server.exit_code == 0, "it was killed instead of stopping"


def test_the_secret_is_new_each_run_and_for_our_eyes_only(tmp_path: Path) -> None:
    first = new_secret(tmp_path / "clickhouse")
    second = new_secret(tmp_path / "clickhouse")
    file = tmp_path / SECRET_FILE
    assert first != second
    assert file.read_text() == second
    assert file.stat().st_mode & 0o777 == 0o600


def test_without_a_secret_from_outside_the_process_makes_one(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != SECRET_VARIABLE}
    command = [sys.executable, "-m", "tachograph.pipeline.standins.clickhouse", "--port=0"]
    with subprocess.Popen(
        [*command, f"--path={tmp_path / 'ch'}", "--parent-pipe"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        url = re.findall(rb'"url": "([^"]+)"', process.stdout.readline())[0].decode()
        secret = (tmp_path / SECRET_FILE).read_text()
        answer = httpx.post(
            url, content="CREATE DATABASE d", auth=("tacho", secret), timeout=WAIT_S
        )
        assert answer.status_code == 200
        process.terminate()


def test_the_secret_stands_in_no_table_and_no_setting(door: Door) -> None:
    for table in ("processes", "settings", "server_settings", "users", "user_processes"):
        answer = door.ask(f"SELECT * FROM system.{table} FORMAT JSONEachRow")
        assert door.server.writer_password not in answer.text


def test_its_limits_are_stated(door: Door) -> None:
    text = " ".join(door.server.limits)
    for fact in ("no replication", "can change nothing", "1,000,000 rows", "30 s"):
        assert fact in text


def test_our_names_of_errors_are_those_of_the_engine(door: Door) -> None:
    ours = clickhouse_errors.NAMES
    codes = ", ".join(map(str, ours))
    sql = f"SELECT groupArray(errorCodeToName(arrayJoin([{codes}])))"
    assert json.loads(door.ask(f"{sql} FORMAT JSONCompact").text)["data"][0][0] == [*ours.values()]
