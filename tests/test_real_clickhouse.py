"""Tests against a ClickHouse server that is none of ours run wherever there is one."""

import pytest

from tests import real_clickhouse


def test_a_real_server_is_there_and_tests_that_know_two_kinds_run_against_it_too() -> None:
    if why := real_clickhouse.missing():
        pytest.skip(f"no real ClickHouse: {why}")
    assert real_clickhouse.kinds() == ["embedded", "real"]
