"""The facts of events that matched: what signals say of them, and frames of them."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache, cached_property, lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.frames import rows_at, times_us
from tachograph.detectors.language.fields import FieldMap, Source
from tachograph.detectors.matching.lowering import value_of
from tachograph.detectors.reference.joins import nulls

# A matched value is shown up to here.
MAX_SAID_CHARS = 160
# Fields shown of one event.
MAX_SAID_FIELDS = 8
# Expressions that are kept ready.
MAX_READY = 4_096

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
    observed_time: datetime | None = None
    register_owner: str | None = None
    # What it says in the fields of the rule that asked, and its values of that rule's group-by.
    said: dict[str, str] = {}
    group: tuple[str, ...] = ()

    @property
    def agent(self) -> str:
        """Who acted, as well as it is known."""
        return self.agent_id or self.agent_name or self.partition_key or UNKNOWN_AGENT


UNKNOWN_AGENT = "unknown"
DEFAULT_TENANT = "default"

# Our own columns behind the fields of Facts, in their order; the last one is joined.
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
    "observed_time": pl.Datetime("us", "UTC"),
    "register_owner": pl.String(),
}
# Those that a fact frame has even where no event has a value.
ALWAYS_FACTS = tuple(FACT_COLUMNS)[:10]
# Those that a link can still fill in.
LINKED_FACTS = frozenset({"session_id", "agent_id", "agent_name", "principal_id"})
# Who acted, as a column.
AGENT = pl.coalesce("agent_id", "agent_name", "partition_key", pl.lit(UNKNOWN_AGENT))


def said_column(field: str) -> str:
    """Column of a fact frame with what an event says in a rule's field."""
    return f"said:{field}"


def group_column(field: str) -> str:
    """Column of a fact frame with an event's value of a group-by field."""
    return f"by:{field}"


def number_column(field: str) -> str:
    """Column of a fact frame with an event's number in a field."""
    return f"number:{field}"


# Column of a fact frame: who reported the event, so that two reports of an action can be told from
# two actions of one source.
SOURCE = "source"


def group_value(field: str, fields: FieldMap) -> pl.Expr:
    """The value of a field in a fact frame, to group by or to count: sessions and agents as links
    have made them known.
    """
    column = fields.source(field).column
    if fields.columns is not None and column in LINKED_FACTS:
        return AGENT.alias(column) if column == "agent_id" else pl.col(column)
    return pl.col(group_column(field))


class Wanted(msgspec.Struct, frozen=True):
    """Fields that a fact frame is to have: to show, cut short; to group by or to count the values
    of, whole; to calculate with.
    """

    said: list[str] = []
    by: list[str] = []
    numbers: list[str] = []


def fact_frame(frame: pl.DataFrame, rows: Rows, fields: FieldMap, wanted: Wanted) -> pl.DataFrame:
    """Facts of these rows as columns: those of FACT_COLUMNS (times as numbers) and their source,
    and fields as texts and numbers.
    """
    part = _at(_valued(frame, fields), rows)
    said = {said_column(field): (field, MAX_SAID_CHARS) for field in wanted.said}
    grouped = {group_column(field): (field, None) for field in wanted.by}
    texts = _texts(part, fields, {**said, **grouped})
    figures = _numbers(part, fields, wanted.numbers)
    absent = dict.fromkeys((name for name in grouped if name not in texts), pl.String())
    return _own(part, fields).hstack([*texts.values(), *figures, *nulls(absent, len(rows))])


def _valued(frame: pl.DataFrame, fields: FieldMap) -> pl.DataFrame:
    """Its columns that have a value in some row, and those by which its events are known."""
    always = {fields.own(name) for name in ALWAYS_FACTS}
    height = frame.height
    return frame[
        [c.name for c in frame.get_columns() if c.null_count() < height or c.name in always]
    ]


