"""Every format, found by import, and which of them a JSON object is of.

A module of this package that names a `FORMAT` is one; so is every mapping file under `maps/`.
"""

import functools
import importlib
import pkgutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from tachograph.pipeline.normalize.foreign import undumped
from tachograph.pipeline.normalize.formats.decoder import Decoder
from tachograph.pipeline.normalize.formats.mapping import Mapped, load

PACKAGE = "tachograph.pipeline.normalize.formats"


@functools.cache
def shipped() -> dict[str, Decoder]:
    """Formats by name; those written as code are asked before those that are mapped."""
    package = importlib.import_module(PACKAGE)
    found: dict[str, Decoder] = {}
    for module in pkgutil.iter_modules(package.__path__):
        decoder = getattr(importlib.import_module(f"{PACKAGE}.{module.name}"), "FORMAT", None)
        if decoder is not None:
            found[decoder.name] = decoder
    maps = resources.files(package) / "maps"
    with resources.as_file(maps) as folder:
        for path in sorted(Path(folder).glob("*.yaml")):
            mapped = Mapped(load(path))
            found[mapped.name] = mapped
    return found


class Formats:
    """The shipped formats and an operator's mappings; his are asked first."""

    def __init__(self, mappings: Sequence[Path] = ()) -> None:
        """Raises BadMapping with every problem of a file."""
        self._own: dict[str, Decoder] = {}
        for path in mappings:
            mapped = Mapped(load(path))
            self._own[mapped.name] = mapped

    @functools.cached_property
    def _all(self) -> dict[str, Decoder]:
        # Loaded when first asked: what reads native actions alone needs none of them.
        return {**self._own, **{n: d for n, d in shipped().items() if n not in self._own}}

    @property
    def names(self) -> list[str]:
        """Their names."""
        return sorted(self._all)

    def get(self, name: str) -> Decoder | None:
        """The format of that name."""
        return self._all.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._all

    def named(self, name: str) -> Decoder:
        """The format of that name. Raises KeyError."""
        return self._all[name]

    def of(self, item: Any) -> str | None:
        """The format that recognises an object, or what a dump of a topic holds; None: none."""
        item = undumped(item)
        if item.__class__ is not dict:
            return None
        return next((name for name, one in self._all.items() if one.recognises(item)), None)
