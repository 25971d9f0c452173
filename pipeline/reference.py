"""The reference data that a process judges with: what the command line or TACHO_REFERENCE names."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from tachograph.detectors.reference.reference import Reference, ReferenceErrors, load, shipped
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.log import get
from tachograph.pipeline.secrets import operator_key
from tachograph.pipeline.settings import paths_of

log = get("reference")

MAX_NOTES = 20


def reference_in_force(home: Path, paths: Sequence[Path] = ()) -> Reference:
    """The reference of these paths, else of TACHO_REFERENCE (paths, separated as PATH is), else
    what is shipped. Raises ConfigError with every problem found.
    """
    chosen = list(paths) or paths_of(os.environ, "TACHO_REFERENCE")
    if not chosen:
        return shipped()
    try:
        found = load(chosen, as_seen=_as_seen(home))
    except ReferenceErrors as error:
        raise ConfigError(str(error)) from error
    for note in found.notes[:MAX_NOTES]:
        log.warning("reference data is not whole", note=str(note))
    if len(found.notes) > MAX_NOTES:
        log.warning("reference data is not whole", more=len(found.notes) - MAX_NOTES)
    return found


def _as_seen(home: Path) -> Callable[[str], str]:
    """How a text looks in an action: the same redaction, under the same key."""
    from tachograph.pipeline.normalize.personal import redactors

    found = redactors(operator_key(home))

    def seen(text: str) -> str:
        texts = pl.Series([text], dtype=pl.String)
        for one in found:
            texts, _ = one.redact(texts)
        return str(texts[0])

    return seen
