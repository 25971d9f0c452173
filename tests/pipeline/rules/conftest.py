"""Fixtures of stored actions."""

from tests.pipeline.stored import ask, clickhouse, store, tenant

__all__ = ["ask", "clickhouse", "store", "tenant"]
