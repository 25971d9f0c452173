"""Native for clients of the native protocol: each block with what they expect, however it comes."""

import random
from functools import cache

import pytest

from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError
from tachograph.pipeline.standins.clickhouse_native import NativeBlocks
from tachograph.pipeline.standins.clickhouse_request import Compressor
from tests.pipeline.standins.conftest import Door

INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
VALUES = [
    "number", "toInt8(number)", "toString(number)", "repeat('é', 200)", "true",
    "toDate('2026-11-26')", "toDateTime64('2026-11-26 10:00:00.5', 6, 'UTC')",
    "toUUID('6ba7b810-9dad-11d1-80b4-00c04fd430c8')",
    "1.5::Float32", "12.5::Decimal(9, 2)", "12.5::Decimal(38, 3)", "'ab'::FixedString(2)",
    "'a, (b'::Enum8('a, (b' = 1, 'c' = 2)", "NULL", "if(number % 2, NULL, toString(number))",
    "range(number)", "[[NULL, 'x'], []]", "[]::Array(LowCardinality(String))",
    "[toString(number % 3)]::Array(LowCardinality(String))",
    "toString(number)::LowCardinality(String)",
    "if(number % 2, NULL, 'y')::LowCardinality(Nullable(String))", "map('k', [number])",
    "(number, 'z')::Tuple(`an, odd (name` UInt64, b String)", "(1, NULL, [(2, 'q')])",
    "toIPv6('::1')", "toIPv4('1.2.3.4')", "INTERVAL 3 DAY", "toInt256(number)",
]  # fmt: skip
SQL = f"SELECT {', '.join(VALUES)} FROM numbers(50) SETTINGS max_block_size = 20 FORMAT Native"


@cache
def answer(door: Door, **params: str) -> bytes:
    said = door.do(SQL, **params)
    assert said.status_code == 200, said.text
    return said.content


@pytest.mark.parametrize("value", VALUES)
def test_after_a_columns_type_it_says_that_it_is_written_as_usual(door: Door, value: str) -> None:
    sql = f"SELECT {value} AS v FROM numbers(1, 3) FORMAT Native"
    plain = door.ask(sql).content
    # Two counts, the name, the type: both texts with their lengths before them.
    end = 5 + plain[4]
    expected = INFO + plain[:end] + b"\x00" + plain[end:]
    assert door.ask(sql, client_protocol_version="54460").content == expected


def test_pieces_may_be_cut_anywhere_and_every_block_has_its_head(door: Door) -> None:
    plain, whole = answer(door), answer(door, client_protocol_version="54460")
    blocks, left = divmod(len(whole) - len(plain), len(INFO) + len(VALUES))
    assert (blocks > 1, left) == (True, 0)
    chance = random.Random(5)
    for _ in range(20):
        encoder, found, at = NativeBlocks(Compressor("")), b"", 0
        while at < len(plain):
            size = chance.choice((1, 7, 300, 5_000))
            found += encoder.feed(plain[at : at + size])
            at += size
        assert found + encoder.finish() == whole


def test_what_is_asked_for_without_the_protocol_is_left_as_it_was(door: Door) -> None:
    assert answer(door, client_protocol_version="54405") == answer(door)


def test_a_type_that_cannot_be_passed_over_is_refused_by_its_name(door: Door) -> None:
    sql = "SELECT sumState(number) FROM numbers(3) FORMAT Native"
    said = door.ask(sql, client_protocol_version="54460")
    assert said.status_code == 501
    assert "No AggregateFunction in Native" in said.text
    assert door.ask(sql).status_code == 200


def test_the_words_of_a_failure_come_after_it_as_they_are() -> None:
    encoder = NativeBlocks(Compressor(""))
    with pytest.raises(ClickHouseError, match="No Variant"):
        encoder.feed(b"\x01\x01\x01v\x07Variant\x00")
    assert encoder.feed(b"words") + encoder.finish() == b"words"


@pytest.mark.parametrize("version", ["x", "-1", "9" * 30])
def test_a_version_that_is_no_number_is_refused(door: Door, version: str) -> None:
    assert door.ask("SELECT 1", client_protocol_version=version).status_code == 400
