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
    ("own", "in_ci"), [(400, 133), (60, 20), (30, 15), (15, 10), (6, 6), (None, None)]
)
def test_ci_asks_a_third_or_half_of_what_a_test_asks_by_its_own_number(
    own: int | None, in_ci: int | None
) -> None:
    usual = settings.get_profile("ci").max_examples

    @settings(max_examples=own or usual)
    @given(st.none())
    def asks(nothing: None) -> None: ...

    item = cast("pytest.Item", SimpleNamespace(function=asks))
    alone._ask_fewer([item, item])
    asked: Any = getattr(asks, alone._ASKED)
    assert asked.max_examples == (in_ci or usual)
