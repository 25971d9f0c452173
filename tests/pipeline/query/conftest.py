"""The world that hunts are asked about."""

from tests.pipeline.world import world, world_writer

__all__ = ["world", "world_writer"]
