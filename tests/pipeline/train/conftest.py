"""Fixtures of stored actions."""

from tests.pipeline.stored import clickhouse, store

__all__ = ["clickhouse", "store"]
