"""Fact frames that are kept until what refers to them is over."""

import io
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.facts import (
    MAX_SAID_FIELDS,
    Facts,
    Rows,
    fact_rows,
    facts_of,
    said_column,
)

_TABLE = "table"
# Frames of which fewer rows are needed are put together.
SMALL_ROWS = 1_000
# Rows of a fact frame that a link may still tell something.
UNLINKED = pl.col("trace_id").is_not_null() & (
    pl.col("session_id").is_null()
    | (pl.col("session_id") == pl.col("trace_id"))
    | pl.col("agent_id").is_null()
)
# The same, where a group may be a principal's.
UNLINKED_OR_NOBODYS = UNLINKED | (
    pl.col("trace_id").is_not_null() & pl.col("principal_id").is_null()
)


class Places(msgspec.Struct, frozen=True):
    """Events in a FactStore, and the leaf of a rule that each came by."""

    table: Rows
    row: Rows
    leaf: Rows


class FactStore:
    """Fact frames that correlations refer to by (table, row), until none does."""

    def __init__(self, waits: pl.Expr = UNLINKED) -> None:
        """`waits`: which rows a link may still tell something that matters."""
        self._waits = waits
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
        traces = pl.col("trace_id").filter(self._waits).unique()
        for trace in table.select(traces).to_series().to_list():
            self._waiting.setdefault(trace, set()).add(number)

    def waiting(self, traces: Iterable[tuple[str, str, str]]) -> list[int]:
        """Frames with events of these traces (links.Trace) that something may become known of."""
        found: set[int] = set()
        for _, _, trace in traces:
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

    def rows(self, table: Rows, row: Rows) -> pl.DataFrame:
        """The rows at these places, in order."""
        parts, order = [], []
        for number in np.unique(table).tolist():
            at = np.flatnonzero(table == number)
            parts.append(self.tables[number][row[at]])
            order.append(at)
        whole = parts[0] if len(parts) == 1 else pl.concat(parts, how="diagonal")
        return whole if len(parts) == 1 else whole[np.argsort(np.concatenate(order))]

    def repack(self, used: Iterable[tuple[Rows, Rows]]) -> dict[int, tuple[int, Rows]]:
        """Hold only these (table, row). What is left of tables that are small, or are mostly not
        used any more, is put together. Of each table that moved its new number, and the new row of
        each of its rows.
        """
        masks: dict[int, npt.NDArray[np.bool_]] = {}
        for tables, rows in used:
            order = np.argsort(tables, kind="stable")
            numbers, begins = np.unique(tables[order], return_index=True)
            for number, own in zip(numbers.tolist(), np.split(order, begins[1:]), strict=False):
                mask = masks.setdefault(number, np.zeros(self.tables[number].height, np.bool_))
                mask[rows[own]] = True
        self.keep(masks)
        small = [n for n, mask in masks.items() if mask.sum() < min(SMALL_ROWS, len(mask) // 2 + 1)]
        if len(small) == 1 and len(masks[small[0]]) < SMALL_ROWS:
            return {}
        moved: dict[int, tuple[int, Rows]] = {}
        parts, size = [], 0
        for number in small:
            rows = np.flatnonzero(masks[number])
            places = np.full(len(masks[number]), -1)
            places[rows] = size + np.arange(len(rows))
            moved[number] = (self._next, places)
            parts.append(self.tables[number][rows])
            size += len(rows)
        if parts:
            self.keep(masks.keys() - moved.keys())
            self.add(pl.concat(parts, how="diagonal"))
        return moved

    def facts(
        self,
        places: Places,
        shown: Mapping[int, Sequence[str]],
        by: Sequence[Sequence[pl.Expr]],
    ) -> list[Facts]:
        """Facts at the places, in order. By leaf `shown` has the fields that are shown, and `by`
        the group's values.
        """
        if not len(places.table):
            return []
        found: list[Facts | None] = [None] * len(places.table)
        whole = self.rows(places.table, places.row)
        for leaf in np.unique(places.leaf).tolist():
            at = np.flatnonzero(places.leaf == leaf)
            part = whole[at]
            names = [
                n for n in shown.get(leaf, ())[:MAX_SAID_FIELDS] if said_column(n) in part.columns
            ]
            facts = fact_rows({column.name: column for column in part}, part.height)
            said = (
                part.select(said_column(name) for name in names).rows() if names else [()] * len(at)
            )
            values_of = [expr.alias(str(number)) for number, expr in enumerate(by[leaf])]
            groups = part.select(values_of).rows() if values_of else [()] * len(at)
            for place, values, texts, group in zip(at.tolist(), facts, said, groups, strict=True):
                pairs = zip(names, texts, strict=True)
                shows = {name: text for name, text in pairs if text is not None}
                found[place] = facts_of(values, shows, group)
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
