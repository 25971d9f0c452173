"""Actions as columns while they are made, and the frame of them."""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.schemas.batch import COLUMNS, TIME

Floats = npt.NDArray[np.float64]

DEFAULTS: dict[str, Any] = {
    "kind": "tool_call", "agent_id": None, "agent_kind": None, "principal_id": None,
    "principal_type": None, "session_id": None, "tool_name": None, "tool_args_hash": None,
    "target_domain": None, "target_host": None, "tool_bytes_out": None,
    "tool_rows_returned": None, "usage_input_tokens": None, "usage_output_tokens": None,
    "outcome": "succeeded", "content_text": None, "partition_key": None,
}  # fmt: skip


def actions(times_s: Floats, **columns: Any) -> pl.DataFrame:
    """Actions at these times; a column is one value for all, or one a time."""
    count = len(times_s)
    given = {**DEFAULTS, **columns}
    series = [
        pl.Series(name, value if _is_many(value) else [value] * count, COLUMNS[name], strict=False)
        for name, value in given.items()
    ]
    time = pl.Series("event_time", np.round(times_s * 1e6).astype(np.int64)).cast(TIME)
    return pl.DataFrame([time, *series])


def finished(parts: list[pl.DataFrame], seed: int) -> pl.DataFrame:
    """All actions in the order of time, each with an id."""
    whole = pl.concat(parts).sort("event_time", "agent_id", "session_id", "tool_name")
    ids = [f"{seed & 0xFFFFFFFF:08x}{number + 1:024x}" for number in range(whole.height)]
    return whole.with_columns(
        pl.Series("event_id", ids),
        pl.lit("default").alias("tenant"),
        pl.col("event_time").alias("observed_time"),
        pl.lit(value=True).alias("synthetic"),
        pl.coalesce("partition_key", "agent_id", "principal_id").alias("partition_key"),
    )


def _is_many(value: Any) -> bool:
    return isinstance(value, (np.ndarray, list, pl.Series))
