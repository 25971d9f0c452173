"""Columns that follow from reference data: computed once for each different value of a batch, then
joined.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import polars as pl

from tachograph.detectors.reference.entries import Content
from tachograph.schemas.batch import COLUMNS

Joiner = Callable[[pl.DataFrame], pl.DataFrame]
Values = tuple[Any, ...]
# Answers remembered by one join.
CACHED = 2_048
# Between the elements of a list that is looked up as one text; no name holds it.
BETWEEN = "\x1f"
TIME = COLUMNS["event_time"]


class Join(Protocol):
    """Some columns, and the columns they are computed from."""

    @property
    def gives(self) -> Mapping[str, pl.DataType]:
        """The columns it adds. Those whose name begins with `~` are for other joins only."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns it is computed from, those of earlier joins among them."""
        ...

    def bind(self, content: Content) -> Joiner | None:
        """A function that adds the columns to a frame in which those it reads may be absent;
        None: the reference says nothing of this, all is null.
        """
        ...


@dataclass(frozen=True)
class ByValue:
    """Columns that are a function of the values of other columns.

    `make` gets the content and gives that function, or None when nothing is known. Lists reach it
    as one text (see `items`). Where `when` holds no value, nor do the columns given.
    """

    gives: Mapping[str, pl.DataType]
    reads: tuple[str, ...]
    make: Callable[[Content], Callable[..., Values] | None]
    when: tuple[str, ...] = ()

    def bind(self, content: Content) -> Joiner | None:
        """See Join."""
        made = self.make(content)
        if made is None:
            return None
        answer = lru_cache(CACHED)(made)
        return lambda frame: self._joined(frame, answer)

    def _joined(self, frame: pl.DataFrame, answer: Callable[..., Values]) -> pl.DataFrame:
        here = [name for name in self.reads if name in frame.columns]
        valued = {name for name in here if frame[name].null_count() < frame.height}
        if self.when and valued.isdisjoint(self.when):
            return frame.hstack(nulls(self.gives, frame.height))
        asked = frame.select(_key(name, frame.schema[name]) for name in here if name in valued)
        places = {name: place for place, name in enumerate(asked.columns)}
        distinct = asked.unique(maintain_order=True) if asked.width else pl.DataFrame({"~": [0]})
        order = [places.get(name) for name in self.reads]
        found = [
            answer(*(None if place is None else row[place] for place in order))
            for row in distinct.rows()
        ]
        columns = [
            pl.Series(name, [values[at] for values in found], kind)
            for at, (name, kind) in enumerate(self.gives.items())
        ]
        if distinct.height == 1:
            return frame.hstack([column.new_from_index(0, frame.height) for column in columns])
        joined = asked.join(
            distinct.hstack(columns), on=asked.columns, how="left", nulls_equal=True,
            maintain_order="left",
        )  # fmt: skip
        return frame.hstack([joined[name] for name in self.gives])


@dataclass(frozen=True)
class ByTime:
    """Columns computed from others and from the time of the action, a column at a time."""

    gives: Mapping[str, pl.DataType]
    reads: tuple[str, ...]
    expressions: tuple[pl.Expr, ...]
    known: Callable[[Content], Any] = field(default=lambda _: True)

    def bind(self, content: Content) -> Joiner | None:
        """See Join."""
        return self._joined if self.known(content) else None

    def _joined(self, frame: pl.DataFrame) -> pl.DataFrame:
        absent = {name: COLUMNS[name] for name in self.reads if name not in frame.columns}
        return frame.hstack(nulls(absent, frame.height)).with_columns(self.expressions)


def nulls(columns: Mapping[str, pl.DataType], rows: int) -> list[pl.Series]:
    """These columns without any value."""
    return [_null(name, kind).new_from_index(0, rows) for name, kind in columns.items()]


@lru_cache(512)
def _null(name: str, kind: pl.DataType) -> pl.Series:
    return pl.Series(name, [None], kind)


def items(joined: str | None) -> list[str]:
    """The elements of a list that came as one text."""
    return joined.split(BETWEEN) if joined else []


def _key(name: str, kind: pl.DataType) -> pl.Expr:
    if isinstance(kind, pl.List):
        return pl.col(name).list.join(BETWEEN, ignore_nulls=True)
    return pl.col(name)
