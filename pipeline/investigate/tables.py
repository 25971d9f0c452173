"""Tables of pages: what ClickHouse is asked, and the headings under which its answer is shown."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from tachograph.pipeline.investigate.page import Grid, grid
from tachograph.pipeline.query.reader import Reader
from tachograph.schemas.alert import SEVERITIES


class Table(NamedTuple):
    """A question, and the heading of each column that is shown."""

    sql: str
    columns: Mapping[str, str]

    def of(self, reader: Reader, **values: str | list[str]) -> Grid:
        """The answer. Raises Refused, RetryLater."""
        return grid(self.columns, reader.rows(self.sql, values))


class Alerts(NamedTuple):
    """Alerts beside something else, and the highest severity among them; empty without any."""

    grid: Grid
    gravest: str


_ALERTS: Final = {
    "alert_id": "alert", "severity": "severity", "status": "status", "disposition": "disposition",
    "title": "title", "last_seen": "last seen",
}  # fmt: skip


def alerts(reader: Reader, where: str, **values: str | list[str]) -> Alerts:
    """Alerts of which a condition holds, newest first. Raises Refused, RetryLater."""
    rows = reader.rows(
        "SELECT alert_id, severity, status, disposition, title, last_seen FROM tacho.alerts"  # noqa: S608 - our own conditions
        f" WHERE {where} ORDER BY last_seen DESC, alert_id LIMIT 20",
        values,
    )
    gravest = max((row["severity"] for row in rows), key=SEVERITIES.index, default="")
    return Alerts(grid(_ALERTS, rows), gravest)
