"""Time of an action: what the first hop of ours saw, and whether the action is late, far or
impossible.

Everything here is a property of the record alone: its headers, its Kafka timestamp, its own times.
Never the clock.
"""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.pipeline.door_headers import DoorFacts
from tachograph.pipeline.normalize import limits
from tachograph.pipeline.normalize.raw import RawRecord
from tachograph.pipeline.normalize.wire import Ints

_US = pl.Int64
IMPOSSIBLE = "event_time is before 2000 or years from when it was received"
Flags = npt.NDArray[np.bool_]
_Moment = TypeVar("_Moment", int, npt.NDArray[Any])


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
    """Whether no clock of ours can mean this time: of one action, or of many."""
    too_old = event_us < limits.OLDEST_US
    beyond_belief: _Moment = too_old | (abs(event_us - observed_us) > limits.IMPOSSIBLE_US)
    return beyond_belief


def micros(times: pl.Series) -> tuple[Ints, Flags]:
    """Times in µs (0 where there is none), and where there is one."""
    size = len(times)
    if not times.null_count():
        return times.cast(_US).to_numpy(), np.ones(size, np.bool_)
    return times.cast(_US).fill_null(0).to_numpy(), times.is_not_null().to_numpy()


def marks(event_us: Ints, observed_us: Ints) -> tuple[Flags, Flags]:
    """Which actions are late, and which are far."""
    behind = observed_us - event_us
    far = (behind > limits.FAR_PAST_US) | (-behind > limits.FAR_FUTURE_US)
    return behind > limits.ALLOWED_LATENESS_US, far


def took(start: pl.Series, end: pl.Series) -> pl.Series:
    """`duration_ms` where a start is known and the source gave no duration."""
    spans = pl.DataFrame([start.cast(_US).alias("start"), end.cast(_US).alias("end")])
    lasted = (pl.col("end") - pl.col("start")) / 1_000
    return spans.select(pl.when(lasted >= 0).then(lasted).alias("duration_ms")).to_series()
