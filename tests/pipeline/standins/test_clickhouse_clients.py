"""The embedded ClickHouse as its ordinary clients see it: clickhouse-connect and curl."""

import datetime as dt
import shutil
import subprocess
import uuid
from typing import Any

import clickhouse_connect
import polars as pl
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.pipeline.standins.conftest import Door

NOW = dt.datetime(2026, 11, 22, 18, 0, 0, 123456, tzinfo=dt.UTC)
COLUMNS = "id UInt64, t DateTime64(6,'UTC'), tags Map(String,String), l LowCardinality(String)"


def test_a_client_shakes_hands_and_reads_typed_rows(door: Door) -> None:
    client = door.reader()
    result = client.query("SELECT 1::UInt8 AS a, 'é' AS b, [1,2] AS c, NULL AS d, toDate(0) AS e")
    assert result.column_names == ("a", "b", "c", "d", "e")
    assert result.result_rows == [(1, "é", [1, 2], None, dt.date(1970, 1, 1))]
    assert client.server_version.split(".")[0].isdigit()
    assert str(client.server_tz) == "UTC"


def test_native_arrow_and_frames_are_inserted_and_read_back(door: Door) -> None:
    pandas: Any = pytest.importorskip("pandas")
    table, client = door.table(COLUMNS), door.writer()
    names = ["id", "t", "tags", "l"]
    client.insert(table, [[1, NOW, {"k": "v"}, "x"]], column_names=names)
    arrow = pa.table(
        {
            "id": pa.array([2], pa.uint64()),
            "t": pa.array([NOW], pa.timestamp("us", "UTC")),
            "tags": pa.array([[("k", "w")]], pa.map_(pa.string(), pa.string())),
            "l": ["y"],
        }
    )
    assert client.insert_arrow(table, arrow).written_rows == 1
    frame = pandas.DataFrame({"id": [3], "t": [NOW], "tags": [{"k": "u"}], "l": ["z"]})
    client.insert_df(table, frame)
    rows = door.reader().query(f"SELECT * FROM {table} ORDER BY id", query_tz="UTC").result_rows
    assert [(row[0], row[2], row[3]) for row in rows] == [
        (1, {"k": "v"}, "x"),
        (2, {"k": "w"}, "y"),
        (3, {"k": "u"}, "z"),
    ]
    assert {row[1].replace(tzinfo=dt.UTC) for row in rows} == {NOW}
    back = pl.from_arrow(door.reader().query_arrow(f"SELECT id FROM {table} ORDER BY id"))
    assert isinstance(back, pl.DataFrame)
    assert back["id"].to_list() == [1, 2, 3]


def test_parameters_are_bound_by_the_engine(door: Door) -> None:
    client = door.reader()
    hostile = "'; DROP TABLE x --\t\\ \n{y:String}"
    values = {"s": hostile, "n": 2**63, "l": [1, 2], "t": NOW}
    result = client.query(
        "SELECT {s:String}, {n:UInt64}, {l:Array(UInt8)}, toString({t:DateTime64(6,'UTC')})",
        parameters=values,
    )
    assert result.result_rows == [(hostile, 2**63, [1, 2], "2026-11-22 18:00:00.123456")]
    sql = "SELECT count() FROM system.{t:Identifier}"
    by_name = client.query(sql, parameters={"t": "one"})
    assert by_name.result_rows == [(1,)]


def test_many_large_parameters_travel_in_a_form(door: Door) -> None:
    values = {f"p{i}": "x" * 500 for i in range(40)}
    placeholders = "".join(f"{{p{i}:String}}," for i in range(40))
    result = door.reader().query(f"SELECT length(concat({placeholders} ''))", parameters=values)
    assert result.result_rows == [(20_000,)]


@pytest.mark.parametrize("compression", ["lz4", "zstd", "gzip", False])
def test_bodies_are_compressed_both_ways(door: Door, compression: str | bool) -> None:
    table, client = door.table(), door.writer(compress=compression)
    client.insert(table, [[i, "s" * 50] for i in range(5_000)], column_names=["a", "s"])
    result = client.query(f"SELECT a, s FROM {table} ORDER BY a")
    assert len(result.result_rows) == 5_000
    assert result.result_rows[4_999] == (4_999, "s" * 50)


def test_the_writer_may_read_more_than_a_reader_and_gets_it_in_a_stream(door: Door) -> None:
    sql = "SELECT number FROM numbers(3000000)"
    with door.writer().query_row_block_stream(sql) as stream:
        assert sum(len(block) for block in stream) == 3_000_000
    with pytest.raises(DatabaseError, match="TOO_MANY_ROWS_OR_BYTES"):
        door.reader().query(sql)


def test_a_result_that_fails_halfway_is_an_error_and_no_short_result(door: Door) -> None:
    sql = "SELECT throwIf(number = 2900000, 'halfway') FROM numbers(3000000)"
    with pytest.raises(DatabaseError, match="halfway"):
        door.writer().query(sql)


def test_a_session_keeps_settings_and_temporary_tables_and_nothing_else_does(door: Door) -> None:
    client = door.writer()
    client.command("CREATE TEMPORARY TABLE mine (a UInt8)")
    client.command("INSERT INTO mine VALUES (7)")
    assert client.query("SELECT a FROM mine").result_rows == [(7,)]
    client.command("SET max_block_size = 77")
    once = client.query("SELECT getSetting('max_block_size')", settings={"max_block_size": 5})
    assert once.result_rows == [(5,)]
    assert client.query("SELECT getSetting('max_block_size')").result_rows == [(77,)]
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        door.writer().query("SELECT a FROM mine")


