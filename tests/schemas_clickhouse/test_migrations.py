"""Migrations run once, refuse changed pasts, and stand being run by two processes at once."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.migrate import (
    Layout,
    apply,
    apply_migrations,
    migrations,
    pieces,
    statements,
)
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import CLICKHOUSE_FILE, ClickHouseSettings, Settings
from tachograph.pipeline.store import catalogue
from tachograph.pipeline.store.clickhouse import Connection, new_enough
from tachograph.pipeline.store.columns import quoted
from tachograph.pipeline.store.ddl import addition
from tachograph.pipeline.store.rollups import roll_up
from tachograph.pipeline.verbs import app
from tests import warehouse

REPEATABLE = re.compile(
    r"CREATE (DATABASE|TABLE|MATERIALIZED VIEW) IF NOT EXISTS |CREATE OR REPLACE VIEW "
    r"|ALTER TABLE tacho\.\w+ .*?(ADD COLUMN|ADD INDEX) IF NOT EXISTS "
    r"|ALTER TABLE tacho\.\w+ [^ ]+\s+(COMMENT COLUMN |MODIFY COLUMN `\w+` CODEC\()"
    r"|ALTER TABLE tacho\.\w+ [^ ]+\s+(ADD INDEX IF NOT|(DROP|MATERIALIZE) INDEX IF) EXISTS "
    # Of a row that is there twice the newest counts.
    r"|INSERT INTO tacho\.(hours|denials|delegated|destinations)_data |DROP TABLE IF EXISTS "
)


@pytest.fixture
def empty(writer: ClickHouseSettings) -> Iterator[Connection]:
    """A connection to a server without our database."""
    with Connection(writer) as connection:
        connection.command("DROP DATABASE IF EXISTS tacho SYNC")
        yield connection


@pytest.fixture
def laid(tmp_path: Path) -> Iterator[Connection]:
    """A connection to a server of the test's own with all tables: a copy of them costs half of
    what laying them costs.
    """
    with (
        warehouse.migrated(tmp_path / "laid") as server,
        Connection(warehouse.writer_of(server)) as connection,
    ):
        yield connection


def noted(connection: Connection) -> list[tuple[object, ...]]:
    return connection.rows(
        "SELECT number, name, sha256 FROM tacho.migrations FINAL ORDER BY number"
    )


COUNTED = "SELECT tenant, actions FROM tacho.touches_by_hour WHERE touched = 'mail' ORDER BY ALL"


def _one_action(connection: Connection, tenant: str) -> None:
    connection.command(
        "INSERT INTO tacho.actions_data (event_id, tenant, partition_key, event_time,"
        f" observed_time, tool_name, outcome) VALUES ('a', {quoted(tenant)}, 'p', now64(6),"
        " now64(6), 'mail', 'denied')"
    )


class Course(NamedTuple):
    """What was seen while a store came of age, which costs seconds and is done once."""

    applied: list[list[str]]
    noted: list[list[tuple[object, ...]]]
    counted: list[list[tuple[object, ...]]]
    denied: list[tuple[object, ...]]
    rolled_up: int


@pytest.fixture(scope="module")
def course(writer: ClickHouseSettings) -> Course:
    """All migrations in three steps. One action is from before there were roll-ups, one was rolled
    up in a shape that is no longer the shape of roll-ups.
    """
    known = migrations()
    with Connection(writer) as server:
        server.command("DROP DATABASE IF EXISTS tacho SYNC")
        applied = [apply(server, Layout(), known[:21])]
        _one_action(server, "before")
        applied.append(apply(server, Layout(), known[:23]))
        _one_action(server, "otherwise")
        server.command(
            "INSERT INTO tacho.hours_data (tenant, hour, what, at)"
            " SELECT tenant, hour, 'rolled', now64(6) FROM tacho.hours_data"
            " WHERE tenant = 'otherwise'"
        )
        counted = [server.rows(COUNTED)]
        applied.append(apply(server, Layout()))
        first = noted(server)
        applied.append(apply(server, Layout()))
        counted.append(server.rows(COUNTED))
        rolled_up = roll_up(server, settled_s=0)
        counted.append(server.rows(COUNTED))
        denied = server.rows("SELECT tenant, event_id, reason FROM tacho.denials ORDER BY ALL")
        return Course(applied, [first, noted(server)], counted, denied, rolled_up)


def test_migrations_are_applied_once_and_noted_with_their_hashes(course: Course) -> None:
    known = migrations()
    names = [migration.name for migration in known]
    assert course.applied == [names[:21], names[21:23], names[23:], []]
    assert course.noted == [[(m.number, m.name, m.sha256) for m in known]] * 2


def test_actions_from_before_the_roll_ups_are_counted_too(course: Course) -> None:
    assert ("before", "a", "denied") in course.denied
    assert all(("before", 1) in found for found in course.counted[1:])


def test_what_was_stored_and_rolled_up_before_their_feeds_is_in_them(empty: Connection) -> None:
    known = migrations()
    # Who rolls up needs two tables more, which have no feed.
    apply(empty, Layout(), [*known[:27], known[29]])
    empty.command(Layout().fill(catalogue.TABLES["reached_data"].create).rstrip(";\n"))
    empty.command(
        "INSERT INTO tacho.actions_data (event_id, tenant, partition_key, event_time,"
        " observed_time, agent_id, parent_agent_id, target_domain)"
        " VALUES ('a', 't', 'p', now64(6), now64(6), 'worker', 'boss', 'a.example')"
    )
    assert roll_up(empty, settled_s=0) == 1
    apply(empty, Layout())
    given = "SELECT agent_id, touched FROM tacho.blast_radius WHERE touched_type = 'delegated_to'"
    assert empty.rows(given) == [("boss", "worker")]
    # Its hour stands in the roll-up alone, so this is what was filled in.
    assert empty.rows("SELECT touched FROM tacho.destinations") == [("a.example",)]


def test_hours_that_were_rolled_up_in_another_shape_are_read_from_their_actions(
    course: Course,
) -> None:
    assert ("otherwise", 1) not in course.counted[0]
    assert course.counted[1:] == [[("before", 1), ("otherwise", 1)]] * 2
    # An hour of both; or two, where the clock struck between them.
    assert course.rolled_up in (1, 2)


def test_two_processes_may_migrate_at_the_same_time(
    writer: ClickHouseSettings, empty: Connection
) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with Connection(writer) as own:
                apply(own, Layout())
        except (Refused, RetryLater) as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [row[0] for row in noted(empty)] == [m.number for m in migrations()]
    assert empty.rows("SELECT count() FROM tacho.actions") == [(0,)]


def test_a_past_file_that_was_changed_is_refused_by_name(migrated: Connection) -> None:
    known = migrations()
    forged = [type(known[0])(known[0].number, known[0].name, known[0].text + " "), *known[1:]]
    with pytest.raises(Refused, match=r"0001_database\.sql was changed after it had been applied"):
        apply(migrated, Layout(), forged)


def test_a_database_newer_than_the_program_is_left_as_it_is(migrated: Connection) -> None:
    assert apply(migrated, Layout(), migrations()[:3]) == []


def test_a_new_field_reaches_table_and_view_by_a_new_migration(laid: Connection) -> None:
    table, view = catalogue.TABLES["signals_data"], catalogue.VIEWS["signals"]
    fresh = table.columns[0]._replace(name="fresh", comment="new one")
    wider = table._replace(columns=[*table.columns, fresh])
    shown = view._replace(columns=[*view.columns, fresh])
    text = addition(wider, [shown], catalogue.written("signals_data"))
    known = migrations()
    newer = type(known[0])(len(known) + 1, "0099_fresh.sql", text)
    assert apply(laid, Layout(), [*known, newer]) == ["0099_fresh.sql"]
    assert laid.rows("SELECT fresh FROM tacho.signals") == []


def test_retention_follows_the_setting_in_old_tables_too(laid: Connection) -> None:
    apply(laid, Layout(days=7))
    rows = laid.rows(
        "SELECT name, extract(create_table_query, 'toIntervalDay.(\\d+)') FROM system.tables"
        " WHERE database = 'tacho' AND create_table_query LIKE '%toIntervalDay%'"
    )
    assert {days for _, days in rows} == {"7"}
    assert "actions_data" in {name for name, _ in rows}
    assert not {name for name, _ in rows if str(name).endswith("_log")}


def test_migrate_waits_for_a_server_that_is_not_there_yet() -> None:
    naps: list[float] = []
    ticks = iter(range(100))
    nowhere = Settings.from_env({"CLICKHOUSE_URL": "http://127.0.0.1:9"})
    with pytest.raises(RetryLater, match=r"127\.0\.0\.1:9"):
        apply_migrations(nowhere, Layout(), wait_s=3, sleep=naps.append, clock=lambda: next(ticks))
    assert len(naps) >= 2


def _migrate(home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    """`tacho migrate` of a home whose store is served there, as `tacho up` notes it."""
    (home / CLICKHOUSE_FILE).write_text(url, "ascii")
    monkeypatch.delenv("CLICKHOUSE_URL", raising=False)
    monkeypatch.setenv("TACHO_HOME", str(home))
    return CliRunner().invoke(app, ["migrate"])


def test_migrate_finds_the_store_that_is_served_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warehouse.migrated(tmp_path / "laid") as server:
        said = _migrate(tmp_path, server.url, monkeypatch)
    assert (said.exit_code, said.output[:13]) == (0, "nothing to do")


def test_migrate_says_what_an_older_version_that_serves_the_store_lacks(
    writer: ClickHouseSettings,
    empty: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = migrations()
    apply(empty, Layout(), known[:3])
    said = _migrate(tmp_path, writer.url, monkeypatch)
    assert isinstance(said.exception, ConfigError)
    assert f"lacks {known[3].name}, " in str(said.exception)
    assert "stop what runs it and start it again" in str(said.exception)


def test_every_statement_may_be_run_twice() -> None:
    for migration in migrations():
        for statement in statements(migration.text):
            assert REPEATABLE.match(statement), f"{migration.name}: {statement[:80]}"


def test_with_a_cluster_every_table_is_replicated_on_it() -> None:
    layout = Layout(cluster="main")
    for migration in migrations():
        for statement in statements(layout.fill(migration.text)):
            assert " ON CLUSTER 'main'" in statement or statement.startswith("INSERT ")
            assert "ENGINE = R" not in statement or "ENGINE = Replicated" in statement


def test_the_statements_for_a_cluster_are_ones_that_the_engine_reads(
    writer: ClickHouseSettings,
) -> None:
    layout = Layout(cluster="main")
    with Reader(writer) as reader:
        for migration in migrations():
            for statement in statements(layout.fill(migration.text)):
                [first, *_] = reader.rows(f"EXPLAIN AST {statement}")
                kind = str(first["explain"]).split("Query")[0]
                assert kind in ("Create", "Alter", "Insert", "Drop"), statement[:80]


def test_migrate_shows_the_statements_for_a_cluster_and_does_nothing() -> None:
    shown = CliRunner().invoke(app, ["migrate", "--cluster", "main", "--show"])
    assert shown.exit_code == 0, shown.output
    assert "CREATE TABLE IF NOT EXISTS tacho.alerts_log ON CLUSTER 'main'" in shown.output
    assert "${" not in shown.output


def test_migrate_shows_the_statements_for_a_sharded_cluster_and_does_nothing() -> None:
    shown = CliRunner().invoke(app, ["migrate", "--cluster", "main", "--sharded", "--show"])
    assert shown.exit_code == 0, shown.output
    every = [
        one for m in migrations() for one in Layout(cluster="main", sharded=True).statements(m.text)
    ]
    assert list(statements(shown.output)) == every
    assert "Distributed('main', 'tacho', 'alerts_log_local'," in shown.output


class Cluster:
    """What a cluster answers whose tables are these: name → statement that made it."""

    def __init__(self, tables: dict[str, str]) -> None:
        self.tables = tables
        self.told: list[str] = []

    def rows(self, query: str) -> list[tuple[object, ...]]:
        if "version()" in query:
            return [("26.9.2.1",)]
        if "'Distributed'" in query:
            return [(name, "= Distributed(" in text) for name, text in self.tables.items()]
        return list(self.tables.items()) if "create_table_query" in query else []

    def command(self, statement: str) -> None:
        self.told.append(statement)


SPREAD = {"health_data": "ENGINE = Distributed(…)", "health_data_local": "TTL toIntervalDay(90)"}
ALONE = {"health_data": "ENGINE = ReplacingMergeTree TTL toIntervalDay(90)"}


def test_a_sharded_cluster_gets_its_statements_and_its_rows_the_retention() -> None:
    cluster, layout = Cluster(SPREAD), Layout(cluster="main", sharded=True, days=7)
    apply(cluster, layout)  # type: ignore[arg-type]
    notes = "INSERT INTO tacho.migrations "
    told = [one for one in cluster.told if not one.startswith(notes)]
    every = [one for m in migrations() for one in layout.statements(m.text)]
    assert told[:-1] == [piece for one in every for piece in pieces(one)]
    assert told[-1] == (
        "ALTER TABLE tacho.health_data_local ON CLUSTER 'main'"
        " MODIFY TTL stored_at + toIntervalDay(7)"
    )
    assert len(cluster.told) - len(told) == len(migrations())


class Away(Cluster):
    """A server that is away from a statement on."""

    def __init__(self, after: int) -> None:
        super().__init__({})
        self.after = after

    def command(self, statement: str) -> None:
        if len(self.told) == self.after:
            raise RetryLater("away")
        super().command(statement)


@pytest.mark.parametrize(
    ("which", "then"), [("GROUP BY tenant", "\nGROUP BY tenant"), ("WHERE a OR b", " AND (a OR b)")]
)
def test_what_reads_all_actions_does_so_a_partition_at_a_time_and_goes_on_where_it_broke_off(
    which: str, then: str
) -> None:
    fill = f"INSERT INTO tacho.x\nSELECT count()\nFROM tacho.actions_data\n{which};"
    known = [type(migrations()[0])(1, "0001_fill.sql", fill)]
    server, ran = Away(after=7), set[tuple[int, int]]()
    with pytest.raises(RetryLater):
        apply(server, Layout(), known, ran=ran)  # type: ignore[arg-type]
    server.after = 1_000
    apply(server, Layout(), known, ran=ran)  # type: ignore[arg-type]
    filled = [one for one in server.told if one.startswith("INSERT INTO tacho.x")]
    wanted = rf"WHERE _partition_id = '(\d+)'{re.escape(then)}\n"
    among = [re.findall(wanted, one) for one in filled]
    assert among == [[str(number)] for number in range(32)]


@pytest.mark.parametrize("layout", [Layout(), Layout(cluster="main", sharded=True)])
def test_an_index_of_what_is_stored_is_made_in_the_background(layout: Layout) -> None:
    text = "".join(one.text for one in migrations())
    made = [
        piece
        for statement in layout.statements(text)
        for piece in pieces(statement)
        if "MATERIALIZE INDEX" in statement
    ]
    assert made
    assert all(piece.endswith("\nSETTINGS mutations_sync = 0") for piece in made)


def test_what_fills_a_table_from_another_has_the_time_for_it() -> None:
    fills = [
        piece
        for migration in migrations()
        for statement in Layout().statements(migration.text)
        for piece in pieces(statement)
        if piece.startswith("INSERT ")
    ]
    assert fills
    assert all("\nSETTINGS max_execution_time = " in piece for piece in fills)


@pytest.mark.parametrize(
    ("tables", "sharded", "there"),
    [(ALONE, True, "are not sharded"), (SPREAD, False, "are sharded")],
)
def test_tables_that_are_laid_out_otherwise_are_left_as_they_are(
    tables: dict[str, str], sharded: bool, there: str
) -> None:
    cluster = Cluster(tables)
    with pytest.raises(ConfigError, match=f"TACHO_CLICKHOUSE_SHARDED: the tables .* {there}"):
        apply(cluster, Layout(cluster="main", sharded=sharded))  # type: ignore[arg-type]
    assert cluster.told == []


def test_an_unsharded_database_is_not_sharded_in_passing(migrated: Connection) -> None:
    with pytest.raises(ConfigError, match="are not sharded"):
        apply(migrated, Layout(cluster="main", sharded=True))
    assert apply(migrated, Layout()) == []


@pytest.mark.parametrize("version", ["25.8.33.6", "26.2.1.1", "3", ""])
def test_a_server_too_old_for_the_tables_is_named_as_such(version: str) -> None:
    with pytest.raises(ConfigError, match=r"too old for the tables: 26\.3"):
        new_enough(version)


@pytest.mark.parametrize("version", ["26.3.1.1", "26.9.2.1", "27.1"])
def test_newer_servers_are_taken(version: str) -> None:
    new_enough(version)


def test_files_out_of_order_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1;")
    (tmp_path / "0003_b.sql").write_text("SELECT 1;")
    with pytest.raises(ConfigError, match=r"0003_b\.sql: expected number 0002"):
        migrations(tmp_path)


@pytest.mark.parametrize(
    "environ",
    [
        {"TACHO_RETENTION_DAYS": "0"},
        {"TACHO_RETENTION_DAYS": "ninety"},
        {"TACHO_CLICKHOUSE_CLUSTER": "a'; DROP"},
        {"TACHO_CLICKHOUSE_SHARDED": "perhaps", "TACHO_CLICKHOUSE_CLUSTER": "main"},
        {"TACHO_CLICKHOUSE_SHARDED": "1"},
    ],
)
def test_a_layout_that_cannot_be_is_refused_with_the_name_of_the_setting(
    environ: dict[str, str],
) -> None:
    with pytest.raises(ConfigError, match=next(iter(environ))):
        Layout.from_env(environ)


@pytest.mark.parametrize(
    ("said", "parted"), [("true", True), ("1", True), ("0", False), ("", False)]
)
def test_a_cluster_is_sharded_where_the_environment_says_so(said: str, parted: bool) -> None:
    environ = {"TACHO_CLICKHOUSE_CLUSTER": "main", "TACHO_CLICKHOUSE_SHARDED": said}
    assert Layout.from_env(environ).sharded is parted


def test_semicolons_in_strings_names_and_comments_do_not_part_statements() -> None:
    text = "-- one; two\nSELECT 'a;''b\\';c', `x;y`; /* ; */ SELECT 2;\n;\n-- end;"
    assert list(statements(text)) == ["SELECT 'a;''b\\';c', `x;y`", "SELECT 2"]


@given(st.lists(st.text(alphabet="abc;'`\\\"-/* \n", max_size=12), max_size=5))
def test_any_text_in_string_literals_survives_splitting(values: list[str]) -> None:
    written = [f"SELECT {quoted(value)}" for value in values]
    assert list(statements(";\n".join(written))) == written


class Ancient(BaseHTTPRequestHandler):
    """A server of 2018: it answers what it is, and refuses what the client asks first."""

    def do_GET(self) -> None:
        self._answer(200, b"18.16.1\n")

    def do_POST(self) -> None:
        self._answer(
            404, b"Code: 47, e.displayText() = DB::Exception: Unknown identifier: readonly"
        )

    def _answer(self, status: int, body: bytes) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def ancient() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Ancient) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_too_old_to_be_spoken_to_is_named_with_both_versions(ancient: str) -> None:
    said = r"ClickHouse 18\.16\.1 is too old for the tables: 26\.3 or newer"
    with pytest.raises(ConfigError, match=said):
        apply_migrations(Settings.from_env({"CLICKHOUSE_URL": ancient}), Layout())
    with pytest.raises(ConfigError, match=said):
        Reader(ClickHouseSettings(url=ancient))
