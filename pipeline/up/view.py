"""What a person sees while `tacho up` runs: a live view on a terminal, log lines elsewhere.

Everything an agent wrote is put in as plain text (never as markup) and without control characters.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Self

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tachograph.pipeline.log import get
from tachograph.pipeline.metrics import LATENCY_BUCKETS_S
from tachograph.pipeline.plain_text import STYLE, safe
from tachograph.pipeline.up.board import Board
from tachograph.pipeline.up.numbers import Numbers
from tachograph.schemas.alert import Alert

log = get("up")

PLAIN_EVERY_S = 5.0


class Heading(msgspec.Struct, frozen=True):
    """What does not change while it runs."""

    door: str
    clickhouse: str
    broker: str
    embedded: bool


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value == float("inf"):
        return f"> {LATENCY_BUCKETS_S[-1]:g} s"
    return f"≤ {value * 1000:.0f} ms" if value < 1 else f"≤ {value:g} s"


def _stages(numbers: Numbers, running: Mapping[str, str]) -> Table:
    table = Table(expand=True, box=None, pad_edge=False)
    for name, justify in (("stage", "left"), ("state", "left"), ("read", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("per s", justify="right")
    table.add_column("lag", justify="right")
    for stage, row in numbers.stages.items():
        state = running.get(stage, "off")
        style = {"up": "green", "down": "red"}.get(state, "yellow")
        lag = "–" if row.lag is None else f"{row.lag:,.0f}"
        table.add_row(stage, Text(state, style), f"{row.read:,.0f}", f"{row.rate:,.0f}", lag)
    return table


def _totals(numbers: Numbers, board: Board) -> Group:
    counts = Text("  ").join(
        Text(f" {severity} {count} ", STYLE[severity])
        for severity, count in board.by_severity().items()
    )
    facts = (
        f"actions {numbers.actions:,.0f} ({numbers.actions_rate:,.0f}/s)   "
        f"signals {numbers.signals:,.0f}   rows stored {numbers.stored:,.0f}\n"
        f"late {numbers.late:,.0f}   dropped {numbers.dropped:,.0f}   "
        f"dead letters {numbers.dead_letters:,.0f}\n"
        f"action to alert: p50 {_seconds(numbers.latency_p50_s)},"
        f" p99 {_seconds(numbers.latency_p99_s)}"
    )
    return Group(counts, Text(), Text(facts))


def _alerts(alerts: Sequence[Alert]) -> Table:
    table = Table(expand=True, box=None, pad_edge=False)
    table.add_column("last seen", no_wrap=True)
    table.add_column("severity", no_wrap=True)
    table.add_column("risk", justify="right")
    table.add_column("agent", no_wrap=True)
    table.add_column("what happened", ratio=1, no_wrap=True)
    for alert in alerts:
        mark = " (synthetic)" if alert.synthetic else ""
        table.add_row(
            f"{alert.last_seen:%H:%M:%S}",
            Text(alert.severity, STYLE[alert.severity]),
            f"{alert.risk / 1000:.1f}",
            safe(alert.agent_name or alert.entity, 28),
            safe(_what(alert) + mark, 110),
        )
    return table


def _what(alert: Alert) -> str:
    """The title without the agent, which has a column of its own."""
    return alert.title.removeprefix(f"{alert.agent_name or alert.entity}: ")


def render(heading: Heading, numbers: Numbers, board: Board, running: Mapping[str, str]) -> Group:
    """The whole screen."""
    where = Text(
        f"door {heading.door}   ClickHouse {heading.clickhouse}   broker {heading.broker}", "dim"
    )
    top = Table.grid(expand=True)
    top.add_column(ratio=1)
    top.add_column(ratio=1)
    top.add_row(
        Panel(_stages(numbers, running), title="stages"),
        Panel(_totals(numbers, board), title="alerts by severity"),
    )
    return Group(
        Text("Tachograph", "bold"),
        where,
        top,
        Panel(_alerts(board.newest()), title="newest alerts"),
        Text(f"Ctrl-C stops cleanly.   The console: {heading.door}/console", "dim"),
    )


class LiveView:
    """Redraws the terminal; use as a context manager."""

    def __init__(self, heading: Heading, board: Board) -> None:
        self._heading, self._board = heading, board
        self._live = Live(console=Console(), auto_refresh=False, screen=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, numbers: Numbers, running: Mapping[str, str]) -> None:
        """Draw the newest numbers."""
        screen = render(self._heading, numbers, self._board, running)
        self._live.update(screen, refresh=True)


class PlainView:
    """A line for every new alert and one of numbers every few seconds."""

    def __init__(self, heading: Heading, board: Board) -> None:
        self._heading, self._board = heading, board
        self._last_s = 0.0

    def __enter__(self) -> Self:
        log.info("up", **msgspec.structs.asdict(self._heading))
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, numbers: Numbers, running: Mapping[str, str]) -> None:
        """Tell what is new."""
        for alert in self._board.take_fresh():
            log.info(
                "alert",
                severity=alert.severity,
                agent=alert.agent_id or alert.entity,
                title=alert.title,
                alert_id=alert.alert_id,
            )
        if time.monotonic() - self._last_s >= PLAIN_EVERY_S:
            self._last_s = time.monotonic()
            log.info(
                "numbers",
                actions=int(numbers.actions),
                per_s=int(numbers.actions_rate),
                signals=int(numbers.signals),
                stored=int(numbers.stored),
                alerts=self._board.by_severity(),
                dead_letters=int(numbers.dead_letters),
                down=[stage for stage, state in running.items() if state == "down"],
            )


def choose(heading: Heading, board: Board, *, plain: bool) -> LiveView | PlainView:
    """The live view where a person watches, log lines otherwise."""
    if plain or not sys.stdout.isatty():
        return PlainView(heading, board)
    return LiveView(heading, board)
