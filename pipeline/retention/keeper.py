"""What the notary does for retention: holds into ClickHouse, lifetimes of tables, deletions.

A deletion is told first: signed, in a file outside ClickHouse and in the topic of tree heads. Then
records go; their leaves stay, and `tacho verify` knows why there is no row.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from tachograph.pipeline.clock import SECOND_US, to_datetime
from tachograph.pipeline.config_log import ConfigLog
from tachograph.pipeline.log import get
from tachograph.pipeline.migrate import Layout
from tachograph.pipeline.notarize.files import append_lines
from tachograph.pipeline.notarize.keys import UNSIGNED, SigningKey
from tachograph.pipeline.notarize.leaves import LOGS
from tachograph.pipeline.retention.classes import CLASSES, Retention
from tachograph.pipeline.retention.holds import (
    HOLDS_TABLE,
    Held,
    Hold,
    held,
    in_table,
    of_activation,
    row_of,
)
from tachograph.pipeline.retention.sql import held_in, lifetime, listed
from tachograph.pipeline.store.catalogue import TABLES
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.columns import arrow_schema, quoted
from tachograph.pipeline.store.sink import insert
from tachograph.schemas import codec
from tachograph.schemas.records import Deletion

log = get("retention")

DELETIONS_FILE = "deletions.ndjson"
CHECK_EVERY_S = 60
# Records of one note; the rest goes with the next.
MAX_DELETED = 10_000
MAX_SESSIONS = 10_000

# (cluster, topic, partition) → the first offset that no signed head covers.
Covered = dict[tuple[str, str, int], int]
Send = Callable[[Deletion], None]


class Keeper:
    """Used by one thread; `settings` and `connect` as the notary has them."""

    def __init__(
        self,
        config: ConfigLog,
        retention: Retention,
        deletions: Path,
        layout: Layout = Layout(),  # noqa: B008 - frozen
    ) -> None:
        """`layout`: where the tables hold their rows."""
        self._config, self._retention, self._deletions = config, retention, deletions
        self._layout = layout
        self._words: list[Hold] = []
        self._applied: dict[str, str] = {}
        self._checked_us = 0

    def due(self, now_us: int) -> bool:
        """Whether it is time to look again."""
        return now_us - self._checked_us >= CHECK_EVERY_S * SECOND_US

    def step(
        self, connection: Connection, covered: Covered, key: SigningKey, send: Send, now_us: int
    ) -> None:
        """Take in new words on holds, apply lifetimes, delete what has had its time. Raises
        RetryLater, Refused.
        """
        self._checked_us = now_us
        what = self._held(connection)
        self._apply(connection, what)
        for table in LOGS.values():
            if self._retention.of_log(table) is not None:
                self._delete(connection, table, what, covered, (key, send, to_datetime(now_us)))

    def _held(self, connection: Connection) -> Held:
        """What is held, by the log and by the table: the embedded broker forgets."""
        stored = in_table(connection)
        said = [of_activation(one.activation) for one in self._config.whole()]
        self._words += [hold for hold in said if hold is not None]
        fresh = [hold for hold in self._words if hold not in stored]
        if fresh:
            columns = TABLES[HOLDS_TABLE].columns
            rows = [row_of(hold) for hold in fresh]
            schema = arrow_schema(column for column in columns if column.name in rows[0])
            insert(connection, HOLDS_TABLE, pa.Table.from_pylist(rows, schema=schema))
            log.info("holds", names=[hold.name for hold in fresh])
        return held([*stored, *self._words])

    def _apply(self, connection: Connection, what: Held) -> None:
        sessions = _sessions_of(connection, what.alerts)
        if not self._applied:
            self._applied = self._as_migrated(connection)
        for table in (table for tables in CLASSES.values() for table in tables):
            ttl = lifetime(table, self._retention.of_table(table), what, sessions)
            if self._applied.get(table) == ttl:
                continue
            connection.command(
                f"ALTER TABLE {self._rows_of(table)} MODIFY TTL {ttl}"
                " SETTINGS materialize_ttl_after_modify = 0"
            )
            self._applied[table] = ttl

    def _as_migrated(self, connection: Connection) -> dict[str, str]:
        """Lifetimes of tables whose rows nothing holds: as `tacho migrate` left them."""
        rows = connection.rows(
            "SELECT name FROM system.tables WHERE database = 'tacho'"
            " AND create_table_query NOT LIKE '%toIntervalDay(%) WHERE %'"
        )
        plain = Held()
        there = {str(name) for (name,) in rows}
        return {
            table: lifetime(table, self._retention.of_table(table), plain, ())
            for tables in CLASSES.values()
            for table in tables
            if self._layout.holder(table) in there
        }

    def _rows_of(self, table: str) -> str:
        """The table that holds the rows, on every server that has it."""
        return f"tacho.{self._layout.holder(table)} {self._layout.on_cluster}"

    def _delete(
        self,
        connection: Connection,
        table: str,
        what: Held,
        covered: Covered,
        signing: tuple[SigningKey, Send, datetime],
    ) -> None:
        days = self._retention.of_log(table)
        rows = connection.rows(
            "SELECT log_cluster, log_topic, log_partition, log_offset"  # noqa: S608 - quoted
            f" FROM tacho.{table} FINAL WHERE stored_at < now() - toIntervalDay({days})"
            f" AND NOT {held_in(table, what)}"
            " ORDER BY log_cluster, log_topic, log_partition, log_offset"
            f" LIMIT {MAX_DELETED}"
        )
        by_tree: dict[tuple[str, str, int], list[int]] = {}
        for cluster, topic, partition, offset in rows:
            tree = (str(cluster), str(topic), int(partition))
            if int(offset) < covered.get(tree, 0):
                by_tree.setdefault(tree, []).append(int(offset))
        for tree, offsets in by_tree.items():
            self._delete_of(connection, table, tree, offsets, signing)

    def _delete_of(
        self,
        connection: Connection,
        table: str,
        tree: tuple[str, str, int],
        offsets: list[int],
        signing: tuple[SigningKey, Send, datetime],
    ) -> None:
        key, send, at = signing
        gone = stretches(offsets)
        note: Deletion = key.signed(
            Deletion(
                cluster=tree[0], topic=tree[1], partition=tree[2],
                offsets=[[first, last] for first, last in gone], count=len(offsets),
                reason=f"older than {self._retention.of_log(table)} days", by="retention",
                signed_at=at, key_id=key.key_id, signature=UNSIGNED,
            )
        )  # fmt: skip
        append_lines(self._deletions, [codec.encode(note)])
        send(note)
        which = " OR ".join(f"log_offset BETWEEN {first} AND {last}" for first, last in gone)
        connection.command(
            f"ALTER TABLE {self._rows_of(table)} DELETE"
            f" WHERE log_cluster = {quoted(tree[0])} AND log_topic = {quoted(tree[1])}"
            f" AND log_partition = {tree[2]} AND ({which})"
            " SETTINGS mutations_sync = 1"
        )
        log.info("deleted", table=table, topic=tree[1], partition=tree[2], records=len(offsets))


def stretches(offsets: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending offsets as stretches [first, last]."""
    ordered = list(offsets)
    breaks = [at for at, (a, b) in enumerate(pairwise(ordered), 1) if b != a + 1]
    begins, ends = [0, *breaks], [*breaks, len(ordered)]
    return [(ordered[b], ordered[e - 1]) for b, e in zip(begins, ends, strict=True)]


def _sessions_of(connection: Connection, alerts: tuple[str, ...]) -> list[str]:
    if not alerts:
        return []
    rows = connection.rows(
        "SELECT DISTINCT arrayJoin(arrayConcat([session_id], session_ids)) AS session"  # noqa: S608
        f" FROM tacho.alerts_data WHERE alert_id IN {listed(alerts)}"
        f" AND session != '' ORDER BY session LIMIT {MAX_SESSIONS}"
    )
    return [str(session) for (session,) in rows]
