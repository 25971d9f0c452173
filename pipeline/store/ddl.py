"""The text of a table and of a view. Pure: what they consist of is said in tables.py.

Placeholders, filled by `tacho migrate`: `${on_cluster}` and `${replicated}` for replicated servers,
`${days}` for how long rows stay.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa

from tachograph.pipeline.store.columns import Column, quoted

STORED_AT = Column(
    "stored_at",
    "DateTime('UTC')",
    pa.timestamp("s", "UTC"),
    "Delta(4), ZSTD(1)",
    "when this row was stored [UTC]",
    "now('UTC')",
)
# Where the record stands in Kafka: the key of every log, and a witness for a row that looks odd.
PLACE = (
    Column("log_topic", "LowCardinality(String)", pa.string(), "ZSTD(1)", "topic of the record"),
    Column("log_partition", "Int64", pa.int64(), "ZSTD(1)", "partition of the record"),
    Column("log_offset", "Int64", pa.int64(), "Delta(8), ZSTD(1)", "offset of the record"),
)
# Another cluster is another log: the embedded broker's is one a start.
CLUSTER = Column(
    "log_cluster", "LowCardinality(String)", pa.string(), "ZSTD(1)", "cluster whose log it is"
)


class Table(NamedTuple):
    """A table: its columns and the clauses that follow them.

    The first line of `why` is its comment.
    """

    name: str
    why: str
    columns: Sequence[Column]
    engine: str
    order_by: str
    partition_by: str = ""
    expires: bool = True
    # Hours after which rows go, where they are of use for so long only.
    hours: int = 0
    indexes: Sequence[str] = ()
    settings: Sequence[str] = ()

    @property
    def create(self) -> str:
        """The CREATE TABLE statement, with the lines that say why it is built so."""
        inner = [column.clause for column in self.columns]
        inner += [f"INDEX {index}" for index in self.indexes]
        clauses = [
            f"PARTITION BY {self.partition_by}" if self.partition_by else "",
            f"ORDER BY {self.order_by}",
            "TTL stored_at + toIntervalDay(${days})" if self.expires else "",
            f"TTL stored_at + toIntervalHour({self.hours})" if self.hours else "",
            f"SETTINGS {', '.join(self.settings)}" if self.settings else "",
            f"COMMENT {quoted(self.why.splitlines()[0])}",
        ]
        return (
            _remarks(self.why)
            + f"CREATE TABLE IF NOT EXISTS tacho.{self.name} ${{on_cluster}}\n(\n"
            + ",\n".join(f"    {line}" for line in inner)
            + f"\n)\nENGINE = ${{replicated}}{self.engine}\n"
            + "\n".join(clause for clause in clauses if clause)
            + ";\n"
        )


class View(NamedTuple):
    """A name that analysts read:

    its columns, and for each the expression where it is not the column itself.
    """

    name: str
    why: str
    columns: Sequence[Column]
    source: str
    computed: dict[str, str] = {}  # noqa: RUF012 - never written to

    @property
    def create(self) -> str:
        """The CREATE OR REPLACE VIEW statement, with the lines that say why it is built so."""
        shown = ",\n".join(f"    {column.shown}" for column in self.columns)
        chosen = ",\n".join(f"    {self._chosen(column.name)}" for column in self.columns)
        comment = quoted(self.why.splitlines()[0])
        return (
            _remarks(self.why)
            + f"CREATE OR REPLACE VIEW tacho.{self.name} ${{on_cluster}}\n"
            + f"(\n{shown}\n)\nAS SELECT\n{chosen}\n{self.source}\nCOMMENT {comment};\n"
        )

    def _chosen(self, name: str) -> str:
        expression = self.computed.get(name)
        return f"{expression} AS `{name}`" if expression else f"`{name}`"


class Feed(NamedTuple):
    """What writes into one table whenever rows come into another (a materialized view)."""

    name: str
    why: str
    columns: Sequence[Column]
    into: str
    query: str

    @property
    def create(self) -> str:
        """The CREATE MATERIALIZED VIEW statement, with the lines that say why it is built so."""
        shown = ",\n".join(f"    {column.shown}" for column in self.columns)
        return (
            _remarks(self.why)
            + f"CREATE MATERIALIZED VIEW IF NOT EXISTS tacho.{self.name} ${{on_cluster}}\n"
            + f"TO tacho.{self.into}\n(\n{shown}\n)\nAS {self.query}\n"
            + f"COMMENT {quoted(self.why.splitlines()[0])};\n"
        )


def _remarks(why: str) -> str:
    return "".join(f"-- {line}\n" for line in why.splitlines())


def addition(table: Table, views: Iterable[View], known: Iterable[str]) -> str:
    """Statements that add the columns of `table` that are not in `known`, and renew the views that
    show them.
    """
    have = set(known)
    added = [column for column in table.columns if column.name not in have]
    alters = [
        f"ALTER TABLE tacho.{table.name} ${{on_cluster}}"
        f" ADD COLUMN IF NOT EXISTS {column.clause};\n"
        for column in added
    ]
    return "\n".join([*alters, *(view.create for view in views)])
