"""What the behaviour detector is held against: simple judges of the same minutes."""

import importlib
from typing import NamedTuple

import polars as pl

from infra.fleet.compose import Fleet

_MEASURES = ("acts", "failures", "bytes_out", "rows", "tokens", "targets", "tools")


class Hit(NamedTuple):
    """Somebody was said to be out of line; seconds since the fleet's start."""

    entity: str
    at_s: float


def minutes(fleet: Fleet) -> pl.DataFrame:
    """What everybody did in each minute, in the order of time."""
    minute = (pl.col("event_time").dt.epoch("s") - fleet.knobs.start_s) // 60
    return (
        fleet.frame.group_by(pl.col("partition_key").alias("entity"), minute.alias("minute"))
        .agg(
            pl.len().alias("acts"),
            (pl.col("outcome") == "failed").sum().alias("failures"),
            pl.col("tool_bytes_out").fill_null(0).sum().alias("bytes_out"),
            pl.col("tool_rows_returned").fill_null(0).sum().alias("rows"),
            pl.col("usage_input_tokens").fill_null(0).sum().alias("tokens"),
            pl.col("target_domain").n_unique().alias("targets"),
            pl.col("tool_name").n_unique().alias("tools"),
        )
        .with_columns(((pl.col("minute") + 1) * 60.0).alias("at_s"))
        .sort("minute", "entity")
    )


def rate_hits(fleet: Fleet) -> pl.DataFrame:
    """Actions a minute as the score."""
    return minutes(fleet).select("entity", "at_s", pl.col("acts").alias("score"))


def half_space_hits(fleet: Fleet) -> pl.DataFrame | None:
    """Scores of river's HalfSpaceTrees, which learns as it goes; None: not installed."""
    try:
        anomaly = importlib.import_module("river.anomaly")
    except ImportError:
        return None
    rows = minutes(fleet)
    logs = rows.select(pl.col(name).cast(pl.Float64).log1p() for name in _MEASURES)
    most = {name: max(float(logs[name].max() or 0), 1e-9) for name in _MEASURES}  # type: ignore[arg-type]
    trees = anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=1000, seed=1)
    scores = []
    for row in logs.iter_rows(named=True):
        point = {name: row[name] / most[name] for name in _MEASURES}
        scores.append(trees.score_one(point))
        trees.learn_one(point)
    return rows.select("entity", "at_s").with_columns(pl.Series("score", scores, pl.Float64))
