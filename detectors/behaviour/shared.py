"""What is done in the name of a principal, by a person's hand, or with a credential, on its way to
where all of it meets, whoever did it: panes that are over, as match rows.

A pane is sent once it is over, a row for each service that had a part in it. One that comes again
is the same row: it replaces, and adds nothing.
"""

from typing import Final

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.behaviour.agents import NOBODY, Agents, AgentsState
from tachograph.detectors.behaviour.concurrency import OPEN
from tachograph.detectors.behaviour.features import SCALES
from tachograph.detectors.behaviour.pending import Pending
from tachograph.detectors.behaviour.rows import (
    PANE_COLUMNS,
    ROLL,
    SOURCE,
    UNLINKED,
    merged,
)
from tachograph.detectors.correlation.travel import GONE, GROUP, LATE, LEAF, RULE, STEPS, VERSION
from tachograph.detectors.limits import Limits

PRINCIPAL: Final = "principal"
CREDENTIAL: Final = "credential"
# A principal, by what a hand did.
PERSON: Final = "person"
SHARED: Final = "behaviour.shared"
SHARED_VERSION: Final = "2"
# What is sent of agents that may be part of a swarm (see swarm), and how its columns begin.
SWARM: Final = "behaviour.swarm"
SWARM_PREFIX: Final = "swarm_"
# What is sent of agents that are known, and of those that are not (see company).
COMPANY: Final = "behaviour.company"
COMPANY_ROW: Final = "company_row"
# What is sent of agents that may be many at once (see crowd).
CROWD: Final = "behaviour.crowd"
CROWD_ROW: Final = "crowd_row"
# Columns of panes and of whose they are, as they travel.
_PREFIX: Final = "pane_"
# Sketches of services add up over places: the seed is nobody's secret.
_SEED: Final = 0x7AC406
_OF: Final = ("agent_id", "claim", "facet")
_NUMBERS: Final = [name for name, kind in PANE_COLUMNS.items() if kind.is_numeric()]
_MINE: Final = {_PREFIX + name: kind for name, kind in PANE_COLUMNS.items()} | dict.fromkeys(
    (_PREFIX + name for name in _OF), pl.String()
)


# Hands are judged by base windows, all else by the minute: its rows stand for the last pane of it,
# without the course of acts and what was open within.
_MINUTE: Final = SCALES[1].panes
_BY_THE_MINUTE: Final = [
    pl.col("window") // _MINUTE * _MINUTE + _MINUTE - 1,
    *(pl.lit(0, pl.UInt64).alias(name) for name in ROLL),
    *(pl.lit(0, pl.Int64).alias(name) for name in OPEN),
]

# By whom and with what, as it is put together.
_PRINCIPAL: Final = "of_principal"
_CREDENTIAL: Final = "of_credential"
_MADE_OF: Final = ("tenant", "partition_key", _PRINCIPAL, _CREDENTIAL, "window")


class SenderState(msgspec.Struct, frozen=True, array_like=True):
    """As it is dumped."""

    subjects: AgentsState
    panes: bytes


