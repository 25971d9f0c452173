"""The HTTP interface: statuses, codes, limits on requests, and nonsense of every kind."""

import gzip
import socket
import zlib

import httpx
import lz4.frame  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tachograph.pipeline.standins import clickhouse_limits as bounds
from tests.pipeline.standins.conftest import Door

QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize(
    ("sql", "status", "code", "name"),
    [
        ("SELEC 1", 400, 62, "SYNTAX_ERROR"),
        ("", 400, 62, "SYNTAX_ERROR"),
        (" ;\n", 400, 62, "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 400, 62, "SYNTAX_ERROR"),
        ("SELECT * FROM no_such_table", 404, 60, "UNKNOWN_TABLE"),
        ("SELECT no_such_column", 404, 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT no_such_function()", 404, 46, "UNKNOWN_FUNCTION"),
        ("SELECT * FROM no_such_database.t", 404, 81, "UNKNOWN_DATABASE"),
        ("SELECT 1 FORMAT NoSuchFormat", 404, 73, "UNKNOWN_FORMAT"),
        ("SELECT toUInt8('x')", 400, 6, "CANNOT_PARSE_TEXT"),
        ("SELECT throwIf(1)", 500, 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT {x:UInt8}", 500, 456, "UNKNOWN_QUERY_PARAMETER"),
        ("DROP TABLE t", 500, 164, "READONLY"),
    ],
)
def test_errors_have_clickhouses_code_name_and_status(
    door: Door, sql: str, status: int, code: int, name: str
) -> None:
    answer = door.ask(sql)
    assert answer.headers["x-clickhouse-exception-code"] == str(code), answer.text
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert f"({name}) (version 26." in answer.text
    assert answer.text.count("DB::Exception") == 1
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("params", "headers", "code"),
    [
        ({"user": "nobody"}, {}, "516"),
        ({"user": "tacho", "password": "no"}, {}, "516"),
        ({}, {"Authorization": "Basic !!!"}, "516"),
        ({}, {"Authorization": "Bearer x"}, "516"),
        ({}, {"X-ClickHouse-User": "tacho"}, "516"),
        ({}, {"X-ClickHouse-Key": "x"}, "516"),
        ({"database": "nowhere"}, {}, "81"),
        ({"database": "a`; DROP"}, {}, "81"),
        ({"default_format": "No"}, {}, "73"),
        ({"query_id": "two words"}, {}, "408"),
        ({"decompress": "1"}, {}, "48"),
        ({"a b": "1"}, {}, "164"),
        ({"session_timeout": "-1"}, {}, "374"),
        ({"session_timeout": "99999999"}, {}, "374"),
        ({"query": "SELECT 'a\0b'"}, {}, "408"),
        ({}, {"Content-Encoding": "br"}, "89"),
        ({}, {"Content-Encoding": "gzip"}, "271"),
        ({}, {"Content-Encoding": "lz4"}, "271"),
        ({}, {"Content-Encoding": "zstd"}, "271"),
        ({}, {"Content-Type": "multipart/form-data"}, "408"),
        ({}, {"Content-Type": "multipart/form-data; boundary=x"}, "408"),
    ],
)
def test_requests_that_cannot_be_understood_are_refused(
    door: Door, params: dict[str, str], headers: dict[str, str], code: str
) -> None:
    answer = door.http.post("/", params=params, headers=headers, content="SELECT 1")
    assert answer.headers["x-clickhouse-exception-code"] == code, answer.text


def test_the_writers_bad_settings_are_named(door: Door) -> None:
    unknown = door.do("SELECT 1", no_such_setting="1")
    assert unknown.headers["x-clickhouse-exception-code"] == "115"
    assert unknown.status_code == 404
    hostile = door.do("SELECT 1", **{"max_threads = 1, readonly": "0"})
    assert hostile.headers["x-clickhouse-exception-code"] == "115"
    quoted = door.do("SELECT getSetting('date_time_output_format')", date_time_output_format="x'")
    assert quoted.status_code >= 400


def test_errors_of_an_insert_name_the_place_and_write_nothing(door: Door) -> None:
    table = door.table()
    bad = door.do(f"INSERT INTO {table} FORMAT CSV\n1,a\nnonsense,b\n")
    assert bad.status_code == 400
    assert "at row 2" in bad.text
    assert door.do(f"INSERT INTO {table} FORMAT Native\n\xff\xff".encode("latin-1")).is_error
    missing = door.do(f"INSERT INTO {table} (nope) FORMAT CSV\n1\n")
    assert missing.headers["x-clickhouse-exception-code"] == "16"
    assert door.do("INSERT INTO no_such_table FORMAT CSV\n1\n").status_code == 404
    assert door.do(f"INSERT INTO {table} FORMAT No\n1\n").status_code == 404
    assert door.ask(f"SELECT count() FROM {table}").text == "0\n"


def test_the_summary_counts_written_rows(door: Door) -> None:
    table = door.table()
    answer = door.do(f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')")
    assert '"written_rows":"2"' in answer.headers["x-clickhouse-summary"]
    moved = door.do(f"INSERT INTO {table} SELECT number, 'x' FROM numbers(5)")
    assert '"written_rows":"5"' in moved.headers["x-clickhouse-summary"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "lz4"])
def test_a_bomb_of_any_kind_is_refused(door: Door, coding: str) -> None:
    plain = b"SELECT 1 /*" + b" " * (bounds.MAX_QUERY_BYTES * 4) + b"*/"
    pack = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "zstd": zstandard.ZstdCompressor().compress,
        "lz4": lz4.frame.compress,
    }[coding]
    packed = pack(plain)
    assert len(packed) < bounds.MAX_QUERY_BYTES
    answer = door.http.post("/", content=packed, headers={"Content-Encoding": coding})
    assert answer.status_code == 413
    assert answer.headers["x-clickhouse-exception-code"] == "229"
    fits = door.http.post("/", content=pack(b"SELECT 1"), headers={"Content-Encoding": coding})
    assert fits.text == "1\n"


def test_a_statement_that_is_too_large_is_refused_before_it_is_read(door: Door) -> None:
    answer = door.ask(b" " * (bounds.MAX_QUERY_BYTES + 1))
    assert answer.status_code == 413

    def endless() -> "list[bytes]":
        return [b" " * 65_536] * (bounds.MAX_QUERY_BYTES // 65_536 + 1)

    chunked = door.http.post("/", content=iter(endless()))
    assert chunked.status_code == 413


def test_too_many_parameters_are_refused(door: Door) -> None:
    query = "&".join(f"param_p{i}=1" for i in range(bounds.MAX_PARAMS + 1))
    answer = door.http.post(f"/?{query}", content="SELECT 1")
    assert answer.headers["x-clickhouse-exception-code"] == "408"


def test_a_request_line_without_end_is_cut_off(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=30) as connection:
        try:
            for _ in range(2 * bounds.MAX_URL_AND_HEADER_BYTES // 8192):
                connection.sendall(b"GET /" + b"a" * 8187)
            answer = connection.recv(100)
        except ConnectionError:
            answer = b""
    assert answer == b"" or b" 400 " in answer
    assert door.ask("SELECT 1").text == "1\n"


def test_other_methods_and_paths_are_not_there(door: Door) -> None:
    assert door.http.put("/", content="SELECT 1").status_code == 405
    assert door.http.delete("/").status_code == 405
    assert door.http.get("/play").status_code == 404
    assert door.http.get("/../etc/passwd").status_code == 404


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
words = st.sampled_from(
    [
        "SELECT",
        "1",
        ",",
        "(",
        ")",
        "'",
        '"',
        "`",
        "--",
        "/*",
        "*/",
        ";",
        "FORMAT",
        "JSON",
        "INSERT",
        "INTO",
        "t",
        "VALUES",
        "SETTINGS",
        "a",
        "=",
        "FROM",
        "numbers(3)",
        "{x:UInt8}",
        "UNION",
        "ALL",
        "WITH",
        "AS",
        "EXPLAIN",
        "AST",
        "file",
        "url",
        "DROP",
        "TABLE",
        "\n",
        "\\",
        "$$",
        "[",
        "]",
        "{}",
        "::",
        "NULL",
    ]
)


@QUICK
@given(sql=st.one_of(text, st.lists(words, max_size=12).map(" ".join), st.binary(max_size=60)))
def test_any_statement_gets_an_answer_or_an_error_of_clickhouse(
    door: Door, sql: str | bytes
) -> None:
    for answer in (door.ask(sql), door.http.get("/", params={"query": "SELECT 1", "x": str(sql)})):
        if answer.status_code != 200:
            assert answer.headers["x-clickhouse-exception-code"].isdigit()
            assert "DB::Exception" in answer.text


@QUICK
@given(
    params=st.dictionaries(text, text, max_size=4),
    headers=st.dictionaries(
        st.sampled_from(
            [
                "X-ClickHouse-User",
                "X-ClickHouse-Database",
                "X-ClickHouse-Format",
                "Content-Encoding",
                "Accept-Encoding",
                "Content-Type",
                "Authorization",
            ]
        ),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
        max_size=3,
    ),
)
def test_any_parameters_and_headers_get_an_answer_or_an_error_of_clickhouse(
    door: Door, params: dict[str, str], headers: dict[str, str]
) -> None:
    try:
        answer = door.http.post("/", params=params, headers=headers, content="SELECT 1")
    except httpx.LocalProtocolError:
        return  # the client itself will not send it
    assert answer.status_code == 200 or answer.headers["x-clickhouse-exception-code"].isdigit()


@QUICK
@given(
    data=st.binary(max_size=200),
    name=st.sampled_from(
        ["Native", "Arrow", "CSV", "RowBinary", "JSONEachRow", "Parquet", "Values"]
    ),
)
def test_any_bytes_as_rows_are_taken_or_refused(door: Door, data: bytes, name: str) -> None:
    answer = door.do(
        f"INSERT INTO FUNCTION null('a UInt8, s String') FORMAT {name}\n".encode() + data
    )
    assert answer.status_code == 200 or answer.headers["x-clickhouse-exception-code"].isdigit()
    assert door.server.alive()


@QUICK
@given(raw=st.binary(max_size=300))
def test_bytes_that_are_no_http_do_no_harm(door: Door, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
        connection.sendall(raw)
    assert door.http.get("/ping").text == "Ok.\n"
