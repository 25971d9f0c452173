"""The facts of events that matched: what signals say of them, taken out of the frame once per batch."""

from collections.abc import Sequence
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.fields import FieldMap
from tachograph.detectors.lowering import value_of
from tachograph.detectors.rule import Detection

# A matched value is shown up to here.
MAX_SAID_CHARS = 160
# Fields shown of one event.
MAX_SAID_FIELDS = 8


class Facts(msgspec.Struct, array_like=True, gc=False):
    """One event, as far as signals need it. Times are UTC microseconds."""

    event_id: str
    time_us: int
    tenant: str
    twin: str | None = None
    agent_id: str | None = None
    agent_name: str | None = None
    principal_id: str | None = None
    session_id: str | None = None
    trace_id: str | None = None
    partition_key: str | None = None
    environment: str | None = None
    kind: str | None = None
    tool_name: str | None = None
    synthetic: bool | None = None
    replay: bool | None = None
    host_name: str | None = None
    target_domain: str | None = None
    target_ip: str | None = None
    target_url: str | None = None
    file_path: str | None = None
    file_hash: str | None = None
    artifact_name: str | None = None
    said: dict[str, str] = {}

    @property
    def key(self) -> str:
        """Equal for two reports of one action."""
        return self.twin or self.event_id

    @property
    def agent(self) -> str:
        """Who acted, as well as it is known."""
        return self.agent_id or self.agent_name or self.partition_key or "unknown"


# Our own columns behind the fields of Facts, in their order.
FACT_COLUMNS: dict[str, pl.DataType] = {
    "event_id": pl.String(),
    "event_time": pl.Datetime("us", "UTC"),
    "tenant": pl.String(),
    "twin_key": pl.String(),
    "agent_id": pl.String(),
    "agent_name": pl.String(),
    "principal_id": pl.String(),
    "session_id": pl.String(),
    "trace_id": pl.String(),
    "partition_key": pl.String(),
    "environment": pl.String(),
    "kind": pl.String(),
    "tool_name": pl.String(),
    "synthetic": pl.Boolean(),
    "replay": pl.Boolean(),
    "host_name": pl.String(),
    "target_domain": pl.String(),
    "target_ip": pl.String(),
    "target_url": pl.String(),
    "file_path": pl.String(),
    "file_hash": pl.String(),
    "artifact_name": pl.String(),
}


# What stands for one of our columns where a frame has none.
_ABSENT = {"tenant": "default"}


class FactTable:
    """Facts of some rows of a frame. Rows are given by their number in the frame, ascending."""

    def __init__(self, frame: pl.DataFrame, rows: npt.NDArray[np.int64], fields: FieldMap) -> None:
        self._frame = frame[rows]
        self._rows = rows
        self._fields = fields
        self._said: dict[str, list[str | None]] = {}

    @cached_property
    def _facts(self) -> list[tuple[object, ...]]:
        own, have = self._fields.own, self._frame.schema
        columns = [
            pl.col(own(name)).alias(name)
            if own(name) in have
            else pl.lit(_ABSENT.get(name), dtype).alias(name)
            for name, dtype in FACT_COLUMNS.items()
        ]
        return self._frame.select(columns).with_columns(pl.col("event_time").to_physical()).rows()

    def at(self, rows: npt.NDArray[np.int64], detection: Detection) -> list[Facts]:
        """Facts of these rows, saying which values the detection looked at."""
        places = np.searchsorted(self._rows, rows).tolist()
        said = self._sayings(detection)
        facts = self._facts
        return [Facts(*facts[place], _said(said, place)) for place in places]  # type: ignore[arg-type]

    def _sayings(self, detection: Detection) -> list[tuple[str, list[str | None]]]:
        found = []
        for name in detection.fields[:MAX_SAID_FIELDS]:
            values = self._said.get(name)
            if values is None:
                values = self._said[name] = self._values(name)
            found.append((name, values))
        return found

    def _values(self, name: str) -> list[str | None]:
        source = self._fields.source(name)
        if source.column not in self._frame.columns:
            return [None] * self._frame.height
        column = self._frame.select(value_of(source)).to_series()
        if isinstance(column.dtype, pl.List):
            column = column.cast(pl.List(pl.String)).list.join(", ")
        return column.cast(pl.String).str.head(MAX_SAID_CHARS).to_list()


def _said(sayings: Sequence[tuple[str, list[str | None]]], place: int) -> dict[str, str]:
    return {name: text for name, values in sayings if (text := values[place]) is not None}
