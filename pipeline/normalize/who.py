"""Session and agent where nothing named them: the trace, and who reported.

An action of a trace whose agent nobody named keeps none: a session link may still name it, and what
reads the action falls back to the partition key until then.
"""

from typing import Final, NamedTuple

import polars as pl

_ASKED: Final = ("agent_id", "agent_name", "service_name", "session_id", "trace_id")
_FALLEN: Final = ("agent_id", "session_id")


class Named(NamedTuple):
    """Actions with their agent and session; and where nothing of an action, or of its trace, names
    its agent (None: nowhere).
    """

    frame: pl.DataFrame
    unnamed: pl.Series | None


def named(columns: dict[str, pl.Series]) -> Named:
    """The columns as a frame, `agent_id` and `session_id` filled as far as anything says them."""
    for name in _ASKED:
        if name in columns:
            columns[name] = _none_for_empty(columns[name])
    if all(name in columns and not columns[name].null_count() for name in _FALLEN):
        return Named(pl.DataFrame(list(columns.values())), None)
    size = len(columns["partition_key"])
    absent = [name for name in _ASKED if name not in columns]
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, size)
    columns |= {name: nothing.alias(name) for name in absent}
    told = pl.DataFrame([columns[name] for name in (*_ASKED, "partition_key")])
    label = pl.concat_str(["service_name", "agent_name"], separator="/")
    untraced = pl.coalesce("service_name", "partition_key")
    reporter = pl.when(pl.col("trace_id").is_null()).then(untraced)
    found = told.select(
        pl.coalesce("session_id", "trace_id").alias("session_id"),
        pl.coalesce("agent_id", label, "agent_name", reporter).alias("agent_id"),
        pl.all_horizontal(pl.col("agent_id", "agent_name").is_null()).alias("unnamed"),
    )
    columns |= {name: found[name] for name in _FALLEN}
    kept = [series for name, series in columns.items() if name not in absent or name in _FALLEN]
    unnamed = found["unnamed"]
    return Named(pl.DataFrame(kept), unnamed if unnamed.any() else None)


def _none_for_empty(texts: pl.Series) -> pl.Series:
    """An empty name is none."""
    empty = texts == ""
    if not empty.any():
        return texts
    nothing = pl.Series(texts.name, [None], dtype=pl.String).new_from_index(0, len(texts))
    return nothing.zip_with(empty, texts)
