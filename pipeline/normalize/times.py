"""Time of an action: what the first hop of ours saw, and whether the action is late, far or
impossible.

Everything here is a property of the record alone: its headers, its Kafka timestamp, its own times.
Never the clock.
"""

from typing import TypeVar

import polars as pl

from tachograph.pipeline.door_headers import DoorFacts
from tachograph.pipeline.normalize import limits
from tachograph.pipeline.normalize.raw import RawRecord

LATEST_US = 253_402_300_799_000_000  # the last second of the year 9999
_US = pl.Int64
IMPOSSIBLE = "event_time is before 2000 or years from when it was received"
_Moment = TypeVar("_Moment", int, pl.Expr)


def observed_us(record: RawRecord, door: DoorFacts | None) -> int | None:
    """When our first hop received the record, in µs; None for a file.

    The door's clock counts while it agrees with the log's: a signed record that was kept and sent
    again later was observed when it came to the log.
    """
    logged = record.timestamp_us
    if door is None:
        return logged
    if logged is None or logged - limits.DOOR_HOLD_US <= door.observed_us <= logged:
        return door.observed_us
    return logged


def beyond(event_us: _Moment, observed_us: _Moment) -> _Moment:
    """Whether no clock of ours can mean this time: of one action, or as an expression over many."""
    too_old = event_us < limits.OLDEST_US
    return too_old | (abs(event_us - observed_us) > limits.IMPOSSIBLE_US)


def impossible(frame: pl.DataFrame) -> pl.Series:
    """Which actions carry a time no clock of ours can mean (flags, one a row)."""
    event, observed = pl.col("event_time").cast(_US), pl.col("observed_time").cast(_US)
    return frame.select(beyond(event, observed)).to_series()


def marks() -> list[pl.Expr]:
    """Columns `late` and `far` of a frame with event_time and observed_time."""
    behind = pl.col("observed_time").cast(_US) - pl.col("event_time").cast(_US)
    return [
        (behind > limits.ALLOWED_LATENESS_US).alias("late"),
        ((behind > limits.FAR_PAST_US) | (-behind > limits.FAR_FUTURE_US)).alias("far"),
    ]


def spans() -> list[pl.Expr]:
    """`duration_ms` where a start is known and the source gave no duration."""
    took = (pl.col("event_time").cast(_US) - pl.col("start_time").cast(_US)) / 1_000
    return [pl.when(took >= 0).then(took).alias("duration_ms")]
