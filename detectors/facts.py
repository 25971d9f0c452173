"""The facts of events that matched: what signals say of them, and the frames they are kept in until
needed.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.fields import FieldMap
from tachograph.detectors.lowering import value_of

# A matched value is shown up to here.
MAX_SAID_CHARS = 160
# Fields shown of one event.
MAX_SAID_FIELDS = 8

Rows = npt.NDArray[np.int64]


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
    # What it says in the fields of the rule that asked, and its values of that rule's group-by.
    said: dict[str, str] = {}
    group: tuple[str, ...] = ()

    @property
    def agent(self) -> str:
        """Who acted, as well as it is known."""
        return self.agent_id or self.agent_name or self.partition_key or UNKNOWN_AGENT


UNKNOWN_AGENT = "unknown"

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
# Who acted, as a column.
AGENT = pl.coalesce("agent_id", "agent_name", "partition_key", pl.lit(UNKNOWN_AGENT))


def said_column(field: str) -> str:
    """Column of a fact frame with what an event says in a rule's field."""
    return f"said:{field}"


def group_column(field: str) -> str:
    """Column of a fact frame with an event's value of a group-by field."""
    return f"by:{field}"


def group_value(field: str, fields: FieldMap) -> pl.Expr:
    """The value of a group-by field in a fact frame: sessions and agents as links have made them
    known.
    """
    column = fields.source(field).column
    if fields.columns is not None and column in {"session_id", "agent_id"}:
        return pl.col("session_id") if column == "session_id" else AGENT.alias("agent_id")
    return pl.col(group_column(field))


def fact_frame(
    frame: pl.DataFrame,
    rows: Rows,
    fields: FieldMap,
    said: Iterable[str] = (),
    by: Iterable[str] = (),
) -> pl.DataFrame:
    """Facts of these rows as columns: those of FACT_COLUMNS (times as numbers), and fields as
    texts.

    `said`: fields to show, cut short. `by`: fields to group by, whole.
    """
    part, have = frame[rows], frame.schema
    own = [
        pl.col(fields.own(name)).alias(name)
        if fields.own(name) in have
        else pl.lit(_ABSENT.get(name), dtype).alias(name)
        for name, dtype in FACT_COLUMNS.items()
    ]
    shown = [_text(f, fields, have).str.head(MAX_SAID_CHARS).alias(said_column(f)) for f in said]
    groups = [_text(f, fields, have).alias(group_column(f)) for f in by]
    facts = part.select(*own, *shown, *groups)
    return facts.with_columns(pl.col("event_time").to_physical())


