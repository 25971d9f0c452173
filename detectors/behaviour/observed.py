"""Windows that are over as rows that rules are asked of: every measure a field (see
schemas/behaviour).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.agents import Identity
from tachograph.detectors.behaviour.closed import Judged, joined
from tachograph.detectors.behaviour.concurrency import MOST_OPEN, MOST_SESSIONS
from tachograph.detectors.behaviour.course import MOST_GAP, SLOT_US
from tachograph.detectors.behaviour.features import NAMES, PANE_US, SCALES
from tachograph.detectors.behaviour.levels import OCTAVE, different_few
from tachograph.detectors.behaviour.measures import NO_SCORE
from tachograph.detectors.behaviour.rows import GAPS, TARGET_COUNTS, TOOL_COUNTS
from tachograph.detectors.language.rule import MICROS
from tachograph.schemas.batch import COLUMNS as ACTION_COLUMNS
from tachograph.schemas.behaviour import (
    AGENT,
    COLUMNS,
    CREDENTIAL,
    KIND,
    PERSON,
    PREFIX,
    PRINCIPAL,
    SHARED,
)
from tachograph.schemas.identity import plain_id

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_NAMES = np.array([scale.name for scale in SCALES])
_SECONDS = np.array([scale.span_us // MICROS for scale in SCALES])
_HOUR_PANES = 3_600_000_000 // PANE_US
# 1970 began on a Thursday.
_WEEK_HOURS, _MONDAY = 168, 72
_MINUTE_S = 60
# As in an action: of the first act of the window.
_FIRSTS = ("session_id", "trace_id", "principal_id", "environment", "agent_instance_id")
_MARKS = ("synthetic", "replay")
# Not known of what comes by the minute.
_SHORTER = (PREFIX + "burst_actions", PREFIX + "calls_open")


def observed(
    parts: Sequence[Judged], agents: Sequence[Identity | None], subject: str = AGENT
) -> pl.DataFrame:
    """A row of each window, with the columns of an action and of its measures. `parts`: of the same
    frames.
    """
    judged = joined(parts)
    closed = judged.closed
    whole = pl.concat(
        [
            frame.select(_ASKED).with_columns(pl.lit(place).alias("scale"))
            for place, frame in enumerate(closed.frames)
        ]
    )
    begins = np.cumsum([0, *(frame.height for frame in closed.frames)])
    rows = whole[begins[closed.scales] + closed.places]
    who = [agents[slot] for slot in closed.slots.tolist()]
    known = [one for one in who if one is not None]
    kept = pl.Series([one is not None for one in who])
    frame = rows.select(*_FIRSTS, *_MARKS).with_columns(
        pl.Series("event_time", closed.ends * PANE_US).cast(ACTION_COLUMNS["event_time"]),
        pl.lit(KIND).alias("kind"),
        *_measures(judged, rows, subject),
    )
    ends = closed.ends[kept.to_numpy()].tolist()
    names = _NAMES[closed.scales[kept.to_numpy()]].tolist()
    told = frame.filter(kept).with_columns(
        pl.col("event_time").alias("observed_time"),
        pl.Series("event_id", list(map(_id, known, names, ends)), pl.String),
        pl.Series("tenant", [one.tenant for one in known], pl.String),
        pl.Series("partition_key", [one.partition_key for one in known], pl.String),
        pl.Series("agent_id", [one.agent_id or None for one in known], pl.String),
        pl.Series("agent_name", [one.agent_name or None for one in known], pl.String),
    )
    return _shared(told, known) if any(one.facet in SHARED for one in known) else told


def _shared(rows: pl.DataFrame, who: Sequence[Identity]) -> pl.DataFrame:
    """Windows of principals and credentials, whoever acted: they name no agent and no session, and
    come by the minute, so that shorter bursts are not known.
    """
    return rows.with_columns(
        pl.Series(PREFIX + "subject", [one.facet for one in who], pl.String),
        *(pl.lit(None, pl.String).alias(name) for name in ("agent_id", *_FIRSTS)),
        *(pl.lit(None, COLUMNS[name]).alias(name) for name in _SHORTER),
        pl.Series("partition_key", [one.agent_id for one in who], pl.String),
    ).with_columns(
        pl.Series(name, [one.agent_id if one.facet == of else None for one in who], pl.String)
        for name, of in (("principal_id", PRINCIPAL), ("credential_id", CREDENTIAL))
    )


def _id(who: Identity, name: str, end: int) -> str:
    named = (who.tenant, who.partition_key, who.agent_id, who.agent_name, who.claim, who.hand)
    facet = (who.facet,) if who.facet else ()
    return plain_id(KIND, *named, *facet, name, str(end))


def _measures(judged: Judged, rows: pl.DataFrame, subject: str) -> list[pl.Series]:
    closed = judged.closed
    person = subject == PERSON
    found = {
        "subject": np.repeat(subject, rows.height),
        "window": _NAMES[closed.scales],
        "window_s": _SECONDS[closed.scales],
        "windows_known": None if person else judged.own,
        "hour_of_week": ((closed.ends - 1) // _HOUR_PANES + _MONDAY) % _WEEK_HOURS,
        **dict(zip(NAMES, closed.amounts.T, strict=True)),
        **_rates(judged, rows),
        **_course(rows),
    }
    highest = judged.scores.max(axis=1)
    if not person:
        found["score"] = _where(highest > NO_SCORE, highest / OCTAVE)
    return [_series(name, found.get(name), rows.height) for name in _MEASURED]


def _series(name: str, values: npt.NDArray[np.generic] | None, height: int) -> pl.Series:
    kind = COLUMNS[PREFIX + name]
    if values is None:
        return pl.Series(PREFIX + name, [None] * height, kind)
    made = pl.Series(PREFIX + name, values, strict=False)
    return (made.fill_nan(None) if made.dtype.is_float() else made).cast(kind)


def _rates(judged: Judged, rows: pl.DataFrame) -> dict[str, npt.NDArray[np.generic]]:
    closed = judged.closed
    own = {name: rows[name].to_numpy() for name in _SUMS}
    amounts = dict(zip(NAMES, closed.amounts.T, strict=True))
    minutes = _SECONDS[closed.scales] / _MINUTE_S
    cost_usd = own["cost_micros"] / MICROS
    few = {name: different_few(rows[name].to_numpy()) for name in _FEW}
    return {
        "actions_per_minute": amounts["acts"] / minutes,
        "tokens_per_minute": amounts["tokens"] / minutes,
        "burst_actions": own["burst"],
        "failure_ratio": _share(amounts["failures"], amounts["acts"]),
        "denials": own["denials"],
        "denial_ratio": _share(own["denials"], amounts["acts"]),
        "denied_again": np.maximum(own["denied_calls"] - few["denied0"], 0),
        "new_target_share": np.minimum(_share(amounts["new_targets"], amounts["targets"]), 1),
        "new_tool_share": _share(amounts["new_tools"], amounts["tools"]),
        "cost_usd": cost_usd,
        "cost_usd_per_minute": cost_usd / minutes,
        "bytes_in": own["bytes_in"],
        "bytes_out_share": _share(amounts["bytes_out"], amounts["bytes_out"] + own["bytes_in"]),
        "sessions": few["sessions0"],
        "sessions_open": own[MOST_SESSIONS],
        "calls_open": own[MOST_OPEN],
        "agents_called": few["peers0"],
        "delegation_depth": own["delegation_depth"],
        "approvals": own["approvals"],
        "hasty_approvals": own["hasty"],
    }


def _course(rows: pl.DataFrame) -> dict[str, npt.NDArray[np.generic]]:
    own = {name: rows[name].to_numpy() for name in _COURSE}
    gaps = np.stack([rows[name].to_numpy() for name in GAPS], axis=1)
    count = gaps.sum(axis=1)
    mean = _share(own["gap_sum"], count)
    variance = np.maximum(_share(own["gap_squares"], count) - mean**2, 0)
    together = _share(own["gap_products"], own["gap_pairs"]) - mean**2
    return {
        "gap_median_ms": _quantile_ms(gaps, 50),
        "gap_p05_ms": _quantile_ms(gaps, 5),
        "gap_cv": _where((count > 1) & (mean > 0), _share(np.sqrt(variance), mean)),
        "gap_autocorrelation": np.clip(_share(together, variance), -1, 1),
        "tool_entropy": _entropy(rows, TOOL_COUNTS),
        "target_entropy": _entropy(rows, TARGET_COUNTS),
        "tool_surprise": _share(own["surprise"], own["moves"]) / OCTAVE,
        "alternation_share": _share(own["alternating"], own["triples"]),
    }


def _quantile_ms(gaps: Ints, percent: int) -> Floats:
    """The middle of the bin that the quantile is in: bin 0 is a gap within one slot, and each other
    twice as wide as the one before.
    """
    below = np.cumsum(gaps, axis=1)
    count = below[:, -1]
    place = np.argmax(below * 100 >= (count * percent)[:, None], axis=1)
    place = np.where(gaps[np.arange(len(gaps)), place] > 0, place, np.argmax(gaps > 0, axis=1))
    slots = np.where(place == 0, 0.0, np.minimum(0.75 * 2.0**place, MOST_GAP))
    return _where(count > 0, slots * SLOT_US / 1000)


def _entropy(rows: pl.DataFrame, names: Sequence[str]) -> Floats:
    counts = np.stack([rows[name].to_numpy() for name in names], axis=1).astype(np.float64)
    total = counts.sum(axis=1)
    shares = counts / np.maximum(total, 1)[:, None]
    logs = np.log2(np.where(shares > 0, shares, 1.0))
    return _where(total > 0, np.maximum(-(shares * logs).sum(axis=1), 0.0))


def _share(part: npt.NDArray[np.generic], whole: npt.NDArray[np.generic]) -> Floats:
    """NaN where there is nothing of the whole."""
    over = np.asarray(whole, np.float64)
    nothing = ~(over > 0)
    found: Floats = np.asarray(part, np.float64) / np.where(nothing, 1.0, over)
    return np.where(nothing, np.nan, found)


def _where(there: npt.NDArray[np.bool_], values: Floats) -> Floats:
    return np.where(there, values, np.nan)


_MEASURED: Final = [name.removeprefix(PREFIX) for name in COLUMNS]
_SUMS: Final = (
    "burst", "denials", "denied_calls", "bytes_in", "cost_micros", "approvals", "hasty",
    "delegation_depth", MOST_OPEN, MOST_SESSIONS,
)  # fmt: skip
_FEW: Final = ("sessions0", "peers0", "denied0")
_COURSE: Final = (
    "gap_sum", "gap_squares", "gap_products", "gap_pairs", "moves", "surprise", "triples",
    "alternating",
)  # fmt: skip
_ASKED: Final = (
    *_FIRSTS, *_MARKS, *_SUMS, *_FEW, *_COURSE, *GAPS, *TOOL_COUNTS, *TARGET_COUNTS,
)  # fmt: skip
