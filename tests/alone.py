"""A plugin of pytest: a test sees nothing of those that ran before it in its process.

Which tests share a process is an accident of a run with several: whoever sees the others fails one
day, and passes when it is tried again.
"""

import sys
from typing import Any

import pytest
from hypothesis import is_hypothesis_test, settings
from hypothesis.internal.conjecture import providers

# Of what a test asks by its own number, CI asks a third, as of all others; where that is little, it
# asks half, and never fewer than these.
LITTLE_EXAMPLES = 20
FEWEST_EXAMPLES = 10
_ASKED = "_hypothesis_internal_use_settings"


def in_ci() -> bool:
    """Whether every run is to ask the same."""
    return settings.get_current_profile_name() == "ci"


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
    """In CI Hypothesis asks the same in every run."""
    if in_ci():
        _ask_fewer(session.items)
        _same_constants()


def _ask_fewer(items: list[pytest.Item]) -> None:
    """What the profile says holds for tests without a number of their own."""
    usual = settings.get_profile("ci").max_examples
    for test in {getattr(item, "function", None) for item in items}:
        asked = getattr(test, _ASKED, None) if is_hypothesis_test(test) else None
        if asked is not None and asked.max_examples != usual:
            own = asked.max_examples
            half = min(own // 2, LITTLE_EXAMPLES)
            fewer = max(own // 3, half, min(own, FEWEST_EXAMPLES))
            setattr(test, _ASKED, settings(asked, max_examples=fewer))


def _same_constants() -> None:
    """It asks for constants that stand in our modules, in those that are imported by then: what a
    test before imported, inside a function, would change the questions.
    """
    known = providers._get_local_constants()
    providers._get_local_constants = lambda: known
