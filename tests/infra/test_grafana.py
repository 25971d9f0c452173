"""Every panel of every dashboard gets an answer from the engine."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from infra.grafana.dashboards import DASHBOARDS, HERE, made
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import ClickHouseSettings
from tests.pipeline.world import world, world_server, world_writer

__all__ = ["world", "world_server", "world_writer"]

PANELS = [(name, panel) for name, one in DASHBOARDS.items() for panel in one.panels]


@pytest.fixture(scope="module")
def reader(world: ClickHouseSettings) -> Iterator[Reader]:
    with Reader(world) as reader:
        yield reader


def as_the_plugin_sends_it(sql: str) -> str:
    """The macros that the data source replaces, for all of time."""
    sql = re.sub(
        r"\$__timeFilter\((\w+)\)",
        r"\1 >= toDateTime('2000-01-01') AND \1 <= toDateTime('2100-01-01')",
        sql,
    )
    return re.sub(r"\$__timeInterval\((\w+)\)", r"toStartOfInterval(\1, INTERVAL 60 second)", sql)


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=lambda one: getattr(one, "title", one))
def test_the_question_of_a_panel_is_answered(reader: Reader, name: str, panel: Any) -> None:
    rows = list(reader.rows(as_the_plugin_sends_it(panel.sql), {}))
    if panel.kind == "timeseries":
        assert all("time" in row for row in rows)


def test_something_is_shown_of_agents_and_alerts(reader: Reader) -> None:
    shown = {
        panel.title: list(reader.rows(as_the_plugin_sends_it(panel.sql), {}))
        for name, panel in PANELS
        if name in ("alerts", "agents")
    }
    assert all(shown.values()), [title for title, rows in shown.items() if not rows]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_files_are_what_the_module_makes(name: str) -> None:
    assert msgspec.json.decode((HERE / f"{name}.json").read_bytes()) == made(DASHBOARDS[name])


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_lie_beside_each_other_and_never_over(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in made(DASHBOARDS[name])["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
