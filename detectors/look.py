"""What can be told of actions by themselves, whatever came before them. A question costs more than
a few rows do, so it is asked of several places together, and the answer is cut up.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from tachograph.detectors.engine import Engine
from tachograph.detectors.frames import Some
from tachograph.detectors.intent import marks
from tachograph.detectors.matching.matcher import Rows
from tachograph.detectors.provenance.parts import split


class Sessions(NamedTuple):
    """What detectors that follow sessions read of actions."""

    marked: Some
    tell: Some
    do: Some


class Looked(NamedTuple):
    """Of actions, as they came: as rules read them, which match what, what sessions are told."""

    actions: pl.DataFrame
    prepared: pl.DataFrame
    matched: Mapping[int, Rows]
    sessions: Sessions | None

    def between(self, begin: int, end: int) -> "Looked":
        """The same of the rows from `begin` to before `end`."""
        matched = {}
        for at, rows in self.matched.items():
            first, last = np.searchsorted(rows, (begin, end)).tolist()
            if last > first:
                matched[at] = rows[first:last] - begin
        some = self.sessions
        return Looked(
            self.actions.slice(begin, end - begin),
            self.prepared.slice(begin, end - begin),
            matched,
            Sessions(*(one.between(begin, end) for one in some)) if some is not None else None,
        )


def look(engine: Engine, actions: pl.DataFrame, *, follows_sessions: bool) -> Looked:
    """What is told of these actions.

    `actions`: each with an id and a time, so that none is left out. `engine`: whose prepared frames
    have what `marks` needs, where sessions are followed.
    """
    prepared = engine.prepared(actions)
    matched = engine.match(prepared)
    if not follows_sessions:
        return Looked(actions, prepared, matched, None)
    tell, do = split(actions)
    return Looked(actions, prepared, matched, Sessions(marks.marked(prepared), tell, do))
