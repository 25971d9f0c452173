"""Many agents meet the same new targets at once, each too little to be out of line alone.

Where an agent is seen, a window in which it met a few targets that are new to it, and more than so
many acts of it bring, goes as a match row to where all of its tenant meet. There the windows of one
time are laid over one another: a swarm are agents of which each met several new targets that
others of them met too. So what is said is a function of a set of rows, wherever they come from.
"""

import io
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.agents import Identity
from tachograph.detectors.behaviour.baselines import WARM, Baselines
from tachograph.detectors.behaviour.closed import Closed
from tachograph.detectors.behaviour.features import NEW_TARGETS, PANE_US, SCALES, Finding
from tachograph.detectors.behaviour.measures import free_bits, words_of
from tachograph.detectors.behaviour.novelty import ONE, evidence
from tachograph.detectors.behaviour.report import BUCKET_US, Said, Versions, signal_of
from tachograph.detectors.behaviour.rows import TARGETS
from tachograph.detectors.behaviour.shared import SWARM, SWARM_PREFIX, travelling
from tachograph.detectors.correlation.travel import GROUP, RULE, VERSION
from tachograph.schemas.alert import Signal

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bits = npt.NDArray[np.bool_]
# Tenant, place and agent.
_Who = tuple[str, str, str]

SWARM_VERSION: Final = "1"
FINDING: Final = Finding(
    "f3a97c10-5d2e-5b46-8e0a-91c4d7b2a615",
    "Many agents met the same new targets at once",
    "A07",
    [
        "atlas.aml.t0124", "atlas.aml.t0089", "owasp-llm.2026.llm03", "owasp-asi.asi02",
        "owasp-asi.asi10", "nist-ai-rmf.measure-2.4",
    ],
    "See what the agents have in common: who started them, which text they read, which release. "
    "List the targets and stop all of them together if nothing explains it.",
)  # fmt: skip
# Windows of ten minutes, each with the one before it.
SCALE: Final = 2
_PANES: Final = SCALES[SCALE].panes
# An agent takes part with so many new targets that others met too, and a swarm are so many agents;
# windows with fewer new targets are not sent.
LEAST_TARGETS: Final = 3
LEAST_SENT: Final = 2
LEAST_AGENTS: Final = 5
# From so many it is grave.
_GRAVE_AGENTS: Final = 10
# What the new targets must say for more than so many acts bring (see novelty).
LEAST_EVIDENCE: Final = 2 * ONE
# A target that many meet in a fleet where much is new anyway says less.
_TIMES_AT_LARGE: Final = 3
# Agents that are named in words.
_TOLD: Final = 5

_TEXTS: Final = (
    "agent_id", "agent_name", "first_id", "session_id", "trace_id", "principal_id", "environment",
    "tool_name",
)  # fmt: skip
_NUMBERS: Final = ("window", "first_us", "last_us", "acts", "new_targets", "expected")
_MARKS: Final = ("synthetic", "replay")
_SCHEMA: Final[dict[str, pl.DataType]] = {
    "tenant": pl.String(),
    "partition_key": pl.String(),
    **dict.fromkeys(_TEXTS, pl.String()),
    **dict.fromkeys(_NUMBERS, pl.Int64()),
    **dict.fromkeys(_MARKS, pl.Boolean()),
    **dict.fromkeys(TARGETS, pl.UInt64()),
}
_WHO: Final = ("tenant", "partition_key", "agent_id", "agent_name")
_ROW: Final = (*_WHO, "window")
_SUMMED: Final = ("acts", "new_targets", "expected")
_LATEST: Final = ("window", "last_us")
_FIRSTS: Final = [name for name in _SCHEMA if name not in (*_WHO, *_SUMMED, *_LATEST, *TARGETS)]
_TOGETHER: Final = [
    pl.col(*_FIRSTS).first(),
    pl.col(*_LATEST).last(),
    pl.col(*_SUMMED).sum(),
    *(pl.col(name).bitwise_or() for name in TARGETS),
]


