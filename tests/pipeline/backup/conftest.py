"""The world that is backed up."""

from tests.pipeline.world import world, world_server, world_writer

__all__ = ["world", "world_server", "world_writer"]
