"""What can be told of actions by themselves, whatever came before them. A question costs more than
a few rows do, so it is asked of several places together, and the answer is cut up.
"""

from typing import NamedTuple

import polars as pl

from tachograph.detectors.engine import Engine, Matching
from tachograph.detectors.frames import Some
from tachograph.detectors.intent import marks
from tachograph.detectors.provenance.parts import split


class Sessions(NamedTuple):
    """What detectors that follow sessions read of actions."""

    marked: Some
    tell: Some
    do: Some


class Looked(NamedTuple):
    """Of actions, as they came: what rules say of them, and what sessions are told."""

    actions: pl.DataFrame
    matching: Matching
    sessions: Sessions | None

    def between(self, begin: int, end: int) -> "Looked":
        """The same of the rows from `begin` to before `end`."""
        some = self.sessions
        return Looked(
            self.actions.slice(begin, end - begin),
            self.matching.between(begin, end),
            Sessions(*(one.between(begin, end) for one in some)) if some is not None else None,
        )


def look(engine: Engine, actions: pl.DataFrame, *, follows_sessions: bool) -> Looked:
    """What is told of these actions.

    `actions`: each with an id and a time, so that none is left out. `engine`: whose prepared frames
    have what `marks` needs, where sessions are followed.
    """
    matching = engine.match(actions)
    if not follows_sessions:
        return Looked(actions, matching, None)
    tell, do = split(actions)
    return Looked(actions, matching, Sessions(marks.marked(matching.prepared), tell, do))
