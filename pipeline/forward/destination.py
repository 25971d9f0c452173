"""The seam for destinations: what one must do, and what it is handed.

A destination is a module of `destinations/` with a TYPE, the FORMATS it can carry, its `Options`
(a frozen struct, one field an option) and `open(options, secret)`. The configuration, `tacho
forward test` and the delivery loop know it by that alone.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from types import ModuleType
from typing import Any, Protocol, cast

import msgspec

from tachograph.pipeline.errors import Refused, RetryLater


class Busy(RetryLater):
    """The other end asked for a pause of `after_s` seconds."""

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


class Doubtful(RetryLater):
    """The record or the address is at fault: the answer does not tell. If others are taken and
    this one still is not, it was the record.
    """


class PartlyRefused(Refused):
    """Of the records of one call, those before `at` were taken, `at` never will be, and those after
    it were not looked at.
    """

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


class Secret:
    """A secret from the environment or a file: it never shows in a dump, a log or an error."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself; only where it is used."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"


class Outgoing(msgspec.Struct, frozen=True):
    """One record on its way out."""

    key: str  # alert id:revision; what a receiver de-duplicates by
    body: bytes
    content_type: str
    # Time of the alert's state, for receivers that file by it.
    at: datetime = datetime.fromtimestamp(0, UTC)


class Destination(Protocol):
    """One receiver. Made, used and closed by one thread of its own, so it may block.

    It must not block for longer than its own deadline (below 30 s a call): the thread is also a
    member of a consumer group.
    """

    # Records of one call, and their bytes. 1 record where the other end answers for each.
    batch_records: int
    batch_bytes: int

    def deliver(self, records: Sequence[Outgoing]) -> str:
        """Send the records, in order, and return what the other end said, in a few words.

        Returning means acknowledged, as far as the protocol can say (the docs state the class).
        Raises RetryLater (Busy with a pause; Doubtful, of one record) when all of them must be sent
        again, Refused when the other end will never take them: then, for more than one, the caller
        tries each alone; or PartlyRefused when the other end says which one stopped it.
        """

    def close(self) -> None:
        """Give up connections. Never raises."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Base of a destination's options; `problems` says in words what cannot be used."""

    def problems(self, secret: Secret | None) -> list[str]:
        """What is wrong with the values, seen together; empty when they can be used."""
        del secret
        return []


class DestinationType(Protocol):
    """A module of `destinations/`."""

    TYPE: str
    # Names of formats it can carry; the first is its default.
    FORMATS: tuple[str, ...]
    Options: type[Options]

    def open(self, options: Any, secret: Secret | None) -> Destination:
        """A destination from checked options. Connects at the first delivery, not here."""

    def render_options(self, options: Any) -> dict[str, Any]:
        """What it adds to its format's `render` (the syslog hostname); often nothing."""


@cache
def types() -> dict[str, DestinationType]:
    """Every destination type by name, found by import."""
    folder: ModuleType = importlib.import_module("tachograph.pipeline.forward.destinations")
    modules = [
        importlib.import_module(f"{folder.__name__}.{found.name}")
        for found in pkgutil.iter_modules(folder.__path__)
        if not found.name.startswith("_")
    ]
    return {module.TYPE: cast("DestinationType", module) for module in modules}
