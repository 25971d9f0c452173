"""How records leave: the seam, and what every way of sending answers."""

import ssl
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.sdk.buffer import Kind, Queued
from tachograph.pipeline.tls import door_tls


class Outcome(NamedTuple):
    """What became of a batch: records acknowledged, refused for good, and those to send again."""

    sent: int
    refused: int = 0
    again: Sequence[Queued] = ()
    wait_s: float | None = None  # how long the other side asks to wait; None: as the sender thinks
    problem: str | None = None


class Transport(Protocol):
    """A way to the pipeline. Used by the sender's thread alone; may block, but no longer than
    its timeout.
    """

    def send(self, kind: Kind, records: Sequence[Queued]) -> Outcome:
        """Send records of one kind, in order, and wait for the answer. Raises nothing that is
        foreseen.
        """

    def close(self) -> None:
        """Let go of connections."""

    def abandon(self) -> None:
        """Forget connections without touching them: they belong to the process this one was
        forked from.
        """


def tls_of(scheme: str) -> ssl.SSLContext | None:
    """For connections to a door, by what the environment names. Raises ValueError for files that
    cannot be used.
    """
    try:
        return door_tls().context() if scheme == "https" else None
    except ConfigError as error:
        raise ValueError(str(error)) from error


def runs(records: Sequence[Queued]) -> Iterator[tuple[Kind, list[Queued]]]:
    """Neighbours of one kind."""
    for kind, run in groupby(records, key=lambda record: record.kind):
        yield kind, list(run)
