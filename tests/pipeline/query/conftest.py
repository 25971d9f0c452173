"""The world that hunts are asked about, and a ClickHouse to store into meanwhile."""

from tests.pipeline.stored import ask, clickhouse, store, tenant
from tests.pipeline.world import world, world_server, world_writer

__all__ = ["ask", "clickhouse", "store", "tenant", "world", "world_server", "world_writer"]
