"""A batch of actions as columns: Polars and Arrow types of every Action field, and the wire form.

On the wire (agent.actions) a batch is an Arrow IPC stream that carries only the columns that hold
a value; a column that is absent is null. So a new field costs nothing to those who do not use it.
"""

import io
import typing
from datetime import datetime
from typing import Annotated, Any, get_args, get_origin

import polars as pl

from tachograph.schemas import behaviour
from tachograph.schemas.action import Action

SCHEMA_VERSION = 1
TIME = pl.Datetime("us", "UTC")
# Polars has no map type: attributes travel as a list of key/value structs, which Arrow and
# ClickHouse read as a map.
ATTRIBUTES = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))

_SCALARS: dict[Any, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    datetime: TIME,
}


def _column_type(hint: Any) -> pl.DataType:
    """Polars type of one annotation of Action; unions with None and Literals are unwrapped."""
    if get_origin(hint) is Annotated:
        return _column_type(get_args(hint)[0])
    if get_origin(hint) is typing.Literal:
        return pl.String()
    if get_origin(hint) is list:
        return pl.List(_column_type(get_args(hint)[0]))
    if get_origin(hint) is dict:
        return ATTRIBUTES
    if hint in _SCALARS:
        return _SCALARS[hint]
    return _column_type(next(arg for arg in get_args(hint) if arg is not type(None)))


COLUMNS: dict[str, pl.DataType] = {
    name: _column_type(hint)
    for name, hint in typing.get_type_hints(Action, include_extras=True).items()
}
# Another action came before under the same producer's id: known only where the actions of an agent
# are read in the order of the log, so it is no field of Action and never travels.
ID_REUSE = "id_reuse"
# Columns of a batch where it is judged: rows of behaviour are among what is judged there.
JUDGED: dict[str, pl.DataType] = COLUMNS | {ID_REUSE: pl.Boolean()} | behaviour.COLUMNS


def empty() -> pl.DataFrame:
    """A batch of no actions with every column."""
    return pl.DataFrame(schema=COLUMNS)


def encode(frame: pl.DataFrame) -> bytes:
    """Write a batch as an Arrow IPC stream (zstd), leaving out columns without a value."""
    kept = [series for series in frame if series.null_count() < len(series)]
    sink = io.BytesIO()
    pl.DataFrame(kept).write_ipc_stream(sink, compression="zstd")
    return sink.getvalue()


def decode(payload: bytes, columns: list[str] | None = None) -> pl.DataFrame:
    """Read a batch. Columns it does not carry are absent: ask `complete` for those you need.

    Raises polars.exceptions.PolarsError or OSError when the bytes are no Arrow stream.
    Bytes made to mislead are not safe here: only `normalize` may write agent.actions.
    """
    return pl.read_ipc_stream(io.BytesIO(payload), columns=columns)


def complete(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """The frame with just these columns, absent ones as nulls of their type."""
    have = set(frame.columns)
    return frame.select(
        pl.col(name) if name in have else pl.lit(None, COLUMNS[name]).alias(name)
        for name in columns
    )
