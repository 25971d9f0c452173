"""The formats alerts leave in: one module each, pure, found by import.

A format is a module with the names of `Format`. Dropping one into this folder is all it takes:
the configuration knows it by its NAME, and the contract suite feeds it every example and every
hostile value.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, cast

from tachograph.schemas.alert import Alert
from tachograph.schemas.records import Health


class Format(Protocol):
    """What a format module has. Both functions are pure and total: no Alert or Health fails."""

    NAME: str
    CONTENT_TYPE: str
    # No record is longer, whatever is in the alert; what is cut says so.
    MAX_BYTES: int

    def render(self, alert: Alert, *, update: bool = False, **extra: Any) -> bytes:
        """One alert as one record, without the framing of a transport (no final newline).

        `update` says that the receiver has an earlier revision of it. Alert id and revision are
        always in the record: a receiver that has seen the pair may ignore the record. `extra` is
        what a destination adds for this format (`render_options`), as syslog its hostname.
        """

    def render_health(self, health: Health, **extra: Any) -> bytes:
        """One health record, for receivers that want to know that we are alive."""

    def pack(self, records: Sequence[tuple[str, bytes]]) -> bytes:
        """Records, each with its key, as the receiver takes several at once: often lines."""


@cache
def formats() -> dict[str, Format]:
    """Every format by name."""
    modules = [
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
        if not found.name.startswith("_")
    ]
    return {module.NAME: cast("Format", module) for module in modules}
