"""From actions to what is measured of each agent in each base pane.

Everything here adds up the same in any order and in any batches: sums, smallest and largest, and
sets of bits.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.features import PANE_US
from tachograph.detectors.behaviour.hands import CLAIM, NEEDED_MS
from tachograph.schemas.batch import COLUMNS

Words = npt.NDArray[np.uint64]

ACTS: Final = (
    "tool_call", "retrieval", "memory_read", "memory_write", "file", "http", "process", "message",
    "agent_call", "config_change", "code_change", "deploy",
)  # fmt: skip
# Who a row is about: an agent, or (`claim` not empty) a person in the session `hand`.
KEY: Final = ("tenant", "partition_key", "agent_id", "agent_name", "claim", "hand")
SUMS: Final = (
    "acts", "failures", "bytes_out", "rows_read", "tokens", "calls", "needed_ms", "squared",
)  # fmt: skip
TARGETS: Final = ("targets0", "targets1", "targets2", "targets3")
CALLS: Final = ("calls0", "calls1", "calls2", "calls3")
TOOLS: Final = ("tools0",)
SKETCHES: Final = (*TARGETS, *CALLS, *TOOLS)
FIRSTS: Final = ("session_id", "trace_id", "principal_id", "environment", "tool_name")
MARKS: Final = ("synthetic", "replay")
# Sketches are kept over restarts, and two partitions must agree: the seed is nobody's secret.
_SEED: Final = 0x7AC406
# Ids kept of a window's first actions.
MAX_EVIDENCE: Final = 12
_TARGET = pl.coalesce(
    "target_domain", "target_host", "target_resource", "target_table", "target_url", "file_path",
    "peer_agent_id",
)  # fmt: skip
ASKED: Final = (
    "tenant", "partition_key", "agent_id", "agent_name", "agent_kind", "principal_type",
    "principal_id", "session_id", "session_trigger", "trace_id", "environment", "event_id",
    "event_time", "kind", "content_role", "content_text", "content_direction", "content_bytes",
    "outcome", "tool_name", "tool_args_hash", "tool_args", "tool_bytes_out", "tool_rows_returned",
    "usage_input_tokens", "usage_output_tokens", "target_domain", "target_host",
    "target_resource", "target_table", "target_url", "file_path", "peer_agent_id", "synthetic",
    "replay", "late", "far",
)  # fmt: skip


_NONE = {name: pl.lit(None, COLUMNS[name]).alias(name) for name in ASKED}


def _amount(column: pl.Expr) -> pl.Expr:
    """A producer's number, held to what can be added up."""
    return column.fill_null(0).clip(0, 2**40).cast(pl.Int64)


def _if_any(condition: pl.Expr, value: pl.Expr) -> pl.Expr:
    return pl.when(condition).then(value)


_is_act = pl.col("kind").is_in(ACTS).fill_null(value=False)
_goes_out = pl.col("kind").is_in(["message", "http"]) & (pl.col("content_direction") == "out")
_by_hand = CLAIM != ""
_session = pl.coalesce("session_id", "trace_id", "principal_id", "partition_key")
_lacks = pl.col("agent_id").is_null() | (_by_hand & (_session == pl.col("trace_id")))
_args = pl.coalesce("tool_args_hash", "tool_args")
_call = pl.struct("tool_name", _args.alias("args"))
_time_us = pl.col("event_time").to_physical()


def _hashed(value: pl.Expr, there: pl.Expr) -> pl.Expr:
    """A hash of what an act names; 0 where there is none."""
    return pl.when(_is_act & there.is_not_null()).then(value.hash(_SEED)).otherwise(pl.lit(0))


