"""A repeated record changes nothing, also when one report of an event came late and another in
time, and whichever is read first.
"""

import itertools
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from tachograph.detectors.dedup import Seen
from tachograph.detectors.language.ruleset import BUILTIN, RuleSet, load
from tachograph.detectors.partition import PartitionDetector

START = datetime(2026, 11, 23, 9, 54, 5, tzinfo=UTC)
ID = "{:032x}"


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load([BUILTIN / "agent_operation" / "bulk_delete.yml"], builtin=False)


def _deletes(numbers: list[int], *, late: bool = False) -> pl.DataFrame:
    times = [START + timedelta(seconds=number) for number in numbers]
    seen = [time + timedelta(seconds=180 if late else 1) for time in times]
    rows = len(numbers)
    return pl.DataFrame(
        {
            "event_id": [ID.format(number + 1) for number in numbers],
            "tenant": ["default"] * rows,
            "kind": ["tool_call"] * rows,
            "tool_name": ["delete_file"] * rows,
            "tool_risk": ["destructive"] * rows,
            "agent_id": ["a"] * rows,
            "session_id": ["s"] * rows,
            "event_time": times,
            "observed_time": seen,
            "late": [late] * rows,
        },
        schema_overrides={
            "event_time": pl.Datetime("us", "UTC"),
            "observed_time": pl.Datetime("us", "UTC"),
        },
    )


def _standing(rules: RuleSet, frames: tuple[pl.DataFrame, ...]) -> list[tuple[object, ...]]:
    detector = PartitionDetector(rules)
    newest = {}
    for revision, frame in enumerate(frames):
        for signal in detector.process(frame, [], revision).signals:
            newest[signal.signal_id] = signal
    return sorted(
        (s.signal_id, s.event_time, tuple(s.event_ids), s.event_count, tuple(s.blind_spots))
        for s in newest.values()
        if s.change != "retracted"
    )


def test_an_event_reported_late_and_in_time_counts_in_whatever_order_its_reports_come(
    rules: RuleSet,
) -> None:
    expected = _standing(rules, (_deletes([0, 1, 2, 3, 4]),))
    assert len(expected) == 1
    parts = (_deletes([0, 1, 2]), _deletes([3, 4]), _deletes([1, 3], late=True))
    for order in itertools.permutations(parts):
        assert _standing(rules, order) == expected
        assert _standing(rules, (pl.concat(order),)) == expected


def test_an_event_reported_only_late_counts_in_no_window(rules: RuleSet) -> None:
    assert _standing(rules, (_deletes([0, 1, 2, 3]), _deletes([4], late=True))) == []


def test_reports_after_one_in_time_and_second_late_ones_are_repeats() -> None:
    seen = Seen()
    late, timely = _deletes([7], late=True), _deletes([7])
    assert seen.fresh(late).equals(late)
    again = Seen().load(seen.dump())
    assert again.fresh(late).is_empty()
    assert again.fresh(pl.concat([late, timely, timely])).equals(timely)
    assert again.fresh(late).is_empty()
    assert again.fresh(timely).is_empty()
