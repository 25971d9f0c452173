"""What a sample's fields are as rows and frames: of actions, or of logs of other kinds."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec
import polars as pl

from tachograph.detectors.language.fields import ACTIONS, RAW, UnknownField
from tachograph.schemas.batch import COLUMNS, JUDGED

Row = dict[str, Any]
_USUAL = {"partition_key": "sample", "agent_id": "sample-agent", "session_id": "sample-session"}
# Objects with their ids and times (UTC microseconds) as a frame of raw events.
MakeRaw = Callable[[Sequence[Mapping[str, Any]], Sequence[str], Sequence[int]], pl.DataFrame]


class Shape(Protocol):
    """How events of one kind are made of fields."""

    # The name, in a row, of one of our own columns: event_id, event_time, tenant.
    def own(self, name: str) -> str:
        """The key of one of our own columns in a row."""
        ...

    def row(self, fields: Mapping[str, Any], moment: datetime) -> Row:
        """A row of an event's fields. Raises ValueError for a field that there cannot be."""
        ...

    def frame(self, rows: Sequence[Row]) -> pl.DataFrame:
        """Rows with an id each as a frame. Raises TypeError or a PolarsError for a wrong type."""
        ...


class ActionShape:
    """Actions: fields by the names of rules or columns.

    `asked`: attributes that a sample may name without saying that they are some.
    """

    def __init__(self, asked: frozenset[str] = frozenset()) -> None:
        self._asked = asked

    def own(self, name: str) -> str:
        """See Shape."""
        return name

    def row(self, fields: Mapping[str, Any], moment: datetime) -> Row:
        """See Shape."""
        times = {"event_time": moment, "observed_time": moment}
        return {**_USUAL, **times, **self._columns(fields)}

    def _columns(self, fields: Mapping[str, Any]) -> Row:
        """Fields by columns: those within JSON texts and attributes gathered there."""
        row: Row = {}
        members: dict[str, Row] = defaultdict(dict)
        attributes: dict[str, str] = {}
        for name, value in fields.items():
            if name in JUDGED:
                row[name] = value
                continue
            try:
                source = ACTIONS.source(name)
            except UnknownField as error:
                raise ValueError(str(error)) from error
            if source.path is not None:
                _put(members[source.column], source.path, value)
            elif source.attribute is not None and ("." in name or name in self._asked):
                attributes[source.attribute] = str(value)
            elif source.column in JUDGED and source.whole:
                row[source.column] = value
            else:
                raise ValueError(f"no field of an action: {name}")
        row |= {column: msgspec.json.encode(value).decode() for column, value in members.items()}
        given = row.pop("attributes", None) or {}
        attributes |= {str(key): str(value) for key, value in given.items()}
        if attributes:
            row["attributes"] = [{"key": key, "value": value} for key, value in attributes.items()]
        return row

    def frame(self, rows: Sequence[Row]) -> pl.DataFrame:
        """See Shape."""
        names = {name for row in rows for name in row}
        return pl.DataFrame(rows, schema={name: JUDGED[name] for name in sorted(names)})


def _put(inner: Row, path: str, value: Any) -> None:
    *parents, last = path[3:-2].split("']['")
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[last] = value


class RawShape:
    """Any JSON objects, made into frames by whoever reads such logs."""

    def __init__(self, make: Callable[[], MakeRaw]) -> None:
        self._make = make

    def own(self, name: str) -> str:
        """See Shape."""
        return RAW.own(name)

    def row(self, fields: Mapping[str, Any], moment: datetime) -> Row:
        """See Shape."""
        return {**fields, RAW.own("event_time"): moment}

    def frame(self, rows: Sequence[Row]) -> pl.DataFrame:
        """See Shape."""
        objects = [
            {name: value for name, value in row.items() if not name.startswith(RAW.own_prefix)}
            for row in rows
        ]
        ids = [row.get(RAW.own("event_id"), "") for row in rows]
        times = pl.Series([row[RAW.own("event_time")] for row in rows], dtype=COLUMNS["event_time"])
        frame = self._make()(objects, ids, times.to_physical().to_list())
        tenants = [row.get(RAW.own("tenant")) for row in rows]
        return frame.with_columns(pl.Series(RAW.own("tenant"), tenants, pl.String))
