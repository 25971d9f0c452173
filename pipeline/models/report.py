"""`tacho models report`: what models said, and what one in the shadow would have said."""

from datetime import datetime
from typing import Any, TextIO

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tachograph.detectors.behaviour.unlike import UNLIKE
from tachograph.pipeline.backtest.actions import time_sql
from tachograph.pipeline.plain_text import safe
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.columns import quoted

EXAMPLES = 20
_VIEWS = {"live": "tacho.signals", "shadow": "tacho.shadow_signals"}


class Row(msgspec.Struct, frozen=True):
    """A model's signals. `agent_days`: days on which agents did something, of all there were."""

    way: str
    model: str
    signals: int
    agents: int
    first: datetime
    last: datetime
    agent_days: int

    @property
    def per_agent_day(self) -> float:
        """Signals, of which an agent has one an hour at the most."""
        return round(self.signals / self.agent_days, 4) if self.agent_days else 0.0


class Example(msgspec.Struct, frozen=True):
    """One signal."""

    way: str
    model: str
    event_time: datetime
    agent: str
    severity: str
    reason: str
    signal_id: str


class Report(msgspec.Struct, frozen=True):
    """What was said since a time, and the newest of it."""

    since: datetime
    models: list[Row]
    examples: list[Example]


def report(connection: Connection, since: datetime, until: datetime) -> Report:
    """Raises RetryLater, Refused."""
    held = f"event_time >= {time_sql(since)} AND event_time < {time_sql(until)}"
    days = connection.rows(
        f"SELECT uniqExact((tenant, partition_key, agent_id, toDate(event_time)))"  # noqa: S608
        f" FROM tacho.actions WHERE {held} AND agent_id != ''"
    )[0][0]
    said = f"rule_id = {quoted(UNLIKE.rule_id)} AND {held}"
    rows = [
        Row(way, model, count, agents, first, last, days)
        for way, view in _VIEWS.items()
        for model, count, agents, first, last in connection.rows(
            f"SELECT rule_version, count(), uniqExact((tenant, entity)), min(event_time),"  # noqa: S608
            f" max(event_time) FROM {view} WHERE {said} GROUP BY rule_version ORDER BY 4"
        )
    ]
    examples = [
        Example(way, *found)
        for way, view in _VIEWS.items()
        for found in connection.rows(
            f"SELECT rule_version, event_time, entity, severity, reason.text, signal_id FROM {view}"  # noqa: S608
            f" WHERE {said} ORDER BY event_time DESC, signal_id LIMIT {EXAMPLES}"
        )
    ]
    return Report(since, rows, examples)


def run_report(
    settings: Settings, since: datetime, until: datetime, *, as_json: bool, sink: TextIO
) -> None:
    """Ask ClickHouse and show. Raises TachoError."""
    with Connection(settings.clickhouse, reads_only=True) as connection:
        found = report(connection, since, until)
    if as_json:
        sink.write(msgspec.json.encode(found).decode() + "\n")
        return
    console = Console(file=sink)
    if not found.models:
        console.print(f"No model has said anything since {since:%Y-%m-%d %H:%M} UTC.")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("model", "is", "signals", "agents", "per agent and day", "first", "last"):
        table.add_column(name, justify="right" if name in ("signals", "agents") else "left")
    for row in found.models:
        table.add_row(*_cells(row))
    console.print(table)
    for example in found.examples:
        words = [f"{example.event_time:%Y-%m-%d %H:%M:%S}", example.way, example.agent]
        line = "  ".join([*words, example.severity, example.reason])
        console.print(safe(line, 400).plain, markup=False, highlight=False)


def _cells(row: Row) -> list[Any]:
    return [
        row.model,
        row.way,
        f"{row.signals:,}",
        f"{row.agents:,}",
        f"{row.per_agent_day:g} of {row.agent_days:,}",
        f"{row.first:%Y-%m-%d %H:%M}",
        f"{row.last:%Y-%m-%d %H:%M}",
    ]