def _text(name: str, fields: FieldMap, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    source = fields.source(name)
    kind = schema.get(source.column)
    if kind is None:
        return pl.lit(None, pl.String)
    value = value_of(source)
    if source.whole and isinstance(kind, pl.List):
        value = value.cast(pl.List(pl.String)).list.join(", ")
    return value.cast(pl.String)


class FactTable:
    """Facts of some rows of a frame, made when asked for. Rows are numbers, ascending."""

    def __init__(self, frame: pl.DataFrame, rows: Rows, fields: FieldMap) -> None:
        self._frame, self._rows, self._fields = frame, rows, fields
        self._said: dict[str, list[str | None]] = {}

    @cached_property
    def _facts(self) -> list[tuple[Any, ...]]:
        return fact_frame(self._frame, self._rows, self._fields, ()).rows()

    def at(self, rows: Rows, shown: Sequence[str]) -> list[Facts]:
        """Facts of these rows, with what they say in the fields `shown`."""
        places = np.searchsorted(self._rows, rows).tolist()
        sayings = [(name, self._values(name)) for name in shown[:MAX_SAID_FIELDS]]
        facts = self._facts
        return [_facts(facts[place], _said(sayings, place), ()) for place in places]

    def _values(self, name: str) -> list[str | None]:
        values = self._said.get(name)
        if values is None:
            text = _text(name, self._fields, self._frame.schema).str.head(MAX_SAID_CHARS)
            values = self._frame[self._rows].select(text.alias(name)).to_series().to_list()
            self._said[name] = values
        return values


class Places(msgspec.Struct, frozen=True):
    """Events in a FactStore, and the step of a rule that each stands for."""

    table: Rows
    row: Rows
    step: Rows


_TABLE = "table"
_UNLINKED = pl.col("trace_id").is_not_null() & (
    pl.col("session_id").is_null()
    | (pl.col("session_id") == pl.col("trace_id"))
    | pl.col("agent_id").is_null()
)


class FactStore:
    """Fact frames that correlations refer to by (table, row), until none does."""

    def __init__(self) -> None:
        self.tables: dict[int, pl.DataFrame] = {}
        # Trace → frames with events of it whose session or agent may still become known.
        self._waiting: dict[str, set[int]] = {}
        self._next = 0

    def add(self, table: pl.DataFrame) -> int:
        """Keep a frame; its number."""
        number = self._next
        self._next += 1
        self._keep(number, table)
        return number

    def _keep(self, number: int, table: pl.DataFrame) -> None:
        self.tables[number] = table
        for trace in table.filter(_UNLINKED)["trace_id"].unique().to_list():
            self._waiting.setdefault(trace, set()).add(number)

    def waiting(self, traces: Iterable[tuple[str, str]]) -> list[int]:
        """Frames with events of these (tenant, trace) that something may become known of."""
        found: set[int] = set()
        for _, trace in traces:
            found |= self._waiting.get(trace, set())
        return sorted(found)

    def keep(self, numbers: Iterable[int]) -> None:
        """Forget all frames but these."""
        gone = set(self.tables) - set(numbers)
        for number in gone:
            del self.tables[number]
        if gone:
            self._waiting = {
                trace: left for trace, frames in self._waiting.items() if (left := frames - gone)
            }

    def facts(
        self, places: Places, shown: Mapping[int, Sequence[str]], by: Sequence[pl.Expr]
    ) -> list[Facts]:
        """Facts at the places, in order. `shown`: fields that each step shows; `by`: the group's
        values.
        """
        found: list[Facts | None] = [None] * len(places.table)
        for table, step in np.unique(np.stack([places.table, places.step], 1), axis=0).tolist():
            at = np.flatnonzero((places.table == table) & (places.step == step))
            frame = self.tables[table]
            names = [
                n for n in shown.get(step, ())[:MAX_SAID_FIELDS] if said_column(n) in frame.columns
            ]
            part = frame[places.row[at]]
            facts = part.select(list(FACT_COLUMNS)).rows()
            said = (
                part.select(said_column(name) for name in names).rows() if names else [()] * len(at)
            )
            groups = part.select(by).rows() if by else [()] * len(at)
            for place, values, texts, group in zip(at.tolist(), facts, said, groups, strict=True):
                pairs = zip(names, texts, strict=True)
                shows = {name: text for name, text in pairs if text is not None}
                found[place] = _facts(values, shows, group)
        return found  # type: ignore[return-value]

    def dump(self) -> bytes:
        """All frames as one Arrow stream, each row with its table's number."""
        frames = [
            frame.with_columns(pl.lit(number, pl.Int64).alias(_TABLE))
            for number, frame in self.tables.items()
        ]
        sink = io.BytesIO()
        if frames:
            pl.concat(frames, how="diagonal").write_ipc_stream(sink, compression="zstd")
        return sink.getvalue()

    def load(self, state: bytes) -> None:
        """Take up a dump."""
        self.tables, self._waiting = {}, {}
        if state:
            whole = pl.read_ipc_stream(io.BytesIO(state))
            for frame in whole.partition_by(_TABLE, maintain_order=True):
                self._keep(frame[_TABLE][0], frame.drop(_TABLE))
        self._next = max(self.tables, default=-1) + 1


def _facts(row: tuple[Any, ...], said: dict[str, str], group: tuple[str, ...]) -> Facts:
    """A row of a fact frame, by position: naming 22 fields would cost more than all the rest."""
    return Facts(*row, said, group)  # type: ignore[call-arg]


def _said(sayings: Sequence[tuple[str, list[str | None]]], place: int) -> dict[str, str]:
    return {name: text for name, values in sayings if (text := values[place]) is not None}
