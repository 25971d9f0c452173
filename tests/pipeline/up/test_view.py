import io

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console

from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.pipeline.up.board import Board
from tachograph.pipeline.up.numbers import Meter, quantile
from tachograph.pipeline.up.view import Heading, render
from tachograph.schemas import codec
from tachograph.schemas.alert import Alert
from tachograph.schemas.contracts import examples

HEADING = Heading("http://127.0.0.1:4318", "http://127.0.0.1:8123", "127.0.0.1:9092", embedded=True)


def board_with(*alerts: Alert) -> Board:
    kafka, clickhouse = KafkaSettings(bootstrap=""), ClickHouseSettings(url="")
    board = Board(Settings(kafka=kafka, clickhouse=clickhouse))
    for alert in alerts:
        board.take(codec.encode(alert))
    return board


def an_alert(**changes: object) -> Alert:
    payload = next(iter(examples("alert").valid.values()))
    return msgspec.structs.replace(codec.decode(Alert, payload), **changes)


def drawn(board: Board) -> str:
    paper = io.StringIO()
    console = Console(file=paper, width=160, force_terminal=True)
    console.print(render(HEADING, Meter().look(), board, {"detect": "up"}))
    return paper.getvalue()


def test_an_older_revision_that_comes_late_changes_nothing() -> None:
    new, old = an_alert(revision=9, title="new"), an_alert(revision=3, title="old")
    board = board_with(new, old)
    assert [alert.title for alert in board.newest()] == ["new"]
    assert sum(board.by_severity().values()) == 1


def test_a_retracted_alert_is_not_counted() -> None:
    board = board_with(an_alert(revision=1), an_alert(revision=2, status="retracted"))
    assert sum(board.by_severity().values()) == 0


def test_a_retracted_alert_is_not_shown() -> None:
    gone, stands = an_alert(status="retracted"), an_alert(alert_id="f" * 32, title="stands")
    assert [alert.title for alert in board_with(gone, stands).newest()] == ["stands"]


@pytest.mark.parametrize(
    "title",
    ["[red]not markup[/red]", "\x1b[2J\x1b[31mcleared", "two\nlines\r\n", "turned \u202e round"],
)
def test_what_an_agent_wrote_is_shown_as_text_on_one_line(title: str) -> None:
    screen = drawn(board_with(an_alert(title=title)))
    assert "\x1b[2J" not in screen
    assert "\u202e" not in screen
    if title.startswith("["):
        assert "[red]not markup[/red]" in screen


def test_garbage_on_the_topic_does_not_stop_the_board() -> None:
    board = board_with(an_alert())
    board.take(b"\xff\x00 no alert")
    assert len(board.newest()) == 1


def test_a_quantile_is_the_edge_of_the_bucket_that_reaches_it() -> None:
    buckets = {0.1: 50.0, 0.5: 98.0, 1.0: 99.0, float("inf"): 100.0}
    assert quantile(buckets, 0.5) == 0.1
    assert quantile(buckets, 0.99) == 1.0
    assert quantile({}, 0.5) is None


def test_rates_are_the_difference_of_two_looks_over_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from prometheus_client import Counter

    from tachograph.pipeline import metrics

    registry = CollectorRegistry()
    counter = Counter("tacho_actions", "actions", ["stage"], registry=registry)
    monkeypatch.setattr(metrics, "registry", lambda: registry)
    clock = iter((100.0, 102.0))
    meter = Meter(now_s=lambda: next(clock))
    counter.labels("normalize").inc(10)
    meter.look()
    counter.labels("normalize").inc(40)
    assert meter.look().actions_rate == 20.0
