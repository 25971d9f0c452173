"""Calls open at once: in whatever pieces panes come, the most is what brute force counts at the
same instants, of calls that were over by then.
"""

import itertools
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.behaviour.concurrency import MOST_OPEN, OPEN, OpenCalls, open_at
from tests.detectors.behaviour.test_measured_in_rules import calls, measured

PANE_S = 10
# Agent, the second in which it ends, how many seconds it took.
Call = tuple[int, int, int]
CALLS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 129), st.integers(0, 90)), min_size=1, max_size=40
)


def pane(call: Call) -> tuple[int, int]:
    return call[0], call[1] // PANE_S


def panes_of(made: list[Call]) -> pl.DataFrame:
    """Base panes as the detector closes them."""
    ends, took = (pl.Series([call[at] for call in made], dtype=pl.Int64) for at in (1, 2))
    rows = pl.DataFrame(
        {
            "slot": [call[0] for call in made],
            "window": [call[1] // PANE_S for call in made],
            "busy_ms": took * 1000,
        }
    ).with_columns(open_at((ends * 1_000_000).to_numpy(), (took * 1000).to_numpy()))
    return rows.group_by("window", "slot").sum().sort("window", "slot")


def by_brute_force(made: list[Call]) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for agent, at in {pane(call) for call in made}:
        own = [call for call in made if pane(call) == (agent, at)]
        over = [call for call in made if call[0] == agent and call[1] // PANE_S <= at]
        begin = at * PANE_S
        instants = [begin + more for more in (-50, -40, -30, -20, -10, 0, 2, 4, 6, 8)]
        counts = [
            sum(open_(call, instant) for call in over)
            for instant in instants
            if any(open_(call, instant) for call in own)
        ]
        found[agent, at] = max(counts, default=int(any(call[2] for call in own)))
    return found


def open_(call: Call, instant: int) -> bool:
    _, end, took = call
    # No further back than the instants of its own pane.
    return end - took <= instant < end and instant >= end // PANE_S * PANE_S - 50


@settings(max_examples=60, deadline=None)
@given(made=CALLS, seed=st.integers(0, 2**16))
def test_in_any_pieces_and_over_restarts_it_is_what_brute_force_counts(
    made: list[Call], seed: int
) -> None:
    rng, panes, one = random.Random(seed), panes_of(made), OpenCalls()
    cuts = sorted({0, 13, *(rng.randrange(13) for _ in range(3))})
    parts = []
    for since, until in itertools.pairwise(cuts):
        parts.append(one.follow(panes.filter(pl.col("window").is_between(since, until, "left"))))
        state, one = one.state(), OpenCalls()
        one.restore(state)
    whole = pl.concat(parts)
    assert not set(OPEN) & set(whole.columns)
    found = {(row["slot"], row["window"]): row[MOST_OPEN] for row in whole.iter_rows(named=True)}
    assert found == by_brute_force(made)


def test_who_begins_anew_shares_nothing_with_who_was_there_before() -> None:
    one = OpenCalls()
    one.follow(panes_of([(0, 25, 20), (1, 25, 20)]))
    one.forget([0])
    rows = one.follow(panes_of([(0, 31, 30), (1, 31, 30)])).sort("slot")
    assert rows[MOST_OPEN].to_list() == [1, 2]


@pytest.mark.parametrize(("every_s", "took_ms", "most"), [(2.0, 1500.0, 1), (2.0, 30_000.0, 15)])
def test_calls_one_after_the_other_are_not_open_at_once(
    every_s: float, took_ms: float, most: int
) -> None:
    rows = calls("a", 30, every_s, duration_ms=lambda _: took_ms)
    assert measured(rows)["calls_open"] == most


def test_sessions_that_act_in_one_minute_are_open_at_once() -> None:
    rows = calls("a", 10, 5.0)
    for number, row in enumerate(rows):
        row["session_id"] = f"s{number % 4}"
    assert measured(rows)["sessions_open"] == 4
