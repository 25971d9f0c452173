"""Where the rows of an INSERT begin, and that what we quote stays quoted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError, from_engine
from tachograph.pipeline.standins.clickhouse_limits import MAX_INSERT_HEAD_BYTES
from tachograph.pipeline.standins.clickhouse_sql import (
    is_insert,
    quote_identifier,
    quote_string,
    set_statement,
    split_insert,
)


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("INSERT INTO t FORMAT CSV", "CSV"),
        ('insert into d.t (a, `format`, "values") format Native', "Native"),
        ("INSERT INTO t (a) SETTINGS x = 'FORMAT y', z = 1 FORMAT JSONEachRow", "JSONEachRow"),
        ("INSERT /* FORMAT a */ INTO t -- VALUES\n (a) FORMAT TSV", "TSV"),
        ("  # comment\n INSERT INTO `FORMAT` FORMAT Arrow", "Arrow"),
        ("INSERT INTO FUNCTION null('a String') FORMAT RowBinary", "RowBinary"),
        ("INSERT INTO t (a, b) VALUES", "Values"),
    ],
)
@pytest.mark.parametrize("rows", [b"1\n2\n", b"", b"'FORMAT x'", b"\x00\xff;\n", b"FORMAT CSV\n"])
def test_rows_begin_after_the_format(statement: str, name: str, rows: bytes) -> None:
    values = name == "Values"
    text = statement.encode() + (b" " if values else b"\n") + rows
    found = split_insert(text)
    assert found is not None
    assert found.format == name
    assert text[found.data_start :] == (b" " if values else b"") + rows
    assert statement.startswith(found.statement)
    assert is_insert(text)


@given(rows=st.binary(max_size=300))
def test_no_row_is_ever_eaten(rows: bytes) -> None:
    text = b"INSERT INTO t FORMAT Native\n" + rows
    found = split_insert(text)
    assert found is not None
    assert text[found.data_start :] == rows


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t SELECT 1",
        "INSERT INTO t (a) SELECT 'FORMAT CSV' FORMAT CSV",
        "INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x",
        "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        "INSERT INTO t",
        "INSERT INTO t FORMAT",
        "INSERT INTO t FORMAT 'x'",
    ],
)
def test_an_insert_without_rows_is_left_to_the_engine(sql: str) -> None:
    assert split_insert(sql.encode()) is None


@pytest.mark.parametrize(
    "sql", ["SELECT 1", "", "--", "(INSERT", "INSERTED", "'INSERT'", "/* INSERT"]
)
def test_what_is_no_insert_is_none(sql: str) -> None:
    assert not is_insert(sql.encode())


def test_a_statement_that_never_comes_to_its_rows_is_refused() -> None:
    with pytest.raises(ClickHouseError, match="too long"):
        split_insert(b"INSERT INTO t (" + b"a," * MAX_INSERT_HEAD_BYTES)


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_an_insert_or_not_and_nothing_worse(raw: bytes) -> None:
    try:
        found = split_insert(raw)
    except ClickHouseError:
        return
    assert found is None or 0 <= found.data_start <= len(raw)


@given(value=st.text(max_size=50))
def test_a_quoted_value_cannot_leave_its_quotes(value: str) -> None:
    for quoted, mark in ((quote_string(value), "'"), (quote_identifier(value), "`")):
        inner, position = quoted[1:-1], 0
        while position < len(inner):
            assert inner[position] != mark
            position += 2 if inner[position] == "\\" else 1
        assert position == len(inner)


def test_only_names_of_settings_are_set() -> None:
    assert set_statement({"a": "1", "b_c": "x'"}) == "SET a = '1', b_c = 'x\\''"
    for name in ("a b", "a = 1, b", "", "1a", "a;b", "é"):
        with pytest.raises(ClickHouseError):
            set_statement({name: "1"})


def test_an_exception_of_the_engine_is_told_once() -> None:
    text = (
        "Streaming query failed: Code: 36. DB::Exception: Code: 36. DB::Exception: No (x) here. "
        "(BAD_ARGUMENTS) (version 26.9.2.1). (BAD_ARGUMENTS)"
    )
    error = from_engine(text)
    assert (error.code, error.name, error.text) == (36, "BAD_ARGUMENTS", "No (x) here.")
    assert error.body("1.2") == (
        "Code: 36. DB::Exception: No (x) here. (BAD_ARGUMENTS) (version 1.2 (embedded build))\n"
    )
    assert from_engine("out of the blue").http_status == 500
