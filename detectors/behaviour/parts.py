"""Sessions and instances of agents: what is measured of each alone, for rules that ask for it.

Nothing is said of them but by such rules: an agent out of line is, whatever session it is in. So
they are counted only where a rule names `behaviour.subject`, and cost nothing elsewhere. What was
met before, the order of tools and what is usual are then those of the session or the instance.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
import polars as pl

from tachograph.detectors.correlation.bank import Outcome
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked, Trace
from tachograph.schemas.behaviour import INSTANCE, SESSION

# So many are held of a partition: who was quiet for longest is forgotten first.
MOST_PARTS: Final = 20_000
_SESSION: Final = pl.coalesce("session_id", "trace_id")
_UNNAMED: Final = pl.col("session_id").is_null()


def of_parts(limits: Limits) -> Limits:
    """The limits of what measures parts."""
    most = min(limits.behaviour_agents, MOST_PARTS)
    return msgspec.structs.replace(limits, behaviour_agents=most)


def of_part(rows: pl.DataFrame, part: str) -> pl.DataFrame:
    """Measured rows with the KEY of the sessions or instances that they are of; those of none are
    left out.
    """
    hand, trace = {
        SESSION: (_SESSION, pl.when(_UNNAMED).then(_SESSION).otherwise(pl.col("trace"))),
        INSTANCE: (pl.col("agent_instance_id"), pl.col("trace")),
    }[part]
    return rows.filter(hand.is_not_null()).with_columns(
        hand.alias("hand"),
        trace.alias("trace"),
        pl.lit("").alias("claim"),
        pl.lit(part).alias("facet"),
    )


class Measurer(Protocol):
    """What measures one kind of part: the engine of agents, once more."""

    def count(self, rows: pl.DataFrame) -> None:
        """Take measured rows in."""
        ...

    def relink(self, links: Mapping[Trace, Linked], revision: int) -> Outcome:
        """See Detector."""
        ...

    def advance(self, watermark_us: int, revision: int) -> Outcome:
        """See Detector."""
        ...

    def evicted(self) -> dict[str, int]:
        """See Detector."""
        ...

    def dump(self) -> bytes:
        """See Detector."""
        ...

    def load(self, state: bytes) -> None:
        """See Detector."""
        ...


class Parts:
    """Those that rules ask for. Not thread-safe."""

    def __init__(self, made: Callable[[str], Measurer]) -> None:
        """`made`: a new one, of sessions or of instances."""
        self._made = made
        self._of: dict[str, Measurer] = {}

    def ask(self, parts: frozenset[str]) -> None:
        """Measure these from now on, and no others."""
        self._of = {part: self._of.get(part) or self._made(part) for part in sorted(parts)}

    def count(self, rows: pl.DataFrame) -> None:
        """Take measured rows of agents in."""
        for part, judge in self._of.items():
            judge.count(of_part(rows, part))

    def relink(self, links: Mapping[Trace, Linked], revision: int) -> None:
        """See Detector."""
        for judge in self._of.values():
            judge.relink(links, revision)

    def advance(self, watermark_us: int, revision: int) -> list[pl.DataFrame]:
        """Rows for rules, of the windows that are over."""
        outcomes = [judge.advance(watermark_us, revision) for judge in self._of.values()]
        return [rows for outcome in outcomes for rows in outcome.measured]

    def evicted(self) -> Counter[str]:
        """See Detector."""
        found = Counter[str]()
        for judge in self._of.values():
            found.update(judge.evicted())
        return found

    def dump(self) -> dict[str, bytes]:
        """The state of each."""
        return {part: judge.dump() for part, judge in self._of.items()}

    def load(self, states: Mapping[str, bytes]) -> None:
        """Take up dumps of those that are asked for. Raises ValueError when one is none."""
        for part in self._of.keys() & states.keys():
            self._of[part].load(states[part])
