"""A plugin of pytest: a test sees nothing of those that ran before it in its process.

Which tests share a process is an accident of a run with several: whoever sees the others fails one
day, and passes when it is tried again.
"""

import os
import sys
from typing import Any

import pytest
from hypothesis import is_hypothesis_test, settings
from hypothesis.internal.conjecture import providers

# Set to "all", every test asks as often as it says, in CI as elsewhere. Else a third: it says as
# much, tried on code that was broken on purpose, and each run asks something else. Where a test
# asks little, it asks half, and never fewer than these.
EXAMPLES = "TACHO_TEST_EXAMPLES"
# How often the oracles of correlations ask, where somebody says so (detectors/correlation/play.py).
OF_ORACLES = "TACHO_EXAMPLES"
USUAL_EXAMPLES = 100
LITTLE_EXAMPLES = 20
FEWEST_EXAMPLES = 10
_ASKED = "_hypothesis_internal_use_settings"


def in_ci() -> bool:
    """Whether every run is to ask the same."""
    return settings.get_current_profile_name() == "ci"


def asks_all() -> bool:
    """Whether tests ask as often as they say."""
    return os.environ.get(EXAMPLES) == "all" or OF_ORACLES in os.environ


def usual_examples() -> int:
    """How often a test asks that says no number of its own."""
    return USUAL_EXAMPLES if asks_all() else USUAL_EXAMPLES // 3


@pytest.fixture(autouse=True)
def _fresh_metrics() -> None:
    """Metrics are one list a process: each test begins with nothing counted."""
    found: Any = sys.modules.get("tachograph.pipeline.metrics")
    if found is not None:
        for metric in vars(found).values():
            if isinstance(metric, found.Counter | found.Gauge | found.Histogram):
                _forget(metric)


def _forget(metric: Any) -> None:
    if metric._labelnames:
        metric.clear()
    else:
        metric._metric_init()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests ask fewer questions than they say; in CI the same in every run."""
    if not asks_all():
        _ask_fewer(session.items)
    if in_ci():
        _same_constants()


def _ask_fewer(items: list[pytest.Item]) -> None:
    """What the profile says holds for tests without a number of their own."""
    usual = settings().max_examples
    for test in {getattr(item, "function", None) for item in items}:
        asked = getattr(test, _ASKED, None) if is_hypothesis_test(test) else None
        if asked is not None and asked.max_examples != usual:
            setattr(test, _ASKED, settings(asked, max_examples=fewer(asked.max_examples)))


def fewer(own: int) -> int:
    """Of as many as a test says."""
    return max(own // 3, min(own // 2, LITTLE_EXAMPLES), min(own, FEWEST_EXAMPLES))


def _same_constants() -> None:
    """It asks for constants that stand in our modules, in those that are imported by then: what a
    test before imported, inside a function, would change the questions.
    """
    known = providers._get_local_constants()
    providers._get_local_constants = lambda: known
