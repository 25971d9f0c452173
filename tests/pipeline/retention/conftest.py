"""The ClickHouse that the tests of verify use."""

from tests.pipeline.verify.conftest import clickhouse, owner, reader

__all__ = ["clickhouse", "owner", "reader"]
