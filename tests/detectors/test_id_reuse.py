"""A producer's id names one action: another one under it is an action of its own, and noticed."""

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.dedup import Seen
from tachograph.detectors.language.ruleset import load
from tachograph.detectors.partition import PartitionDetector

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
TIME = pl.Datetime("us", "UTC")
# The producer's id, what it names, whether it comes late.
EVENT = st.tuples(st.integers(0, 6), st.integers(0, 3), st.sampled_from([False, False, True]))


def event_id(named: int, rest: int) -> str:
    """An id as `normalize` makes it: the producer's id in its first half."""
    return f"{named + 1:016x}{rest:016x}"


def frame(events: list[tuple[int, int, bool]], observed: datetime = START) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "event_id": [event_id(named, rest) for named, rest, _ in events],
            "late": [late for *_, late in events],
            "observed_time": [observed] * len(events),
            "row": list(range(len(events))),
        },
        schema_overrides={"observed_time": TIME, "late": pl.Boolean, "event_id": pl.String},
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(EVENT, max_size=8), max_size=8))
def test_another_action_under_a_used_id_is_kept_and_marked(
    batches: list[list[tuple[int, int, bool]]],
) -> None:
    seen = Seen(limit=1_000)
    timely: list[tuple[int, int]] = []
    late_ones: list[tuple[int, int]] = []
    for batch in batches:
        found = seen.fresh(frame(batch))
        marks = found["id_reuse"].to_list() if "id_reuse" in found.columns else [None] * len(found)
        rows = dict(zip(found["row"].to_list(), marks, strict=True))
        # In time first: what is late in a batch is looked at after the rest of it.
        order = sorted(range(len(batch)), key=lambda at: batch[at][2])
        for at in order:
            named, rest, late = batch[at]
            known = (named, rest) in timely or (late and (named, rest) in late_ones)
            others = {other for n, other in timely + (late_ones if late else []) if n == named}
            assert (at in rows) is not known
            if at in rows:
                assert rows[at] is (True if others - {rest} else None)
            (late_ones if late else timely).append((named, rest))
        seen = Seen(limit=1_000).load(seen.dump())


def test_one_id_used_for_many_actions_costs_no_more_than_many_ids() -> None:
    seen = Seen(limit=20_000)
    events = [(0, rest, False) for rest in range(10_000)]
    assert seen.fresh(frame(events)).height == 10_000
    assert seen.fresh(frame(events)).is_empty()
    assert seen.evicted == 0


def test_a_used_id_is_forgotten_after_the_horizon() -> None:
    seen = Seen(horizon_s=10)
    seen.fresh(frame([(0, 0, False)]))
    seen.reached(int((START + timedelta(seconds=55)).timestamp() * 1_000_000))
    found = seen.fresh(frame([(0, 1, False)], START + timedelta(seconds=60)))
    assert "id_reuse" not in found.columns


def test_the_shipped_rule_tells_of_it() -> None:
    detector = PartitionDetector(load([], builtin=True))
    rows = pl.DataFrame(
        {
            "event_id": [event_id(7, 1), event_id(7, 2), event_id(8, 1)],
            "tenant": ["acme"] * 3,
            "partition_key": ["shop"] * 3,
            "agent_id": ["shop"] * 3,
            "kind": ["tool_call"] * 3,
            "tool_name": ["get_order"] * 3,
            "event_time": [START] * 3,
            "observed_time": [START] * 3,
        },
        schema_overrides={"event_time": TIME, "observed_time": TIME},
    )
    signals = detector.process(rows, [], 0).signals
    assert [(s.title, s.event_ids) for s in signals] == [
        ("A used id names a second, different action", [event_id(7, 2)])
    ]
