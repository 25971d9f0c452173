"""A ClickHouse server that is none of ours, for tests that run against it and the embedded one.

One that is named: TACHO_TEST_CLICKHOUSE=http://user:password@host:port. It must have no database
`tacho`: that is made and dropped. Else the newest thing on PATH, `clickhouse` or
`clickhouse-server`, started on loopback for a module and ended. Without either, or where it is too
old for the tables, there are no such tests, but one that says why (test_real_clickhouse.py).
"""

import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.migrate import Layout, apply
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.store.clickhouse import Connection, new_enough
from tests.hung import SHARED_FOLDER
from tests.waiting import WAIT_S

VARIABLE = "TACHO_TEST_CLICKHOUSE"
_CONFIG = """<?xml version="1.0"?>
<{root}>
    <logger><level>warning</level><console>1</console></logger>
    <listen_host>127.0.0.1</listen_host>
    <http_port>{http}</http_port>
    <tcp_port>{tcp}</tcp_port>
    <path>{folder}/data/</path>
    <tmp_path>{folder}/tmp/</tmp_path>
    <user_files_path>{folder}/files/</user_files_path>
    <format_schema_path>{folder}/schemas/</format_schema_path>
    <users_config>{folder}/config.xml</users_config>
    <mark_cache_size>268435456</mark_cache_size>
    <profiles><default/></profiles>
    <users><default>
        <password/>
        <networks><ip>127.0.0.1</ip></networks>
        <profile>default</profile>
        <quota>default</quota>
    </default></users>
    <quotas><default/></quotas>
</{root}>
"""
# Since then a configuration is no longer called after the first owner.
_RENAMED = 22


@dataclass(frozen=True)
class RealClickHouse:
    """A server as tests know the embedded one. Who reads is who writes."""

    url: str
    writer_user: str = "default"
    writer_password: str = ""

    @property
    def settings(self) -> ClickHouseSettings:
        """How it is reached."""
        return ClickHouseSettings(
            url=self.url, user=self.writer_user, password=self.writer_password
        )

    @property
    def version(self) -> str:
        """What it says of itself. Raises HTTPError."""
        asked = httpx.get(
            self.url, params={"query": "SELECT version()"},
            auth=(self.writer_user, self.writer_password), timeout=WAIT_S,
        )  # fmt: skip
        return asked.raise_for_status().text.strip()


@cache
def missing() -> str:
    """Why there is no real server for tests; empty where there is one."""
    try:
        if named := _named():
            new_enough(named.version)
        elif program := _program():
            new_enough(version_of(program))
        else:
            return f"no clickhouse on PATH, and {VARIABLE} names no server"
    except (ConfigError, httpx.HTTPError) as error:
        return str(error)
    return ""


def kinds() -> list[str]:
    """The servers that tests run against."""
    return ["embedded"] if missing() else ["embedded", "real"]


@contextmanager
def real(folder: Path) -> Iterator[RealClickHouse]:
    """The server that is named, for one module at a time; else one that is started for it."""
    named = _named()
    if named is None:
        with started(_program() or [], folder) as server:
            yield server
        return
    with (Path(os.environ[SHARED_FOLDER]) / "clickhouse.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Connection(named.settings) as connection:
            if connection.rows("SELECT 1 FROM system.databases WHERE name = 'tacho'"):
                raise ConfigError(f"{VARIABLE}: there is a database tacho, and tests would drop it")
            try:
                yield named
            finally:
                connection.command("DROP DATABASE IF EXISTS tacho SYNC")


@contextmanager
def started(program: list[str], folder: Path) -> Iterator[RealClickHouse]:
    """A server of this program with a configuration, ports and a folder of its own."""
    major = version_of(program).partition(".")[0]
    root = "clickhouse" if major.isdigit() and int(major) >= _RENAMED else "yandex"
    http, tcp = _free_ports()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.xml"
    config.write_text(_CONFIG.format(root=root, http=http, tcp=tcp, folder=folder), "utf-8")
    server = RealClickHouse(f"http://127.0.0.1:{http}")
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*program, f"--config-file={config}"], cwd=folder, stdout=log, stderr=log
        )
    try:
        _await_answer(server, process, folder / "server.log")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def migrated(folder: Path) -> Iterator[RealClickHouse]:
    """The same with all tables and no rows."""
    with real(folder) as server:
        with Connection(server.settings) as connection:
            apply(connection, Layout())
        yield server


def version_of(program: list[str]) -> str:
    """`ClickHouse server version 26.3.1.1 (official build).` → 26.3.1.1; the oldest do not say."""
    said = subprocess.run(
        [*program, "--version"], capture_output=True, text=True, check=False, timeout=WAIT_S
    )
    words = said.stdout.partition("version ")[2].split()
    return words[0].rstrip(".") if words else "of no known version"


def _named() -> RealClickHouse | None:
    found = urlsplit(os.environ.get(VARIABLE, ""))
    if not found.hostname:
        return None
    return RealClickHouse(
        f"{found.scheme}://{found.hostname}:{found.port or 8123}",
        unquote(found.username or "default"),
        unquote(found.password or ""),
    )


def _program() -> list[str] | None:
    if one := shutil.which("clickhouse"):
        return [one, "server"]
    one = shutil.which("clickhouse-server")
    return [one] if one else None


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        return a.getsockname()[1], b.getsockname()[1]


def _await_answer(server: RealClickHouse, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if server.version:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    said = log.read_text("utf-8", "replace")[-2_000:]
    raise AssertionError(f"the server does not answer: {said}")