_COUNTS = (
    pl.col("kind").ne_missing("heartbeat")
    & pl.col("late").fill_null(value=False).not_()
    & pl.col("far").fill_null(value=False).not_()
)
_HASHES = ("target#", "call#", "tool#")
_MEASURES = [
    pl.col("tenant").fill_null("default"),
    pl.col("partition_key").fill_null(""),
    pl.col("agent_id").fill_null(""),
    _if_any(pl.col("agent_id").is_null(), pl.col("agent_name")).fill_null("").alias("agent_name"),
    CLAIM.alias("claim"),
    _if_any(_by_hand, _session).fill_null("").alias("hand"),
    _if_any(_lacks, pl.col("trace_id")).fill_null("").alias("trace"),
    _time_us.alias("first_us"),
    _time_us.alias("last_us"),
    (_time_us // PANE_US).alias("window"),
    "event_id",
    *FIRSTS,
    *(pl.col(mark).fill_null(value=False) for mark in MARKS),
    _is_act.cast(pl.Int64).alias("acts"),
    pl.col("outcome").is_in(["failed", "denied"]).fill_null(value=False).cast(pl.Int64)
    .alias("failures"),
    _amount(pl.coalesce("tool_bytes_out", _if_any(_goes_out, pl.col("content_bytes"))))
    .alias("bytes_out"),
    _amount(pl.col("tool_rows_returned")).alias("rows_read"),
    (_amount(pl.col("usage_input_tokens")) + _amount(pl.col("usage_output_tokens")))
    .alias("tokens"),
    pl.when(_by_hand).then(NEEDED_MS).otherwise(0).cast(pl.Int64).alias("needed_ms"),
    (_is_act & _args.is_not_null()).cast(pl.Int64).alias("calls"),
    # Of the acts of a base pane; known when it is over.
    pl.lit(0, pl.Int64).alias("squared"),
    _hashed(_TARGET, _TARGET).alias("target#"),
    _hashed(_call, _args).alias("call#"),
    _hashed(pl.col("tool_name"), pl.col("tool_name")).alias("tool#"),
]  # fmt: skip


def measured_rows(actions: pl.DataFrame) -> pl.DataFrame:
    """Actions that count in windows, with KEY (no nulls), `window`, and what each adds. `trace`:
    not empty where a link may still say whose action it is.
    """
    missing = [_NONE[name] for name in ASKED if name not in actions.columns]
    made = actions.lazy().with_columns(missing).filter(_COUNTS).select(_MEASURES).collect()
    columns = [
        bits
        for hashed, names in zip(_HASHES, (TARGETS, CALLS, TOOLS), strict=True)
        for bits in _bits(made[hashed], names)
    ]
    return made.drop(_HASHES).hstack(columns)


def _bits(hashes: pl.Series, names: tuple[str, ...]) -> list[pl.Series]:
    """Hashes, of which 0 is none, as bits of sketches."""
    numbers = hashes.to_numpy()
    bit = np.uint64(1) << ((numbers >> np.uint64(8)) & np.uint64(63))
    bit[numbers == 0] = 0
    word = numbers & np.uint64(len(names) - 1)
    return [
        pl.Series(name, np.where(word == place, bit, np.uint64(0)))
        for place, name in enumerate(names)
    ]


_MERGED = [
    pl.col("first_us").first(),
    pl.col("last_us").max(),
    pl.col("first_id", *FIRSTS).first(),
    pl.col(MARKS).all(),
    pl.col(SUMS).sum(),
    pl.col(SKETCHES).bitwise_or(),
]
_IDS = pl.col("ids").explode().head(MAX_EVIDENCE)


def panes_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with `slot` put together: one row an agent, base pane and trace."""
    return merged(rows.drop(KEY).rename({"event_id": "first_id"}), by=UNLINKED)


LINKED: Final = ("slot", "window")
UNLINKED: Final = ("slot", "window", "trace")


def merged(rows: pl.DataFrame, by: tuple[str, ...] = LINKED) -> pl.DataFrame:
    """One row for each value of `by`, ordered by window and slot; what it says of its first action
    is that of the earliest. `ids`, if there, are of the first actions of the parts.
    """
    asked = [*_MERGED, _IDS] if "ids" in rows.columns else _MERGED
    return (
        rows.lazy()
        .sort("first_us", "first_id")
        .group_by(by)
        .agg(asked)
        .sort("window", "slot")
        .collect()
    )


def _nothing() -> pl.DataFrame:
    rows = measured_rows(pl.DataFrame(schema=COLUMNS))
    return panes_of(rows.with_columns(pl.lit(0, pl.Int64).alias("slot")))


# No rows, with the columns of base panes, and of windows put together.
NO_PANES: Final = _nothing()
NO_WINDOWS: Final = merged(NO_PANES.drop("trace")).with_columns(
    pl.lit([], pl.List(pl.String)).alias("ids")
)
