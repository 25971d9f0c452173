"""Records as a Parquet file: what is asked for most as columns, the record itself beside them."""

import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

_TIME = pa.timestamp("us", tz="UTC")
# Names are those of our own alert; a record without one (health, OCSF) has null there.
SCHEMA = pa.schema(
    [
        ("alert_id", pa.string()),
        ("revision", pa.int64()),
        ("change", pa.string()),
        ("tenant", pa.string()),
        ("environment", pa.string()),
        ("status", pa.string()),
        ("severity", pa.string()),
        ("confidence", pa.int64()),
        ("risk", pa.int64()),
        ("risk_category", pa.string()),
        ("title", pa.string()),
        ("entity", pa.string()),
        ("agent_id", pa.string()),
        ("agent_name", pa.string()),
        ("principal_id", pa.string()),
        ("session_id", pa.string()),
        ("owner_team", pa.string()),
        ("signal_count", pa.int64()),
        ("frameworks", pa.list_(pa.string())),
        ("first_seen", _TIME),
        ("last_seen", _TIME),
        ("updated_at", _TIME),
        ("record", pa.string()),
    ]
)


def table(bodies: Sequence[bytes]) -> bytes:
    """A Parquet file (zstd) with one row a JSON record."""
    rows = [_row(body) for body in bodies]
    columns = {
        field.name: [_cell(row.get(field.name), field.type) for row in rows] for field in SCHEMA
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=SCHEMA), sink, compression="zstd")
    return sink.getvalue()


def _row(body: bytes) -> dict[str, Any]:
    return {**msgspec.json.decode(body), "record": body.decode()}


def _cell(value: Any, kind: pa.DataType) -> Any:
    """The value if it is of the column's type, else null: the record has it in any case."""
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else None
    if pa.types.is_int64(kind):
        return value if isinstance(value, int) and abs(value) < 1 << 63 else None
    if pa.types.is_list(kind):
        return value if isinstance(value, list) else None
    return datetime.fromisoformat(value) if isinstance(value, str) else None
