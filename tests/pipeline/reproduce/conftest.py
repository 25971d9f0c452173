"""Fixtures of stored evidence."""

from tests.pipeline.stored import ask, clickhouse, store, tenant

__all__ = ["ask", "clickhouse", "store", "tenant"]
