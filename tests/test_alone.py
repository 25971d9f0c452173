"""The run itself: no test sees what ran before it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from tachograph.pipeline import metrics
from tests import alone


@pytest.mark.parametrize("time", ["the first", "the second"])
def test_whoever_counts_counts_from_nothing(time: str) -> None:
    metrics.EVICTED.labels("alone", "any").inc()
    metrics.TREE_HEADS.inc()
    metrics.WATCHERS.inc()
    metrics.OPINION_SECONDS.observe(1)
    counted = ("tacho_tree_heads_total", "tacho_feed_watchers", "tacho_opinion_seconds_count")
    assert [REGISTRY.get_sample_value(name) for name in counted] == [1, 1, 1]
    evicted = {"stage": "alone", "kind": "any"}
    assert REGISTRY.get_sample_value("tacho_evicted_total", evicted) == 1


@pytest.mark.parametrize(
    ("own", "here"), [(400, 133), (60, 20), (30, 15), (15, 10), (6, 6), (None, None)]
)
def test_a_run_asks_a_third_or_half_of_what_a_test_asks_by_its_own_number(
    own: int | None, here: int | None
) -> None:
    usual = settings().max_examples

    @settings(max_examples=own or usual)
    @given(st.none())
    def asks(nothing: None) -> None: ...

    item = cast("pytest.Item", SimpleNamespace(function=asks))
    alone._ask_fewer([item, item])
    asked: Any = getattr(asks, alone._ASKED)
    assert asked.max_examples == (here or usual)


@pytest.mark.parametrize(
    ("said", "asked"),
    [({}, 133), ({alone.EXAMPLES: "all"}, 400), ({alone.OF_ORACLES: "2000"}, 400)],
)
def test_all_is_asked_where_it_is_wanted(
    said: dict[str, str], asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @settings(max_examples=400)
    @given(st.none())
    def asks(nothing: None) -> None: ...

    for name in (alone.EXAMPLES, alone.OF_ORACLES):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    item = SimpleNamespace(function=asks)
    alone.pytest_collection_finish(cast("pytest.Session", SimpleNamespace(items=[item])))
    found: Any = getattr(asks, alone._ASKED)
    assert found.max_examples == asked
    assert alone.usual_examples() == (100 if said else 33)