class Sender:
    """Panes of the subjects of one place, until they are over. Not thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._subjects = Agents(limits.behaviour_agents)
        self._panes = Pending(limits.behaviour_windows, UNLINKED)

    def add(self, rows: pl.DataFrame) -> None:
        """Take measured rows in."""
        for own in _by_subject(rows):
            nobody = np.zeros(self._subjects.size, np.bool_)
            slots, gone = self._subjects.slots_of(own, nobody)
            if gone:
                self._panes.forget(gone)
            placed = own.with_columns(pl.Series("slot", slots))
            placed = _at(placed, placed["slot"] != NOBODY)
            self._panes.add(merged(placed, UNLINKED))

    def close(self, before: int) -> pl.DataFrame:
        """Match rows of panes before this one."""
        panes = self._panes.close(before)
        if panes.is_empty():
            return pl.DataFrame()
        who = [self._subjects.who(slot) for slot in panes["slot"].to_list()]
        keys = {name: [getattr(one, name) for one in who] for name in ("tenant", "partition_key")}
        keys |= {_PREFIX + name: [getattr(one, name) for one in who] for name in _OF}
        groups = [f"{one.facet} {one.agent_id}" for one in who]
        nothing = {name for name in _NUMBERS if not panes[name].max()}
        bare = panes.select(
            pl.col(name).alias(_PREFIX + name) for name in PANE_COLUMNS if name not in nothing
        )
        named = bare.with_columns(
            *(pl.Series(name, values, pl.String) for name, values in keys.items()),
            pl.Series(GROUP, groups, pl.String),
        )
        return travelling(named, SHARED, SHARED_VERSION)

    @property
    def evicted_subjects(self) -> int:
        """Forgotten at a limit since the start."""
        return self._subjects.evicted

    @property
    def evicted_panes(self) -> int:
        """As evicted_subjects."""
        return self._panes.evicted

    def state(self) -> SenderState:
        return SenderState(self._subjects.state(), self._panes.dump())

    def restore(self, state: SenderState) -> None:
        """Take up a state. Raises ValueError when it was hashed by another Polars."""
        self._subjects.restore(state.subjects)
        self._panes.load(state.panes)


def travelling(rows: pl.DataFrame, rule: str, version: str) -> pl.DataFrame:
    """Rows with tenant, partition_key and GROUP as match rows."""
    return rows.with_columns(
        pl.lit(rule).alias(RULE),
        pl.lit(version).alias(VERSION),
        pl.lit(1, pl.Int64).alias(STEPS),
        pl.lit(0, pl.Int64).alias(LEAF),
        pl.lit(value=False).alias(LATE),
        pl.lit(value=False).alias(GONE),
    )


def _by_subject(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows of each kind of subject, with its KEY."""
    rows = rows.rename({"event_id": "first_id"}).with_columns(
        pl.col("principal_id").fill_null("").alias(_PRINCIPAL),
        pl.col("credential_id").fill_null("").alias(_CREDENTIAL),
    )
    rows = _at(rows, (rows[_PRINCIPAL] != "") | (rows[_CREDENTIAL] != ""))
    if rows.is_empty():
        return []
    # Of one who uses one credential it is put together once for both.
    minutes = merged(rows.with_columns(_BY_THE_MINUTE), _MADE_OF)
    found = []
    for facet, column, source in (
        (PRINCIPAL, _PRINCIPAL, minutes.with_columns(pl.lit("").alias("claim"))),
        (CREDENTIAL, _CREDENTIAL, minutes.with_columns(pl.lit("").alias("claim"))),
        (PERSON, _PRINCIPAL, _at(rows, rows["claim"] != "")),
    ):
        own = _at(source, source[column] != "")
        if own.is_empty():
            continue
        found.append(
            own.with_columns(
                pl.col(column).alias("agent_id"),
                pl.lit("").alias("agent_name"),
                pl.lit("").alias("hand"),
                pl.lit(facet).alias("facet"),
                pl.lit("").alias("trace"),
                _service_bits(own["partition_key"]),
            )
        )
    return found


def _at(rows: pl.DataFrame, mask: pl.Series) -> pl.DataFrame:
    """Some rows; mostly it is all, and they are many columns to copy."""
    return rows if mask.all() else rows.filter(mask)


def _service_bits(keys: pl.Series) -> pl.Series:
    """The bit of each service in a sketch of them: what is used by one agent after another is told
    from what one uses.
    """
    numbers = keys.hash(_SEED).to_numpy()
    return pl.Series(SOURCE, np.uint64(1) << (numbers & np.uint64(63)))


def shared_apart(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Match rows of others, and those of behaviour."""
    if rows.is_empty():
        return rows, rows
    mine = rows.get_column(RULE).is_in([SHARED, SWARM, COMPANY, CROWD])
    if not mine.any():
        return rows, rows.clear()
    prefixes = (_PREFIX, SWARM_PREFIX, COMPANY_ROW, CROWD_ROW)
    foreign = [name for name in rows.columns if not name.startswith(prefixes)]
    return rows.filter(~mine).select(foreign), rows.filter(mine)


def received(sent: pl.DataFrame) -> pl.DataFrame:
    """What match rows say, as panes with KEY; `trace` is the service that they are of. Rows of
    another version are left out.
    """
    if sent.is_empty():
        return pl.DataFrame()
    ours = sent.filter((pl.col(RULE) == SHARED) & (pl.col(VERSION) == SHARED_VERSION))
    absent = [
        (pl.lit(0, kind) if kind.is_numeric() else pl.lit(None, kind)).alias(name)
        for name, kind in _MINE.items()
        if name not in ours.columns
    ]
    numbers = [_PREFIX + name for name in _NUMBERS]
    whole = ours.with_columns(absent).with_columns(pl.col(numbers).fill_null(0))
    return whole.select(
        pl.col("tenant").fill_null("default"),
        pl.col("partition_key").fill_null("").alias("trace"),
        pl.lit("").alias("partition_key"),
        *(pl.col(_PREFIX + name).fill_null("").alias(name) for name in _OF),
        pl.lit("").alias("agent_name"),
        pl.lit("").alias("hand"),
        *(pl.col(_PREFIX + name).alias(name) for name in PANE_COLUMNS),
    )