def test_a_busy_session_is_locked(door: Door) -> None:
    given: dict[str, Any] = {"params": {"session_id": uuid.uuid4().hex}, "auth": door.auth}
    endless = "SELECT number FROM system.numbers"
    with door.http.stream("POST", "/", content=endless, **given) as busy:
        assert busy.status_code == 200
        refused = door.http.post("/", content="SELECT 1", **given)
    assert refused.headers["x-clickhouse-exception-code"] == "373"


def test_settings_and_database_of_a_client_hold_for_each_query(door: Door) -> None:
    door.do("CREATE DATABASE IF NOT EXISTS apart")
    client = door.writer(database="apart", settings={"max_block_size": 1234})
    client.command("CREATE TABLE IF NOT EXISTS here (a UInt8) ENGINE = MergeTree ORDER BY a")
    found = client.query("SELECT currentDatabase(), getSetting('max_block_size')").result_rows
    assert found == [("apart", 1234)]
    assert door.reader(database="apart").query("SELECT count() FROM here").result_rows == [(0,)]
    with pytest.raises(DatabaseError, match="UNKNOWN_DATABASE"):
        door.reader(database="nowhere").query("SELECT 1")


def test_a_wrong_secret_is_refused_for_every_name(door: Door) -> None:
    for user, password in (("tacho", "guess"), ("tacho", ""), ("default", "x"), ("root", "")):
        with pytest.raises(DatabaseError, match="AUTHENTICATION_FAILED"):
            clickhouse_connect.get_client(
                host="127.0.0.1", port=door.port, username=user, password=password
            )


def test_a_batch_is_one_part(door: Door) -> None:
    table, client = door.table(), door.writer()
    frame = pl.DataFrame(
        {"a": range(20_000), "s": ["x"] * 20_000}, schema_overrides={"a": pl.UInt64}
    )
    client.insert_arrow(table, frame.to_arrow())
    sql = "SELECT count(), sum(rows) FROM system.parts WHERE table = {t:String} AND active"
    assert client.query(sql, parameters={"t": table}).result_rows == [(1, 20_000)]


def _curl(*arguments: str) -> str:
    command = ["curl", "-sS", "--max-time", "30", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")


@needs_curl
def test_curl_gets_tab_separated_rows_by_post_and_by_get(door: Door) -> None:
    url = door.server.url
    assert _curl(url, "-d", "SELECT 1, 'a\tb'") == "1\ta\\tb\n"
    assert _curl("-G", url, "--data-urlencode", "query=SELECT 2") == "2\n"
    assert _curl(f"{url}/?query=SELECT", "-d", " 3") == "3\n"
    assert _curl(f"{url}/?query=SELECT%20%7Bx:UInt8%7D&param_x=4") == "4\n"


@needs_curl
def test_curl_chooses_a_format_three_ways(door: Door) -> None:
    url, row = door.server.url, '{"x":1}\n'
    assert _curl(url, "-d", "SELECT 1 AS x FORMAT JSONEachRow") == row
    assert _curl(f"{url}/?default_format=JSONEachRow", "-d", "SELECT 1 AS x") == row
    assert _curl(url, "-H", "X-ClickHouse-Format: JSONEachRow", "-d", "SELECT 1 AS x") == row


@needs_curl
def test_curl_is_told_headers_health_and_what_is_not_there(door: Door) -> None:
    url = door.server.url
    assert _curl(f"{url}/ping") == _curl(url) == "Ok.\n"
    assert "There is no handle /nope" in _curl(f"{url}/nope")
    head = _curl("-i", f"{url}/?query_id=mine", "-d", "SELECT 1 FORMAT CSV").lower()
    assert "x-clickhouse-query-id: mine" in head
    assert "x-clickhouse-format: csv" in head
    assert "x-clickhouse-timezone: utc" in head
    assert 'x-clickhouse-summary: {"read_rows":"1"' in head
    assert _curl("-I", f"{url}/ping").startswith("HTTP/1.1 200")


@needs_curl
def test_curl_inserts_rows_after_the_statement_and_beside_it(door: Door) -> None:
    table, url, login = door.table(), door.server.url, "{}:{}".format(*door.auth)
    _curl("-u", login, url, "-d", f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b;')")
    rows = '{"a":3,"s":"c"}\n{"a":4,"s":"d"}\n'
    _curl("-u", login, url, "--data-binary", f"INSERT INTO {table} FORMAT JSONEachRow\n{rows}")
    query = f"query=INSERT INTO {table} (a, s) FORMAT CSV"
    target = f"{url}/?{query}".replace(" ", "%20")
    _curl("-u", login, target, "--data-binary", '5,"e"\n')
    assert _curl(url, "-d", f"SELECT * FROM {table} ORDER BY a FORMAT CSV") == (
        '1,"a"\n2,"b;"\n3,"c"\n4,"d"\n5,"e"\n'
    )


@needs_curl
def test_curl_unpacks_a_compressed_answer(door: Door) -> None:
    sql = "SELECT repeat('x', 1000)"
    assert _curl("--compressed", door.server.url, "-d", sql) == "x" * 1000 + "\n"
