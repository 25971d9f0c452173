"""Whether what was taken in is worked off: asked before every post, so that nothing unread is
lost.
"""

import os
from collections.abc import Mapping
from typing import Final, Protocol

from tachograph.pipeline.kafka.groups import READERS
from tachograph.pipeline.settings import STANDIN_BROKER, Settings

RETRY_AFTER_S: Final = 1.0


class Backlog(Protocol):
    """What the door asks and tells. Neither may block."""

    def overloaded(self) -> float | None:
        """Seconds until a sender should try again, or None: send."""

    def wrote(self, topic: str, size_bytes: int, records: int) -> None:
        """The broker acknowledged records of the door."""

    def close(self) -> None:
        """Stop watching."""


class Unbounded:
    """A real broker: its retention is its own affair."""

    def overloaded(self) -> float | None:
        """Never."""
        return None

    def wrote(self, topic: str, size_bytes: int, records: int) -> None:
        """Nothing to tell."""

    def close(self) -> None:
        """Nothing to stop."""


class Standin:
    """The stand-in broker, which drops the oldest beyond a few MiB a partition."""

    def __init__(self, settings: Settings) -> None:
        from tachograph.pipeline.standins.backlog import Backpressure

        self._watch = Backpressure(settings.kafka.bootstrap, READERS)

    def overloaded(self) -> float | None:
        """A second at a time, while readers are behind."""
        return RETRY_AFTER_S if self._watch.should_wait() else None

    def wrote(self, topic: str, size_bytes: int, records: int) -> None:
        """Count it until the next look at the broker."""
        self._watch.wrote(topic, size_bytes, records)

    def close(self) -> None:
        """Stop looking."""
        self._watch.close()


def backlog_of(settings: Settings, environ: Mapping[str, str] | None = None) -> Backlog:
    """The backlog of the broker that this process works on: `tacho up` says if it is the
    stand-in.
    """
    env = os.environ if environ is None else environ
    return Standin(settings) if env.get(STANDIN_BROKER) else Unbounded()
