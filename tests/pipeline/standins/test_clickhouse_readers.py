"""What an anonymous reader of the embedded ClickHouse may not do, tried in every way we know."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tachograph.pipeline.standins import clickhouse_limits as bounds
from tests.pipeline.standins.conftest import Door
from tests.waiting import eventually

SECRET = "a-line-that-no-reader-may-see"


@pytest.fixture(scope="module")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("outside") / "secret.csv"
    file.write_text(f"{SECRET}\n")
    return file


@pytest.fixture(scope="module")
def canary() -> Iterator[tuple[str, list[str]]]:
    """A server that nobody may be made to call: its address, and the paths it was asked for."""
    asked: list[str] = []

    class Canary(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"1\n")

        do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815  (the library's names)

        def log_message(self, *_arguments: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Canary)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


WRITES = [
    "CREATE TABLE made (a UInt8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE made (a UInt8)",
    "CREATE DATABASE made",
    "CREATE VIEW made AS SELECT 1",
    "CREATE FUNCTION made AS x -> x",
    "CREATE USER made",
    "CREATE DICTIONARY made (a UInt8) PRIMARY KEY a SOURCE(NULL()) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE NAMED COLLECTION made AS a = 1",
    "INSERT INTO {t} VALUES (9, 'x')",
    "INSERT INTO {t} SELECT 9, 'x'",
    'INSERT INTO {t} FORMAT JSONEachRow {{"a":9}}',
    "WITH 9 AS n INSERT INTO {t} SELECT n, 'x'",
    "/* SELECT */ INSERT INTO {t} VALUES (9, 'x')",
    "-- SELECT 1\nINSERT INTO {t} VALUES (9, 'x')",
    "INSERT INTO FUNCTION file('{out}', 'CSV') SELECT 1",
    "INSERT INTO FUNCTION null('a UInt8') SELECT 1",
    "DROP TABLE {t}",
    "DROP TABLE IF EXISTS {t}",
    "TRUNCATE TABLE {t}",
    "ALTER TABLE {t} DELETE WHERE 1",
    "ALTER TABLE {t} ADD COLUMN b UInt8",
    "DELETE FROM {t} WHERE 1",
    "UPDATE {t} SET s = 'y' WHERE 1",
    "OPTIMIZE TABLE {t} FINAL",
    "RENAME TABLE {t} TO made",
    "EXCHANGE TABLES {t} AND {t}",
    "DETACH TABLE {t}",
    "ATTACH TABLE {t}",
    "UNDROP TABLE {t}",
    "SYSTEM STOP MERGES",
    "SYSTEM SHUTDOWN",
    "SYSTEM FLUSH LOGS",
    "KILL QUERY WHERE 1",
    "KILL MUTATION WHERE 1",
    "SET readonly = 0",
    "SET max_execution_time = 0",
    "USE system",
    "GRANT ALL ON *.* TO default",
    "SET ROLE ALL",
    "EXECUTE AS default SELECT 1",
    "BEGIN TRANSACTION",
    "BACKUP TABLE {t} TO File('{out}')",
    "RESTORE TABLE {t} FROM File('{out}')",
    "SELECT 1 INTO OUTFILE '{out}'",
    "SELECT 1 INTO OUTFILE '{out}' AND STDOUT FORMAT CSV",
    "EXPLAIN SELECT 1 INTO OUTFILE '{out}'",
    "SHOW TABLES INTO OUTFILE '{out}'",
    "SELECT 1; INSERT INTO {t} VALUES (9, 'x')",
    "SELECT 1;;DROP TABLE {t}",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 SETTINGS max_execution_time = 0",
    "SELECT 1 SETTINGS max_threads = 64",
    "SELECT * FROM (SELECT 1 SETTINGS max_memory_usage = 0)",
    "EXPLAIN SELECT 1 SETTINGS readonly = 0",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1 SETTINGS readonly = 0))",
    "SELECT 1 WHERE 1 IN (SELECT 1 SETTINGS max_threads = 64)",
    "WITH x AS (SELECT 1 SETTINGS max_threads = 64) SELECT * FROM x",
    "SELECT 1 UNION ALL (SELECT 2 SETTINGS max_threads = 64)",
    "EXPLAIN header = 1 SELECT 1 SETTINGS max_threads = 64",
    "DESCRIBE (SELECT 1 SETTINGS max_threads = 64)",
    "PREPARE p AS DROP TABLE {t}",
    "SELECT 1 PARALLEL WITH DROP TABLE {t}",
    "DROP TABLE {t} PARALLEL WITH DROP TABLE {t}",
    "COPY {t} TO '{out}'",
    "WATCH {t}",
]


@pytest.mark.parametrize("attempt", WRITES)
def test_a_reader_changes_nothing(door: Door, tmp_path: Path, attempt: str) -> None:
    table, out = door.table(rows="SELECT 1, 'a'"), tmp_path / "out.csv"
    answer = door.ask(attempt.format(t=table, out=out))
    assert answer.status_code >= 400, answer.text
    assert "DB::Exception" in answer.text
    assert not out.exists()
    seen = door.ask(f"SELECT * FROM {table} FORMAT CSV").text
    assert seen == '1,"a"\n'
    left = "SELECT count() FROM system.tables WHERE name = 'made'"
    assert door.ask(left).text == "0\n"
    assert door.ask("SELECT getSetting('readonly')").text == "1\n"


def test_a_refused_write_of_binary_rows_says_so_too(door: Door) -> None:
    table = door.table()
    rows = pa.table({"a": pa.array([9], pa.uint64()), "s": ["x" * 200]})
    with pytest.raises(DatabaseError, match="READONLY"):
        door.reader().insert_arrow(table, rows)
    with pytest.raises(DatabaseError, match="READONLY"):
        door.reader().insert(table, [[2**63, "x" * 200]], column_names=["a", "s"])


def test_a_refused_write_says_that_the_server_is_read_only(door: Door) -> None:
    answer = door.ask("DROP TABLE anything")
    assert answer.headers["x-clickhouse-exception-code"] == "164"
    assert "read-only for readers" in answer.text
    assert "(READONLY)" in answer.text


READS_OUTSIDE = [
    "SELECT file('{file}')",
    "SELECT FILE('{file}')",
    "SELECT `file`('{file}')",
    "SELECT \"file\"('{file}')",
    "SELECT/**/file/**/('{file}')",
    "SELECT length(file('{file}'))",
    "WITH x -> file(x) AS f SELECT f('{file}')",
    "SELECT arrayMap(x -> file(x), ['{file}'])",
    "SELECT * APPLY(file) FROM (SELECT '{file}')",
    "SELECT * APPLY file FROM (SELECT '{file}')",
    "SELECT * APPLY(`file`) FROM (SELECT '{file}')",
    "SELECT COLUMNS('x') APPLY(x -> file(x)) FROM (SELECT '{file}' AS x)",
    "SELECT (SELECT file('{file}'))",
    "SELECT 1 WHERE file('{file}') != ''",
    "SELECT 1 ORDER BY file('{file}')",
    "SELECT 1 HAVING file('{file}') != ''",
    "SELECT 1 LIMIT length(file('{file}'))",
    "SHOW TABLES WHERE file('{file}') != ''",
    "SHOW TABLES FROM system WHERE length(file('{file}')) > 0",
    "EXPLAIN SELECT file('{file}')",
    "EXPLAIN SYNTAX SELECT file('{file}')",
    "EXPLAIN QUERY TREE SELECT file('{file}')",
    "DESCRIBE (SELECT file('{file}') AS x)",
    "VALUES (file('{file}'))",
    "SELECT * FROM values('x String', (file('{file}')))",
    "SELECT * FROM view(SELECT file('{file}'))",
    "SELECT * FROM viewIfPermitted(SELECT file('{file}') AS x ELSE null('x String'))",
    "SELECT * FROM numbers(length(file('{file}')))",
    "SELECT * FROM eval('SELECT file(\\'{file}\\')')",
    "SELECT * FROM file('{file}')",
    "SELECT * FROM file('{file}', 'LineAsString')",
    "SELECT * FROM file('{file}', 'CSV', 'a String')",
    "SELECT * FROM `file`('{file}', 'LineAsString')",
    "SELECT * FROM fileCluster('x', '{file}', 'LineAsString')",
    "SELECT * FROM loop(file('{file}', 'LineAsString')) LIMIT 1",
    "SELECT 1 WHERE 'x' IN (SELECT * FROM file('{file}', 'LineAsString'))",
    "SELECT 1 WHERE 'x' IN file('{file}', 'LineAsString')",
    "WITH f AS (SELECT * FROM file('{file}', 'LineAsString')) SELECT * FROM f",
    "DESCRIBE file('{file}')",
    "DESCRIBE TABLE file('{file}', 'CSV')",
    "EXPLAIN SELECT * FROM file('{file}', 'LineAsString')",
    "EXPLAIN PIPELINE SELECT * FROM file('{file}', 'LineAsString')",
    "SELECT * FROM '{file}'",
    "SELECT * FROM `{file}`",
    'SELECT * FROM "{file}"',
    "SELECT * FROM default.`{file}`",
    "SELECT * FROM merge('default', '{file}')",
    "SELECT * FROM filesystem('{file}')",
    "SELECT * FROM filesystem('/')",
    "SELECT * FROM executable('cat {file}', TSV, 'a String')",
    "SELECT * FROM sqlite('{file}', 't')",
    "SELECT * FROM Python(engine)",
    "SELECT * FROM python('engine')",
    "SELECT * FROM dictionary('{file}')",
    "SELECT * FROM icebergLocal('{file}')",
    "SELECT * FROM deltaLakeLocal('{file}')",
    "SELECT * FROM paimonLocal('{file}')",
    "SELECT 1 AS x FORMAT Template SETTINGS format_template_row = '{file}'",
    "SELECT 1 AS x FORMAT Protobuf SETTINGS format_schema = '{file}:M'",
]


@pytest.mark.parametrize("attempt", READS_OUTSIDE)
def test_a_reader_sees_no_file(door: Door, secret_file: Path, attempt: str) -> None:
    answer = door.ask(attempt.format(file=secret_file))
    assert answer.status_code >= 400, answer.text
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "format_schema", "format_schema_path", "format_template_row", "format_template_resultset",
        "format_template_row_format", "output_format_schema", "format_avro_schema_registry_url",
        "readonly", "allow_ddl", "allow_introspection_functions", "allow_python_table_function",
        "max_memory_usage", "max_execution_time", "max_result_rows", "max_threads", "dialect",
        "result_overflow_mode", "timeout_overflow_mode", "log_queries", "async_insert", "profile",
        "custom_x", "additional_table_filters", "implicit_select", "max_query_size",
        "max_result_bytes", "max_untracked_memory", "max_temporary_data_on_disk_size_for_query",
    ],
)  # fmt: skip
def test_a_reader_raises_no_limit_and_sets_nothing_that_names_a_path(
    door: Door, secret_file: Path, name: str
) -> None:
    for value in ("0", "99999999999", str(secret_file), "break"):
        answer = door.ask("SELECT 1 AS x FORMAT Template", **{name: value})
        assert answer.status_code >= 400, (name, value, answer.text)
        assert SECRET not in answer.text


def test_a_reader_lowers_limits_and_chooses_how_results_look(door: Door) -> None:
    sql = "SELECT getSetting('max_threads'), getSetting('max_result_rows')"
    assert door.ask(sql, max_threads="1", max_result_rows="10").text == "1\t10\n"
    patience = "SELECT getSetting('max_execution_time')"
    assert door.ask(patience, max_execution_time="3600").text == door.ask(patience).text
    big = "SELECT toUInt64(1) AS x FORMAT JSONEachRow"
    quoted = {"output_format_json_quote_64bit_integers": "1"}
    assert door.ask(big, **quoted).text == '{"x":"1"}\n'


CALLS_OUT = [
    "SELECT * FROM url('{url}/a', 'CSV', 'a String')",
    "SELECT * FROM url('{url}/a')",
    "DESCRIBE url('{url}/a', 'CSV')",
    "EXPLAIN SELECT * FROM url('{url}/a', 'CSV')",
    "SELECT * FROM urlCluster('x', '{url}/a', 'CSV')",
    "SELECT * FROM s3('{url}/bucket/key', 'CSV', 'a String')",
    "DESCRIBE s3('{url}/bucket/key', 'CSV')",
    "SELECT * FROM gcs('{url}/bucket/key', 'CSV', 'a String')",
    "SELECT * FROM oss('{url}/bucket/key', 'CSV', 'a String')",
    "SELECT * FROM iceberg('{url}/bucket/key')",
    "SELECT * FROM deltaLake('{url}/bucket/key')",
    "SELECT * FROM hudi('{url}/bucket/key')",
    "SELECT * FROM azureBlobStorage('{url}', 'c', 'b', 'a', 'k', 'CSV', 'auto', 'a String')",
    "SELECT * FROM hdfs('{url}/a', 'CSV', 'a String')",
    "SELECT * FROM remote('{host}', 'system.one')",
    "SELECT * FROM remote('127.0.0.1', system.one)",
    "SELECT * FROM remoteSecure('{host}', 'system.one')",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM mysql('{host}', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('{host}', 'd', 't', 'u', 'p')",
    "SELECT * FROM mongodb('{host}', 'd', 't', 'u', 'p', 'a String')",
    "SELECT * FROM redis('{host}', 'k', 'k String')",
    "SELECT * FROM jdbc('{url}', 'q')",
    "SELECT * FROM odbc('DSN=x', 't')",
    "SELECT * FROM arrowstream('{host}')",
    "SELECT * FROM ytsaurus('{url}', 'p', 't', 'a String')",
    "SELECT * FROM bigquery('{url}', 'p', 't')",
    "SELECT hasColumnInTable('{host}', 'u', 'p', 'system', 'one', 'dummy')",
    "SELECT aiGenerate('x')",
    "SELECT AIGenerate('x', '{url}')",
    "SELECT * APPLY(aiEmbed) FROM (SELECT 'x')",
    "SELECT 1 WHERE 1 IN (SELECT * FROM url('{url}/a', 'CSV', 'a UInt8'))",
    "SHOW TABLES WHERE name IN (SELECT * FROM url('{url}/a', 'CSV', 'a String'))",
]


@pytest.mark.parametrize("attempt", CALLS_OUT)
def test_a_reader_makes_the_server_call_nobody(
    door: Door, canary: tuple[str, list[str]], attempt: str
) -> None:
    url, asked = canary
    answer = door.ask(attempt.format(url=url, host=url.removeprefix("http://")))
    assert answer.status_code >= 400, answer.text
    assert asked == []


ONLY_FOR_ITSELF = ["SELECT * FROM file('{file}', 'LineAsString')", "SELECT * FROM '{file}'"]


@pytest.mark.parametrize("attempt", ONLY_FOR_ITSELF)
def test_not_even_the_writer_reads_files(door: Door, secret_file: Path, attempt: str) -> None:
    answer = door.do(attempt.format(file=secret_file))
    assert answer.status_code >= 400
    assert SECRET not in answer.text


ALLOWED = [
    "SELECT count() FROM system.tables",
    "SHOW TABLES",
    "SHOW DATABASES",
    "SHOW CREATE TABLE {t}",
    "DESCRIBE TABLE {t}",
    "EXISTS TABLE {t}",
    "EXPLAIN indexes = 1, header = 1 SELECT * FROM {t}",
    'SELECT 1 AS "Set" FORMAT JSON',
    "EXPLAIN SELECT * FROM {t}",
    "EXPLAIN PIPELINE SELECT * FROM {t}",
    "WITH x AS (SELECT a FROM {t}) SELECT * FROM x UNION ALL SELECT 2",
    "SELECT * FROM merge(currentDatabase(), '^{t}$')",
    "SELECT * FROM numbers(3)",
    "SELECT * FROM view(SELECT 1)",
    "SELECT * APPLY(toString) FROM {t}",
    "SELECT 'file' AS file FROM {t}",
    "(SELECT 1)",
    "  -- a comment first\n SELECT 1 /* and last */ ;",
    "SELECT 1;",
]


@pytest.mark.parametrize("sql", ALLOWED)
def test_a_reader_asks_what_an_analyst_asks(door: Door, sql: str) -> None:
    answer = door.ask(sql.format(t=door.table(rows="SELECT 1, 'a'")))
    assert answer.status_code == 200, answer.text


def test_get_is_read_only_even_for_the_writer(door: Door) -> None:
    table = door.table(rows="SELECT 1, 'a'")
    answer = door.http.get("/", params={"query": f"DROP TABLE {table}"}, auth=door.auth)
    assert answer.headers["x-clickhouse-exception-code"] == "164"
    inserted = door.http.get("/", params={"query": f"INSERT INTO {table} VALUES (2, 'b')"})
    assert inserted.headers["x-clickhouse-exception-code"] == "164"
    assert door.http.get("/", params={"query": f"SELECT count() FROM {table}"}).text == "1\n"


@pytest.mark.parametrize("name", ["TabSeparated", "Native", "JSON", "Pretty", "Arrow", "XML"])
def test_one_value_repeated_fills_no_memory(door: Door, name: str) -> None:
    sql = f"SELECT repeat('x', 100000) FROM numbers(100000) FORMAT {name}"
    answer = door.ask(sql, max_block_size="10")
    assert answer.headers["x-clickhouse-exception-code"] in ("241", "396")


def test_a_web_page_under_a_name_of_its_own_gets_nothing(door: Door) -> None:
    answer = door.http.post("/", content="SELECT 1", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert answer.text == "Invalid host header"


def test_memory_time_and_rows_are_limited(door: Door) -> None:
    memory = door.ask("SELECT length(groupArray(number)) FROM numbers(2000000000)")
    assert memory.headers["x-clickhouse-exception-code"] == "241"
    rows = door.ask("SELECT number FROM numbers(1000001)")
    assert rows.headers["x-clickhouse-exception-code"] == "396"
    size = door.ask("SELECT repeat('x', 1000000) FROM numbers(100)")
    assert size.headers["x-clickhouse-exception-code"] == "396"
    time_ = door.ask("SELECT count() FROM system.numbers", max_execution_time="1")
    assert time_.headers["x-clickhouse-exception-code"] == "159"
    assert time_.status_code == 408
    assert door.ask("SELECT 1").text == "1\n"


SLOW = "SELECT sum(sipHash64(number)) FROM system.numbers"


def _running(door: Door, marker: str) -> int:
    mine = f"query LIKE '%{marker}%' AND query NOT LIKE '%processes%'"
    return int(door.do(f"SELECT count() FROM system.processes WHERE {mine}").text)


def _send(door: Door, marker: str) -> socket.socket:
    """A slow query of a reader that nobody waits for."""
    body = f"SELECT '{marker}', {SLOW.removeprefix('SELECT ')}"
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", door.port))
    connection.sendall((head + body).encode())
    return connection


def test_a_reader_that_leaves_takes_its_query_along(door: Door) -> None:
    with _send(door, "leaver"):
        eventually(lambda: _running(door, "leaver") == 1, "it runs")
    eventually(lambda: _running(door, "leaver") == 0, "it has gone")


def test_a_stream_that_is_left_halfway_gives_its_thread_back(door: Door) -> None:
    sql = "SELECT number AS halfway_left FROM system.numbers"
    for _ in range(2 * bounds.Limits().writer_concurrency):
        with door.http.stream("POST", "/", content=sql, auth=door.auth) as answer:
            assert next(answer.iter_bytes()).startswith(b"0\n1\n")
    eventually(lambda: _running(door, "halfway_left") == 0, "all have gone")
    assert door.do("SELECT 1").text == "1\n"


def test_slow_readers_delay_no_insert_and_too_many_are_refused(door: Door) -> None:
    limits, table = bounds.ReaderLimits(), door.table()
    with contextlib.ExitStack() as crowd:
        for _ in range(limits.concurrency + limits.queued):
            crowd.enter_context(_send(door, "crowd"))
        eventually(lambda: _running(door, "crowd") == limits.concurrency, "all places are taken")
        refused = door.ask("SELECT 1")
        for row in range(50):
            assert door.do(f"INSERT INTO {table} VALUES ({row}, 'x')").status_code == 200
        # One whose time was over meanwhile has made room for the next.
        eventually(lambda: _running(door, "crowd") == limits.concurrency, "they are still there")
    assert refused.headers["x-clickhouse-exception-code"] == "202"
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    eventually(lambda: _running(door, "crowd") == 0, "all have gone")
    assert door.ask(f"SELECT count() FROM {table}").text == "50\n"
