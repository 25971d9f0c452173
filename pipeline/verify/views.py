"""What analysts read of alerts and captured state, against the records it was made from.

The logs are proved by leaves; `tacho.alerts` and `tacho.agent_state` show rows of other tables.
Each of those rows names its record, and has to say what that record says.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from tachograph.pipeline.errors import Refused
from tachograph.pipeline.notarize.leaves import LOGS
from tachograph.pipeline.store.catalogue import TABLES
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.columns import quoted
from tachograph.pipeline.store.records import Origin, rows_of
from tachograph.pipeline.verify.anchors import Deleted
from tachograph.pipeline.verify.findings import Report, TreeId

# Table → the topics that its rows are made from.
SHOWN = {"alerts_data": ("agent.alerts",), "agent_state_data": ("agent.alerts", "agent.state")}
OFFSETS_AT_ONCE = 500
AGAIN_S = 1.0
# Said by whoever stores, not by the record.
_OWN = frozenset({"stored_at"})


def check_shown(
    connection: Connection,
    deleted: Deleted,
    report: Report,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Hold the tables behind the views against the logs. Raises RetryLater, Refused."""
    for table, topics in SHOWN.items():
        columns = "log_topic, log_partition, min(log_offset), max(log_offset), count()"
        places = connection.rows(
            f"SELECT {columns} FROM tacho.{table} GROUP BY log_topic, log_partition"  # noqa: S608
        )
        for topic, partition, first, last, count in places:
            place = TreeId("", str(topic), int(partition))
            if place.topic not in topics:
                report.find("added", f"{count} row(s) of no record", place, table=table)
                continue
            for at in range(int(first), int(last) + 1, OFFSETS_AT_ONCE):
                odd = _odd(connection, table, place, at)
                if odd:
                    sleep(AGAIN_S)  # the store writes one table after the other
                    odd = _odd(connection, table, place, at)
                for offset, name in odd.items():
                    if not deleted.covers_place(place.place, offset):
                        report.find(
                            "changed", "the row does not say what its record in the log says",
                            place, first=offset, last=offset, table=table, id=name,
                        )  # fmt: skip


def _odd(connection: Connection, table: str, place: TreeId, first: int) -> dict[int, str]:
    """Offset → id of rows that do not say what their record says."""
    where = (
        f"log_topic = {quoted(place.topic)} AND log_partition = {place.partition}"
        f" AND log_offset >= {first} AND log_offset < {first + OFFSETS_AT_ONCE}"
    )
    names = [column.name for column in TABLES[table].columns if column.name not in _OWN]
    chosen = ", ".join(f"`{name}`" for name in names)
    shown = connection.arrow(f"SELECT {chosen} FROM tacho.{table} WHERE {where}")  # noqa: S608
    made = _made(connection, table, place, where) if len(shown) else {}
    return {
        int(row["log_offset"]): str(row.get("alert_id") or row.get("snapshot_id") or "")[:64]
        for row in shown.to_pylist()
        if not any(_same(row, one) for one in made.get(int(row["log_offset"]), ()))
    }


def _made(
    connection: Connection, table: str, place: TreeId, where: str
) -> dict[int, list[dict[str, Any]]]:
    """Offset → what the records there are shown as: one for each cluster that had the offset."""
    found: dict[int, list[dict[str, Any]]] = {}
    records = connection.rows(
        f"SELECT DISTINCT log_offset, hex(record) FROM tacho.{LOGS[place.topic]} WHERE {where}"  # noqa: S608
    )
    for offset, record in records:
        origin = Origin(place.place, int(offset), bytes.fromhex(record))
        found.setdefault(int(offset), []).extend(_rows(origin, table))
    return found


def _rows(origin: Origin, table: str) -> Iterator[dict[str, Any]]:
    try:
        yield from (row.values for row in rows_of(origin, str) if row.table == table)
    except Refused:
        return  # such a record is told by its leaf


def _same(row: dict[str, Any], made: dict[str, Any]) -> bool:
    return all(_plain(value) == _plain(made.get(name)) for name, value in row.items())


def _plain(value: Any) -> Any:
    """A value as both sides have it: nothing is nothing, and a map is its pairs."""
    if value is None or value in ("", [], {}):
        return None
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        if all(isinstance(item, tuple) for item in value):
            return {name: _plain(inner) for name, inner in value}
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value