def _at(frame: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    """These rows, which ascend: so many as there are, are all."""
    return frame if len(rows) == frame.height else rows_at(frame, rows)


@cache
def _absent(name: str) -> pl.Series:
    """What stands for one of our columns where a frame has none."""
    kind = pl.Int64() if name == "event_time" else FACT_COLUMNS[name]
    return pl.Series(name, [DEFAULT_TENANT if name == "tenant" else None], kind)


def _own(frame: pl.DataFrame, fields: FieldMap) -> pl.DataFrame:
    """Our columns under their own names, those with a value and those that are always there."""
    columns: list[pl.Series] = []
    have = set(frame.columns)
    for name in FACT_COLUMNS:
        always = name in ALWAYS_FACTS
        if fields.own(name) not in have:
            columns += [_absent(name).new_from_index(0, frame.height)] if always else []
            continue
        column = frame.get_column(fields.own(name))
        if always or column.null_count() < frame.height:
            columns.append(times_us(column) if name == "event_time" else column)
    if fields.own_prefix:
        columns = [column.alias(column.name.removeprefix(fields.own_prefix)) for column in columns]
    source = _source(frame, fields)
    return pl.DataFrame(columns if source is None else [*columns, source])


def _source(frame: pl.DataFrame, fields: FieldMap) -> pl.Series | None:
    """Who reported each row: the source's id, else its kind; None if nothing says that."""
    named = [fields.own("source_id"), fields.own("source_kind")]
    have = set(frame.columns)
    own = [frame.get_column(name) for name in named if name in have]
    if not own:
        return None
    if len(own) == 1 or not own[0].null_count():
        return own[0].alias(SOURCE)
    if own[0].null_count() == frame.height:
        return own[1].alias(SOURCE)
    return frame.select(pl.coalesce(one.name for one in own).alias(SOURCE)).to_series()


def said_text(frame: pl.DataFrame, rows: Rows, field: str, fields: FieldMap) -> pl.Series | None:
    """What some events say in a field, cut short as it is shown; None where no event of the frame
    says anything.
    """
    column = fields.source(field).column
    if column not in frame.columns:
        return None
    part = _at(frame[[column]], rows)
    return _texts(part, fields, {field: (field, MAX_SAID_CHARS)}).get(field)


def _texts(
    frame: pl.DataFrame, fields: FieldMap, named: Mapping[str, tuple[str, int | None]]
) -> dict[str, pl.Series]:
    """Fields as text columns, by the name each is to have; those without any value are left out.

    `named`: for each the field, and how many characters of it are wanted at most.
    """
    have = {c.name: c.dtype for c in frame.get_columns() if c.null_count() < frame.height}
    asked: list[pl.Expr] = []
    for name, (field, most_chars) in named.items():
        source = fields.source(field)
        kind = have.get(source.column)
        if kind is not None:
            asked.append(_text(name, source, kind, most_chars))
    return {column.name: column for column in frame.select(asked)} if asked else {}


def _numbers(frame: pl.DataFrame, fields: FieldMap, wanted: Sequence[str]) -> list[pl.Series]:
    """Fields as numbers; null where one is none, or several."""
    names = {field: number_column(field) for field in wanted}
    asked: list[pl.Expr] = []
    have = frame.schema if wanted else {}
    for field, name in names.items():
        source = fields.source(field)
        kind = have.get(source.column)
        if kind is None:
            continue
        value = value_of(source)
        listed = source.whole and isinstance(kind, pl.List)
        if listed:
            # Where any event has several values, one value is a list of one.
            value = pl.when(value.list.len() == 1).then(value.list.first())
        if listed or not source.whole or _numeral(kind):
            asked.append(value.cast(pl.Float64, strict=False).alias(name))
    found = {column.name: column for column in frame.select(asked)} if asked else {}
    none = dict.fromkeys((name for name in names.values() if name not in found), pl.Float64())
    return [*found.values(), *nulls(none, frame.height)]


def _numeral(kind: pl.DataType) -> bool:
    return kind.is_numeric() or kind == pl.String()


@lru_cache(maxsize=MAX_READY)
def _text(name: str, source: Source, kind: pl.DataType, most_chars: int | None) -> pl.Expr:
    value = value_of(source)
    if source.whole and isinstance(kind, pl.List):
        value = value.cast(pl.List(pl.String)).list.join(", ")
    elif source.whole and kind != pl.String():
        value = value.cast(pl.String)
    return (value if most_chars is None else value.str.head(most_chars)).alias(name)


class FactTable:
    """Facts of some rows of a frame, made when asked for. Rows are numbers, ascending."""

    def __init__(self, frame: pl.DataFrame, rows: Rows, fields: FieldMap) -> None:
        self._frame, self._rows, self._fields = frame, rows, fields
        self._said: dict[str, list[str | None]] = {}

    @cached_property
    def _facts(self) -> list[tuple[Any, ...]]:
        frame, fields = self._frame, self._fields
        have = set(frame.columns)
        named = [fields.own(name) for name in FACT_COLUMNS]
        columns = [frame.get_column(name) for name in named if name in have]
        valued = [column for column in columns if column.null_count() < frame.height]
        part = _at(pl.DataFrame(valued), self._rows)
        held = {column.name.removeprefix(fields.own_prefix): column for column in part}
        if "event_time" in held:
            held["event_time"] = times_us(held["event_time"])
        tenant = None if fields.own("tenant") in have else DEFAULT_TENANT
        return fact_rows(held, len(self._rows), tenant)

    def at(self, rows: Rows, shown: Sequence[str]) -> list[Facts]:
        """Facts of these rows, with what they say in the fields `shown`."""
        places = np.searchsorted(self._rows, rows).tolist()
        sayings = [(name, self._values(name)) for name in shown[:MAX_SAID_FIELDS]]
        facts = self._facts
        return [facts_of(facts[place], _said(sayings, place), ()) for place in places]

    def all(self) -> list[Facts]:
        """Facts of all its rows, without what they say in any field."""
        return [facts_of(row, {}, ()) for row in self._facts]

    def _values(self, name: str) -> list[str | None]:
        values = self._said.get(name)
        if values is None:
            found = said_text(self._frame, self._rows, name, self._fields)
            values = [None] * len(self._rows) if found is None else found.to_list()
            self._said[name] = values
        return values


def fact_rows(
    held: Mapping[str, pl.Series], height: int, tenant: str | None = None
) -> list[tuple[Any, ...]]:
    """Rows with a place for every field of Facts, in their order. `held`: columns of a fact frame,
    by name; `tenant`: what it is where there is none.
    """
    absent = {"tenant": tenant}
    columns = [
        held[name].to_list() if name in held else itertools.repeat(absent.get(name), height)
        for name in FACT_COLUMNS
    ]
    return list(zip(*columns, strict=True))


def facts_of(row: tuple[Any, ...], said: dict[str, str], group: tuple[str, ...]) -> Facts:
    """A row of a fact frame, by position: naming 23 fields would cost more than all the rest."""
    return Facts(*row, said, group)  # type: ignore[call-arg]


def _said(sayings: Sequence[tuple[str, list[str | None]]], place: int) -> dict[str, str]:
    return {name: text for name, values in sayings if (text := values[place]) is not None}
