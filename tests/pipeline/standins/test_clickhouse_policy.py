"""The fences for readers, one by one, and the two small keepers of time and memory."""

import threading
from typing import Any

import pytest

from tachograph.pipeline.standins import clickhouse_policy as policy
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError
from tachograph.pipeline.standins.clickhouse_guard import MemoryGuard
from tachograph.pipeline.standins.clickhouse_limits import MAX_SESSIONS, ReaderLimits
from tachograph.pipeline.standins.clickhouse_sessions import Sessions
from tests.pipeline.standins.conftest import Door


def test_grants_alone_keep_even_the_writer_from_sources(door: Door) -> None:
    for source in ("file('/etc/hostname')", "url('http://127.0.0.1:1/x', 'CSV', 'a String')"):
        answer = door.do(f"SELECT * FROM {source}")
        assert answer.headers["x-clickhouse-exception-code"] == "497", answer.text
    grants = door.do("SHOW GRANTS").text
    assert not {"SOURCES", "FILE", "URL", "REMOTE", "ACCESS MANAGEMENT"} & set(grants.split())


def test_a_table_function_that_nobody_judged_is_forbidden(door: Door) -> None:
    names = door.ask("SELECT name FROM system.table_functions").text.splitlines()
    forbidden = policy.forbidden_functions([*names, "brandNewSource"])
    assert {"file", "url", "s3", "executable", "python", "eval", "brandnewsource"} <= forbidden
    assert "numbers" not in forbidden
    unknown = policy.SAFE_TABLE_FUNCTIONS - {name.lower() for name in names}
    assert unknown == set(), "a name in the list that the engine does not have is a typing error"


def test_unsafe_functions_are_spelled_as_the_engine_spells_them(door: Door) -> None:
    known = {name.lower() for name in door.ask("SELECT name FROM system.functions").text.split()}
    assert policy.UNSAFE_FUNCTIONS - known <= {"catboostevaluate", "addresstolinewithinlines"}


def test_reader_settings_name_no_path_and_no_server(door: Door) -> None:
    names = door.ask("SELECT name FROM system.settings").text.splitlines()
    allowed = [name for name in names if policy.READER_SETTINGS.fullmatch(name)]
    assert len(allowed) > 50
    for part in ("path", "schema", "template", "file", "url", "registry", "readonly"):
        assert not [name for name in allowed if part in name], part


def test_limits_are_only_lowered() -> None:
    limits = ReaderLimits()
    merged = policy.reader_settings({"max_threads": "1"}, limits)
    assert merged["max_threads"] == "1"
    for value in ("0", "-1", "3", "1e9", "²", ""):
        with pytest.raises(ClickHouseError, match="readonly mode"):
            policy.reader_settings({"max_threads": value}, limits)


class Connection:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def _sessions(clock: list[float]) -> tuple[Sessions, list[Connection]]:
    made: list[Connection] = []

    def connect() -> Any:
        made.append(Connection())
        return made[-1]

    return Sessions(connect, lambda: clock[0]), made


def test_a_session_lasts_until_it_was_idle_for_its_timeout() -> None:
    clock = [0.0]
    sessions, made = _sessions(clock)
    for moment in (0.0, 9.0, 18.0):
        clock[0] = moment
        with sessions.lease("a", 10, ()) as connection:
            assert connection is made[0]
    clock[0] = 28.1
    with sessions.lease("a", 10, ()) as connection:
        assert connection is made[1]
    assert made[0].closed


def test_sessions_are_bounded_and_a_busy_one_is_never_dropped() -> None:
    clock = [0.0]
    sessions, made = _sessions(clock)
    with sessions.lease("busy", 1, ()):
        for number in range(MAX_SESSIONS + 5):
            clock[0] += 0.001
            with sessions.lease(f"s{number}", 1000, ()):
                pass
        assert not made[0].closed
    assert sum(not connection.closed for connection in made) == MAX_SESSIONS
    sessions.close()
    assert all(connection.closed for connection in made)


def test_the_guard_stops_what_it_watches_when_the_process_grows() -> None:
    size, stopped, told = [100], threading.Event(), []

    def cancel(tag: str) -> None:
        told.append(tag)
        stopped.set()

    guard = MemoryGuard(1_000, cancel, lambda: size[0])

    def grow() -> None:
        with guard.watch("mine"):
            size[0] = 1_101
            assert stopped.wait(20)
            raise ClickHouseError(394, "Query was cancelled.")

    with pytest.raises(ClickHouseError, match="more memory than a reader may use"):
        grow()
    assert told == ["mine"]
    with guard.watch("next"):
        pass
    with pytest.raises(ClickHouseError, match="other"), guard.watch("next"):
        raise ClickHouseError(60, "another reason, other than memory")
