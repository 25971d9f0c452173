"""From actions to what is measured of each agent in each base pane.

Everything here adds up the same in any order and in any batches: sums, smallest and largest, and
sets of bits.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.concurrency import MOST_OPEN, MOST_SESSIONS, OPEN, open_at
from tachograph.detectors.behaviour.features import PANE_US
from tachograph.detectors.behaviour.hands import CLAIM, NEEDED_MS, READ_MS
from tachograph.detectors.language.rule import MICROS
from tachograph.schemas.batch import COLUMNS

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

ACTS: Final = (
    "tool_call", "retrieval", "memory_read", "memory_write", "file", "http", "process", "message",
    "agent_call", "config_change", "code_change", "deploy",
)  # fmt: skip
# Who a row is about: an agent; or (`claim` not empty) a person in the session `hand`; or (`facet`
# not empty) what is shared, a principal or a credential of the id `agent_id`, or what is part of an
# agent, a session or an instance of the id `hand`.
KEY: Final = ("tenant", "partition_key", "agent_id", "agent_name", "claim", "hand", "facet")
CLASSES: Final = 8
# Acts by the class of their tool, and of their target.
TOOL_COUNTS: Final = tuple(f"tool_acts{place}" for place in range(CLASSES))
TARGET_COUNTS: Final = tuple(f"target_acts{place}" for place in range(CLASSES))
# What was sent to receivers, by the class of their bits in the sketch of them (see below).
SENT_CLASSES: Final = 16
SENT: Final = tuple(f"sent{place}" for place in range(SENT_CLASSES))
SUMS: Final = (
    "acts", "failures", "bytes_out", "rows_read", "tokens", "calls", "deeds", "needed_ms",
    "squared", "denials", "denied_calls", "bytes_in", "cost_micros", "busy_ms", "approvals",
    "hasty",
    *TOOL_COUNTS, *TARGET_COUNTS, *SENT,
)  # fmt: skip
# The most of all.
MOSTS: Final = ("burst", "delegation_depth", MOST_OPEN, MOST_SESSIONS)
# When tools of each class were called: a bit for each SLOTS-th of a base pane.
ROLL: Final = tuple(f"roll{place}" for place in range(CLASSES))
SLOTS: Final = 64
TARGETS: Final = ("targets0", "targets1", "targets2", "targets3")
CALLS: Final = ("calls0", "calls1", "calls2", "calls3")
# Targets that data went out to: so much at once, not the bytes of asking for something.
RECEIVERS: Final = ("receivers0", "receivers1", "receivers2", "receivers3")
LEAST_SENT_BYTES: Final = 1024
TOOLS: Final = ("tools0",)
# Sessions, agents that were called, calls that were denied, and (of what is shared) services that
# it was used by.
SOURCE: Final = "sources0"
SESSIONS: Final = "sessions0"
FEW: Final = (SESSIONS, "peers0", "denied0", SOURCE)
SKETCHES: Final = (*TARGETS, *CALLS, *RECEIVERS, *TOOLS, *FEW)
FIRSTS: Final = (
    "session_id", "trace_id", "principal_id", "credential_id", "environment", "tool_name",
    "agent_instance_id",
)  # fmt: skip
# What agents of one kind have in common, and the column of it.
_IN_COMMON: Final = ("agent_role", "agent_framework", "model_name")
PEERS_OF: Final = "peers_of"
MARKS: Final = ("synthetic", "replay")
# What is told of the order of acts when a base pane is over (see course).
GAP_BINS: Final = 10
GAPS: Final = tuple(f"gaps{place}" for place in range(GAP_BINS))
COURSE: Final = (
    *GAPS, "gap_sum", "gap_squares", "gap_products", "gap_pairs", "moves", "surprise", "triples",
    "alternating",
)  # fmt: skip
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
    "credential_id", "principal_id", "session_id", "session_trigger", "trace_id", "environment",
    "event_id",
    "event_time", "kind", "content_role", "content_text", "content_direction", "content_bytes",
    "outcome", "tool_name", "tool_args_hash", "tool_args", "tool_bytes_out", "tool_rows_returned",
    "usage_input_tokens", "usage_output_tokens", "target_domain", "target_host",
    "target_resource", "target_table", "target_url", "file_path", "peer_agent_id", "synthetic",
    "replay", "late", "far", "tool_result_bytes", "usage_cost_usd", "duration_ms",
    "approval_latency_ms", "delegation_depth", "agent_instance_id", *_IN_COMMON,
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
_step = pl.coalesce("tool_name", "kind")
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
_HASHES = ("target#", "call#", "tool#", "session#", "peer#", "denied#")
_comes_in = pl.col("content_direction") == "in"
_denied = pl.col("outcome").eq_missing("denied")
_shown = pl.coalesce("content_text", "tool_args").str.len_chars()
_hasty = pl.col("approval_latency_ms") < _shown * READ_MS
_MEASURES = [
    pl.col("tenant").fill_null("default"),
    pl.col("partition_key").fill_null(""),
    pl.col("agent_id").fill_null(""),
    _if_any(pl.col("agent_id").is_null(), pl.col("agent_name")).fill_null("").alias("agent_name"),
    CLAIM.alias("claim"),
    _if_any(_by_hand, _session).fill_null("").alias("hand"),
    pl.lit("").alias("facet"),
    _if_any(_lacks, pl.col("trace_id")).fill_null("").alias("trace"),
    _time_us.alias("first_us"),
    _time_us.alias("last_us"),
    (_time_us // PANE_US).alias("window"),
    "event_id",
    *FIRSTS,
    pl.concat_str(*_IN_COMMON, separator=", ", ignore_nulls=True).alias(PEERS_OF),
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
    _by_hand.cast(pl.Int64).alias("deeds"),
    (_is_act & _denied).cast(pl.Int64).alias("denials"),
    (_is_act & _denied & _args.is_not_null()).cast(pl.Int64).alias("denied_calls"),
    _amount(pl.coalesce("tool_result_bytes", _if_any(_comes_in, pl.col("content_bytes"))))
    .alias("bytes_in"),
    _amount(pl.col("usage_cost_usd").fill_nan(None) * MICROS).alias("cost_micros"),
    _amount(pl.col("duration_ms").fill_nan(None)).alias("busy_ms"),
    (pl.col("kind") == "approval").fill_null(value=False).cast(pl.Int64).alias("approvals"),
    ((pl.col("kind") == "approval") & _hasty).fill_null(value=False).cast(pl.Int64).alias("hasty"),
    _amount(pl.col("delegation_depth")).alias("delegation_depth"),
    # Of the acts of a base pane; known when it is over.
    *(
        pl.lit(0, pl.Int64).alias(name)
        for name in ("squared", "burst", MOST_OPEN, MOST_SESSIONS)
    ),
    _hashed(_TARGET, _TARGET).alias("target#"),
    _hashed(_call, _args).alias("call#"),
    _hashed(pl.col("tool_name"), pl.col("tool_name")).alias("tool#"),
    _session.hash(_SEED).alias("session#"),
    _hashed(pl.col("peer_agent_id"), pl.col("peer_agent_id")).alias("peer#"),
    _hashed(_call, _if_any(_denied, _args)).alias("denied#"),
    _hashed(_step, _step).alias("step#"),
]  # fmt: skip


def measured_rows(actions: pl.DataFrame) -> pl.DataFrame:
    """Actions that count in windows, with KEY (no nulls), `window`, and what each adds. `trace`:
    not empty where a link may still say whose action it is.
    """
    missing = [_NONE[name] for name in ASKED if name not in actions.columns]
    made = actions.lazy().with_columns(missing).filter(_COUNTS).select(_MEASURES).collect()
    sketches = (TARGETS, CALLS, TOOLS, *((name,) for name in FEW if name != SOURCE))
    columns = [
        bits
        for hashed, names in zip(_HASHES, sketches, strict=True)
        for bits in _bits(made[hashed], names)
    ]
    sent = made["bytes_out"].to_numpy()
    receivers = np.where(sent >= LEAST_SENT_BYTES, made["target#"].to_numpy(), np.uint64(0))
    columns += _bits(pl.Series(receivers), RECEIVERS)
    columns += _sent(receivers, sent)
    columns.append(pl.Series(SOURCE, np.zeros(made.height, np.uint64)))
    columns += _counts(made["target#"], TARGET_COUNTS)
    columns += _counts(made["step#"], TOOL_COUNTS)
    columns += _roll(made["step#"], made["first_us"])
    columns += open_at(made["first_us"].to_numpy(), made["busy_ms"].to_numpy())
    return made.drop(*_HASHES, "step#").hstack(columns)


def _classes(hashes: pl.Series) -> npt.NDArray[np.int64]:
    """The class of what each act names; -1 where there is none."""
    numbers = hashes.to_numpy()
    classes = ((numbers >> np.uint64(20)) & np.uint64(CLASSES - 1)).astype(np.int64)
    return np.where(numbers == 0, -1, classes)


def _sent(receivers: Words, sent: Ints) -> list[pl.Series]:
    """What was sent, by which quarter of which word of the sketch the receiver's bit lies in."""
    of_word = SENT_CLASSES // len(RECEIVERS)
    bit = ((receivers >> np.uint64(8)) & np.uint64(63)).astype(np.int64)
    word = (receivers & np.uint64(len(RECEIVERS) - 1)).astype(np.int64)
    classes = np.where(receivers == 0, -1, word * of_word + bit * of_word // 64)
    return [pl.Series(name, np.where(classes == place, sent, 0)) for place, name in enumerate(SENT)]


def _counts(hashes: pl.Series, names: tuple[str, ...]) -> list[pl.Series]:
    classes = _classes(hashes)
    return [
        pl.Series(name, (classes == place).astype(np.int64)) for place, name in enumerate(names)
    ]


def _roll(hashes: pl.Series, times_us: pl.Series) -> list[pl.Series]:
    classes = _classes(hashes)
    slots = (times_us.to_numpy() % PANE_US * SLOTS // PANE_US).astype(np.uint64)
    bit = np.uint64(1) << slots
    return [
        pl.Series(name, np.where(classes == place, bit, np.uint64(0)))
        for place, name in enumerate(ROLL)
    ]


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


def panes_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with `slot` put together: one row an agent, base pane and trace."""
    return merged(rows.drop(KEY).rename({"event_id": "first_id"}), by=UNLINKED)


LINKED: Final = ("slot", "window")
UNLINKED: Final = ("slot", "window", "trace")


_SUMMED: Final = (*SUMS, *OPEN, *COURSE)
_MOST: Final = ("last_us", *MOSTS)
_JOINED: Final = (*SKETCHES, *ROLL)
_FIRST: Final = ("first_us", "first_id", *FIRSTS, PEERS_OF)


def merged(rows: pl.DataFrame, by: tuple[str, ...] = LINKED) -> pl.DataFrame:
    """One row for each value of `by`, ordered by window and slot; what it says of its first action
    is that of the earliest. `ids`, if there, are of the first actions of the parts.
    """
    have = set(rows.columns)
    names = [*by, *(name for name in _KEPT if name in have)]
    keys = ["window", *(name for name in by if name != "window")]
    order = rows.select(pl.arg_sort_by(*keys, "first_us", "first_id")).to_series().to_numpy()
    starts = _starts(rows.select(keys)[order])
    firsts = rows.select(names)[order[starts]]
    if len(starts) == rows.height:
        return firsts
    columns = [
        pl.Series(name, _reduced(how, rows[name].to_numpy(), order, starts))
        for how, of_how in _HOW
        for name in of_how
        if name in have
    ]
    if "ids" in have:
        columns.append(_first_ids(rows["ids"][order], starts))
    return firsts.with_columns(columns)


def _reduced(
    how: np.ufunc, values: npt.NDArray[Any], order: Ints, starts: Ints
) -> npt.NDArray[Any]:
    # Most columns of most rows hold nothing, and nothing comes of nothing.
    if not values.any():
        return np.zeros(len(starts), values.dtype)
    found: npt.NDArray[Any] = how.reduceat(values[order], starts)
    return found


_HOW: Final = [
    (np.add, _SUMMED),
    (np.maximum, _MOST),
    (np.bitwise_or, _JOINED),
    (np.logical_and, MARKS),
]
_KEPT: Final = (*_FIRST, *_MOST, *MARKS, *SUMS, *OPEN, *_JOINED, *COURSE, "ids")


def _starts(keys: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Where each new value of the keys begins, of rows in their order."""
    new = keys.select(pl.any_horizontal(pl.all().ne_missing(pl.all().shift(1)))).to_series()
    found = new.to_numpy().copy()
    found[:1] = True
    return np.flatnonzero(found)


def _first_ids(ids: pl.Series, starts: npt.NDArray[np.int64]) -> pl.Series:
    """The first ids of each group of rows."""
    group = np.zeros(len(ids), np.int64)
    group[starts[1:]] = 1
    lists = pl.DataFrame([pl.Series("group", group.cumsum()), ids])
    found = lists.group_by("group", maintain_order=True).agg(
        pl.col("ids").explode().head(MAX_EVIDENCE)
    )
    return found["ids"]


def _nothing() -> pl.DataFrame:
    rows = measured_rows(pl.DataFrame(schema=COLUMNS))
    return panes_of(rows.with_columns(pl.lit(0, pl.Int64).alias("slot")))


# No rows, with the columns of base panes, and of windows put together.
NO_PANES: Final = _nothing()
# What is sent of base panes.
PANE_COLUMNS: Final = NO_PANES.drop("slot", "trace").schema
NO_WINDOWS: Final = NO_PANES.drop("trace", *ROLL, *OPEN).with_columns(
    *(pl.lit(0, pl.Int64).alias(name) for name in COURSE),
    pl.lit([], pl.List(pl.String)).alias("ids"),
)
