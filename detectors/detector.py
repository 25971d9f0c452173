"""What every detector over one partition offers. What stands after any calls is a function of the
set of actions and links, not of their order or batches.
"""

from collections.abc import Mapping
from typing import Protocol

import polars as pl

from tachograph.detectors.correlation.bank import Outcome
from tachograph.detectors.links import Linked, Trace


class Detector(Protocol):
    """Called by the one thread that owns the partition; no I/O, no clock, never blocks."""

    def judge(self, actions: pl.DataFrame, revision: int) -> Outcome:
        """Judge actions that were not judged before: what is new, revised or retracted by them.

        `actions`: columns of an action batch, absent ones allowed. `revision`: of their record.
        """
        ...

    def relink(self, links: Mapping[Trace, Linked], revision: int) -> Outcome:
        """Sessions and agents of traces became known."""
        ...

    def advance(self, watermark_us: int, revision: int) -> Outcome:
        """All sources reached this observed time: say what had to wait, forget what is done."""
        ...

    def close(self, revision: int) -> Outcome:
        """Nothing comes any more."""
        ...

    def evicted(self) -> dict[str, int]:
        """What was forgotten at a limit since the start, by kind."""
        ...

    def dump(self) -> bytes:
        """The whole state."""
        ...

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises ValueError when it is none of its own."""
        ...