def may_be_part(
    closed: Closed,
    own: Ints,
    before: Words,
    baselines: Baselines,
    agents: Sequence[Identity | None],
) -> list[pl.DataFrame]:
    """Windows in which a known agent met more new targets than so many acts bring, to be sent to
    where all meet: too little alone, it may be a swarm. `own`: windows known of each agent.
    """
    known = (closed.scales == SCALE) & (own >= WARM[SCALE])
    rows = known & (closed.amounts[:, NEW_TARGETS] >= LEAST_SENT)
    if not rows.any():
        return []
    expected = baselines.expected_new(closed.slots[rows], closed.amounts[rows])
    new = closed.amounts[rows, NEW_TARGETS]
    tells = evidence(new, expected, free_bits(before[rows])) >= LEAST_EVIDENCE
    part, met = closed.at(rows).at(tells), before[rows][tells]
    return [sent(part, met, expected[tells], agents)]


def sent(
    closed: Closed, before: Words, expected: Ints, agents: Sequence[Identity | None]
) -> pl.DataFrame:
    """Match rows of windows that may be part of a swarm. `before`: the sketches of what their
    agents had met; `expected`: new targets of their acts, in 256ths.
    """
    frame = closed.frames[SCALE][closed.places]
    who = [agents[slot] for slot in closed.slots.tolist()]
    named = {name: [getattr(one, name, None) for one in who] for name in _WHO}
    many = len(TARGETS)
    new = closed.words[:, :many] & ~before[:, :many]
    made = frame.select(*(name for name in _SCHEMA if name in frame.columns)).with_columns(
        *(pl.Series(name, values, pl.String) for name, values in named.items()),
        *(pl.Series(name, new[:, place]) for place, name in enumerate(TARGETS)),
        pl.Series("new_targets", closed.amounts[:, NEW_TARGETS]),
        pl.Series("expected", expected),
    )
    prefixed = {name: SWARM_PREFIX + name for name in _SCHEMA if name not in _WHO[:2]}
    grouped = made.rename(prefixed).with_columns(pl.lit("").alias(GROUP))
    return travelling(grouped, SWARM, SWARM_VERSION)


def received(rows: pl.DataFrame) -> pl.DataFrame:
    """What match rows say. Rows of another version are left out."""
    ours = rows.filter((pl.col(RULE) == SWARM) & (pl.col(VERSION) == SWARM_VERSION))
    named = {name: name if name in _WHO[:2] else SWARM_PREFIX + name for name in _SCHEMA}
    return ours.select(
        (pl.col(there) if there in ours.columns else pl.lit(None)).cast(_SCHEMA[name]).alias(name)
        for name, there in named.items()
    ).drop_nulls([*_NUMBERS, *TARGETS])


class SwarmState(msgspec.Struct, frozen=True, array_like=True):
    """As it is dumped."""

    rows: bytes
    said: list[tuple[_Who, int]]
    over: int


class Swarms:
    """Windows of all agents of a tenant, until they are over. Not thread-safe."""

    def __init__(self, limit: int) -> None:
        """`limit`: rows held; beyond it the windows furthest ahead go first."""
        self._limit = limit
        self._rows = pl.DataFrame(schema=_SCHEMA)
        # The newest bucket in which each agent was said.
        self._said: dict[_Who, int] = {}
        # Windows before this one are judged.
        self._over = 0
        self.evicted = 0

    def take(self, rows: pl.DataFrame) -> None:
        """Take match rows in; one that comes twice counts once, one of a window that is over does
        not count.
        """
        fresh = received(rows).filter(pl.col("window") >= self._over)
        if fresh.is_empty():
            return
        whole = pl.concat([self._rows, fresh]).unique(_ROW, keep="any").sort(_ROW[::-1])
        self.evicted += max(whole.height - self._limit, 0)
        self._rows = whole.head(self._limit)

    def close(self, before: int, revision: int) -> list[Signal]:
        """Judge windows that end at or before a base pane, each with the one before it."""
        first, self._over = self._over, before // _PANES
        over = self._rows.filter(pl.col("window").is_between(first, self._over - 1))
        found = [
            signal
            for window, tenant in over.select("window", "tenant").unique().sort(pl.all()).rows()
            for signal in self._judged(_at(self._rows, window, tenant), revision)
        ]
        self._rows = self._rows.filter(pl.col("window") >= self._over - 1)
        floor = before * PANE_US // BUCKET_US - 1
        self._said = {who: bucket for who, bucket in self._said.items() if bucket >= floor}
        return found

    def _judged(self, rows: pl.DataFrame, revision: int) -> list[Signal]:
        """What agents of a tenant did at one time."""
        if rows.height < LEAST_AGENTS:
            return []
        together = shared_targets(bits_of(words_of(rows, TARGETS)))
        part = rows.with_columns(pl.Series("shared", together)).filter(pl.col("shared") > 0)
        return [
            signal
            for row in part.rows(named=True)
            if (signal := self._say(row, part, revision)) is not None
        ]

    def _say(self, row: dict[str, Any], part: pl.DataFrame, revision: int) -> Signal | None:
        """Once in a bucket: of each agent the first window."""
        who = Identity(**{name: row[name] for name in _WHO}, claim="", hand="")
        key, bucket = (who.tenant, who.partition_key, who.agent), row["last_us"] // BUCKET_US
        if self._said.get(key, -1) >= bucket:
            return None
        self._said[key] = bucket
        asked = {**row, "ids": [row["first_id"]]}
        by = Versions(SWARM_VERSION, revision, "swarm")
        return signal_of(who, asked, SCALES[SCALE], _words(row, part), by)

    def state(self) -> SwarmState:
        sink = io.BytesIO()
        self._rows.write_ipc_stream(sink, compression="zstd")
        return SwarmState(sink.getvalue(), sorted(self._said.items()), self._over)

    def restore(self, state: SwarmState) -> None:
        """Take up a state."""
        self._rows = pl.read_ipc_stream(io.BytesIO(state.rows))
        self._said, self._over = dict(state.said), state.over


