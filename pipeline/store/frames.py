"""Batches of actions on their way into ClickHouse: columns all the way, no Python a row.

A frame is made insertable (types of the contract, what is unknown folded into `attributes`),
linked, given its row version, and written as an Arrow stream.
"""

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from tachograph.pipeline import metrics
from tachograph.pipeline.errors import Refused
from tachograph.pipeline.store.columns import REQUIRED
from tachograph.schemas import batch

STAGE = "store"
SORT_KEY = ("tenant", "partition_key", "event_time", "event_id")
# As in the DEFAULT of row_version: who was received first wins among reports that know the same.
_FIRST_MS = 1 << 48
KNOWN_SHIFT = 49
_NOT_NULL = tuple(name for name in REQUIRED if name != "observed_time")


def read(payload: bytes) -> pl.DataFrame:
    """The actions of one record. Raises Refused when the bytes are no batch of ours."""
    try:
        frame = batch.decode(payload)
        return _known(frame.with_columns(_recast(frame)))
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise Refused(f"no batch of actions: {type(error).__name__}") from error
    except pl.exceptions.PanicException as error:
        raise Refused("no batch of actions: the Arrow stream is broken") from error


def _recast(frame: pl.DataFrame) -> list[pl.Expr]:
    return [
        pl.col(name).cast(batch.COLUMNS[name])
        for name, kind in frame.schema.items()
        if name in batch.COLUMNS and kind != batch.COLUMNS[name]
    ]


def _known(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns of a newer writer become attributes, so that nothing is lost."""
    newer = [name for name in frame.columns if name not in batch.COLUMNS]
    if not newer:
        return frame
    plain = [name for name in newer if not frame.schema[name].is_nested()]
    metrics.DROPPED.labels(STAGE, "nested_column").inc(len(newer) - len(plain))
    pairs = pl.concat_list(
        # One column at a time: a null is no entry.
        pl.when(pl.col(name).is_not_null()).then(
            pl.struct(pl.lit(name).alias("key"), pl.col(name).cast(pl.String).alias("value"))
        )
        for name in plain
    ).list.drop_nulls()
    if not plain:
        return frame.drop(newer)
    there = [pl.col("attributes").fill_null([])] if "attributes" in frame.columns else []
    return frame.with_columns(pl.concat_list([*there, pairs]).alias("attributes")).drop(newer)


def sound(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows that can be stored, rows that lack what fixes their identity)."""
    lacking = [name for name in _NOT_NULL if name not in frame.columns]
    if lacking:
        return frame.clear(), frame
    whole = pl.all_horizontal(pl.col(name).is_not_null() for name in _NOT_NULL)
    good = frame.filter(whole)
    bad = frame.filter(~whole) if len(good) < len(frame) else frame.clear()
    observed = pl.col("observed_time") if "observed_time" in frame.columns else pl.lit(None)
    return good.with_columns(observed.fill_null(pl.col("event_time")).alias("observed_time")), bad


def joined(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Frames with different columns as one; an absent column is null."""
    return pl.concat(frames, how="diagonal") if len(frames) > 1 else frames[0]


def versioned(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with `row_version`; `fields_linked` counts what links have filled in."""
    if "fields_linked" not in frame.columns:
        frame = frame.with_columns(pl.lit(0, pl.UInt8).alias("fields_linked"))
    received = pl.lit(_FIRST_MS, pl.Int64) - pl.col("observed_time").dt.epoch("ms")
    known = pl.col("fields_linked").cast(pl.Int64) * (1 << KNOWN_SHIFT)
    return frame.with_columns((received + known).cast(pl.UInt64).alias("row_version"))


def arrow(frame: pl.DataFrame) -> pa.Table:
    """The frame as the Arrow table that is inserted, in the order of the table's sort key.

    Sorted here: the server would permute every column, the absent ones too, and take twice as long.
    """
    frame = frame.sort(SORT_KEY)
    if "attributes" not in frame.columns:
        return frame.to_arrow()
    # ClickHouse takes an Arrow map for a Map, and a list of structs for nothing of the kind.
    place = frame.columns.index("attributes")
    listed = frame["attributes"].fill_null([]).to_arrow()
    entries = listed.values
    offsets = listed.offsets.cast(pa.int32())
    keys = entries.field("key").fill_null("")
    mapped = pa.MapArray.from_arrays(offsets, keys, entries.field("value").fill_null(""))
    return frame.drop("attributes").to_arrow().add_column(place, "attributes", mapped)


def stream(table: pa.Table) -> bytes:
    """The table as an Arrow IPC stream, compressed: less to send, hash and receive."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
