"""Stored actions in the order of time, page by page, as the detectors take them."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import polars as pl

from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.columns import TIME_TYPE, quoted
from tachograph.schemas.batch import COLUMNS

PAGE_ROWS = 50_000
# A query looks at a stretch of time; stretches grow and shrink with what is in them.
FIRST_STRETCH = timedelta(hours=6)
SHORTEST, LONGEST = timedelta(seconds=10), timedelta(days=2)


class StoredActions:
    """Reads actions of tacho.actions. One query at a time, each far below a reader's limits."""

    def __init__(
        self, connection: Connection, columns: Sequence[str], *, page_rows: int = PAGE_ROWS
    ) -> None:
        self._connection = connection
        self._columns = sorted({*columns, "event_id", "event_time"} & set(COLUMNS))
        self._page_rows = page_rows

    def pages(self, since: datetime, until: datetime) -> Iterator[tuple[pl.DataFrame, datetime]]:
        """Frames with the moment up to which everything has then been given. Raises RetryLater,
        Refused.
        """
        stretch = FIRST_STRETCH
        while since < until:
            end = min(since + stretch, until)
            rows = 0
            for frame in self._stretch(since, end):
                rows += frame.height
                yield frame, _newest(frame)
            yield self._empty(), end
            since = end
            if rows > 2 * self._page_rows:
                stretch = max(stretch / 2, SHORTEST)
            elif rows < self._page_rows // 2:
                stretch = min(stretch * 2, LONGEST)

    def _stretch(self, since: datetime, until: datetime) -> Iterator[pl.DataFrame]:
        after = ""
        while True:
            frame = self._page(since, until, after)
            if not frame.is_empty():
                yield frame
            if frame.height < self._page_rows:
                return
            last = frame.row(-1, named=True)
            since = last["event_time"]
            after = f"AND (event_time, event_id) > ({time_sql(since)}, {quoted(last['event_id'])})"

    def of_id(self, event_id: str) -> pl.DataFrame:
        """The action of this id, if it is stored. Raises RetryLater, Refused."""
        return self._read(f"WHERE event_id = {quoted(event_id)} LIMIT 1")

    def _page(self, since: datetime, until: datetime, after: str) -> pl.DataFrame:
        return self._read(
            f"WHERE event_time >= {time_sql(since)} AND event_time < {time_sql(until)} {after}"
            f" ORDER BY event_time, event_id LIMIT {self._page_rows}"
        )

    def _read(self, where: str) -> pl.DataFrame:
        chosen = ", ".join(f"`{name}`" for name in self._columns)
        query = f"SELECT {chosen} FROM tacho.actions {where}"  # noqa: S608 - values are quoted
        return as_actions(pl.DataFrame(pl.from_arrow(self._connection.arrow(query))))

    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema={name: COLUMNS[name] for name in self._columns})


def as_actions(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of tacho.actions as the stream has them: what is empty there is absent here."""
    return frame.select(_as_action(name, COLUMNS[name]) for name in frame.columns)


def _as_action(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if kind == pl.String():
        text = column.cast(pl.String)
        return pl.when(text != "").then(text).alias(name)
    if isinstance(kind, pl.List):
        # A map comes as one; cast, it is the list of its entries.
        listed = column.cast(kind)
        return pl.when(listed.list.len() > 0).then(listed).alias(name)
    return column.cast(kind)


def _newest(frame: pl.DataFrame) -> datetime:
    newest: datetime = frame["event_time"][-1]
    return newest


def time_sql(moment: datetime) -> str:
    """A moment as a literal."""
    return f"{quoted(moment.strftime('%Y-%m-%d %H:%M:%S.%f'))}::{TIME_TYPE}"
