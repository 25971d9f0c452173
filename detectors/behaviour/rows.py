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
    "acts", "failures", "bytes_out", "rows_read", "tokens", "calls", "needed_ms",
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
_ASKED: Final = (
    "tenant", "partition_key", "agent_id", "agent_name", "agent_kind", "principal_type",
    "principal_id", "session_id", "session_trigger", "trace_id", "environment", "event_id",
    "event_time", "kind", "content_role", "content_text", "content_direction", "content_bytes",
    "outcome", "tool_name", "tool_args_hash", "tool_args", "tool_bytes_out", "tool_rows_returned",
    "usage_input_tokens", "usage_output_tokens", "target_domain", "target_host",
    "target_resource", "target_table", "target_url", "file_path", "peer_agent_id", "synthetic",
    "replay", "late", "far",
)  # fmt: skip


def measured_rows(actions: pl.DataFrame) -> pl.DataFrame:
    """Actions that count in windows, with KEY (no nulls), `window`, and what each adds. `trace`:
    not empty where a link may still say whose action it is.
    """
    missing = [pl.lit(None, COLUMNS[name]).alias(name) for name in _ASKED if name not in actions]
    frame = actions.with_columns(missing).select(_ASKED)
    timely = ~(pl.col("late").fill_null(value=False) | pl.col("far").fill_null(value=False))
    frame = frame.filter(timely & (pl.col("kind") != "heartbeat").fill_null(value=True))
    if frame.is_empty():
        return frame
    frame = frame.with_columns(CLAIM.alias("claim"))
    by_hand = pl.col("claim") != ""
    session = pl.coalesce("session_id", "trace_id", "principal_id", "partition_key")
    lacks = pl.col("agent_id").is_null() | (by_hand & (session == pl.col("trace_id")))
    act = pl.col("kind").is_in(ACTS).fill_null(value=False)
    out = pl.col("kind").is_in(["message", "http"]) & (pl.col("content_direction") == "out")
    call = pl.struct("tool_name", pl.coalesce("tool_args_hash", "tool_args").alias("args"))
    time_us = pl.col("event_time").to_physical()
    made = frame.select(
        pl.col("tenant").fill_null("default"),
        pl.col("partition_key").fill_null(""),
        pl.col("agent_id").fill_null(""),
        pl.when(pl.col("agent_id").is_null()).then("agent_name").fill_null("").alias("agent_name"),
        "claim",
        pl.when(by_hand).then(session).fill_null("").alias("hand"),
        pl.when(lacks).then("trace_id").fill_null("").alias("trace"),
        time_us.alias("first_us"),
        time_us.alias("last_us"),
        (time_us // PANE_US).alias("window"),
        "event_id",
        *FIRSTS,
        *(pl.col(mark).fill_null(value=False) for mark in MARKS),
        act.cast(pl.Int64).alias("acts"),
        (pl.col("outcome").is_in(["failed", "denied"]).fill_null(value=False))
        .cast(pl.Int64)
        .alias("failures"),
        _amount(pl.coalesce("tool_bytes_out", pl.when(out).then("content_bytes"))).alias(
            "bytes_out"
        ),
        _amount(pl.col("tool_rows_returned")).alias("rows_read"),
        (_amount(pl.col("usage_input_tokens")) + _amount(pl.col("usage_output_tokens"))).alias(
            "tokens"
        ),
        pl.when(by_hand).then(NEEDED_MS).otherwise(0).cast(pl.Int64).alias("needed_ms"),
        pl.when(act).then(_TARGET).alias("target"),
        pl.when(act & pl.coalesce("tool_args_hash", "tool_args").is_not_null())
        .then(call)
        .alias("call"),
    )
    return _sketched(made)


def _amount(column: pl.Expr) -> pl.Expr:
    """A producer's number, held to what can be added up."""
    return column.fill_null(0).clip(0, 2**40).cast(pl.Int64)


def _sketched(made: pl.DataFrame) -> pl.DataFrame:
    """Values as bits of sketches."""
    columns = [
        *_bits(made["target"], TARGETS),
        *_bits(made["call"], CALLS),
        *_bits(pl.select(pl.when(made["acts"] > 0).then(made["tool_name"])).to_series(), TOOLS),
    ]
    counted = made["call"].is_not_null().cast(pl.Int64).alias("calls")
    return made.drop("target", "call").with_columns(counted, *columns)


def _bits(values: pl.Series, names: tuple[str, ...]) -> list[pl.Series]:
    hashes = values.hash(_SEED).to_numpy().astype(np.uint64)
    bit = np.uint64(1) << ((hashes >> np.uint64(8)) & np.uint64(63))
    bit[values.is_null().to_numpy()] = 0
    word = hashes & np.uint64(len(names) - 1)
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
        .group_by(by, maintain_order=True)
        .agg(asked)
        .sort("window", "slot")
        .collect()
    )