def _at(rows: pl.DataFrame, window: int, tenant: str) -> pl.DataFrame:
    """Of each agent of a tenant what it did in a window and the one before: nothing begins when
    windows do.
    """
    both = rows.filter(
        (pl.col("tenant") == tenant) & pl.col("window").is_between(window - 1, window)
    )
    return both.sort("window").group_by(_WHO).agg(_TOGETHER).sort(_WHO)


def bits_of(words: Words) -> Bits:
    """Sketches (rows, words) as (rows, bits)."""
    octets = np.ascontiguousarray(words.astype("<u8")).view(np.uint8)
    return np.unpackbits(octets, axis=1).astype(np.bool_)


def shared_targets(bits: Bits) -> Ints:
    """Of each agent how many of its new targets a swarm has in common; 0: it is not part of one.
    Who leaves takes what only he shared along, until nobody leaves.
    """
    part = np.ones(len(bits), np.bool_)
    while True:
        shared = (bits & _crowded(bits, part)).sum(axis=1)
        stays = part & (shared >= LEAST_TARGETS)
        if stays.sum() < LEAST_AGENTS:
            return np.zeros(len(bits), np.int64)
        if (stays == part).all():
            return np.where(part, shared, 0)
        part = stays


def _crowded(bits: Bits, part: Bits) -> Bits:
    """Which bits more agents have in common than chance would lay over one another, by the half of
    the bits that is met least.
    """
    met = np.sort(bits.sum(axis=0))
    at_large = 2 * int(met[: len(met) // 2].sum())
    least = LEAST_AGENTS * len(met) + _TIMES_AT_LARGE * at_large
    found: Bits = bits[part].sum(axis=0) * len(met) >= least
    return found


def _words(row: dict[str, Any], part: pl.DataFrame) -> Said:
    agents = part.rows(named=True)
    others = [_name(one) for one in agents if one != row]
    named = ", ".join(others[:_TOLD])
    named += f" and {len(others) - _TOLD:,} more" if len(others) > _TOLD else ""
    expected = row["expected"] / ONE
    return Said(
        FINDING,
        "high" if part.height >= _GRAVE_AGENTS else "medium",
        f"{FINDING.title}: {row['new_targets']:,} new targets within 20 min, where its "
        f"{row['acts']:,} acts bring {expected:.3g}; {row['shared']:,} of them were new to others "
        f"too, {part.height:,} agents in all: {named}",
        {
            "observed": str(row["new_targets"]),
            "expected": f"{expected:.6g}",
            "shared_targets": str(row["shared"]),
            "agents": str(part.height),
            "others": ", ".join(others),
        },
        {
            "new_targets": float(row["new_targets"]),
            "expected": expected,
            "shared_targets": float(row["shared"]),
            "agents": float(part.height),
        },
    )


def _name(row: dict[str, Any]) -> str:
    return str(row["agent_id"] or row["agent_name"] or row["partition_key"])
