"""The course of acts is a function of the set: in whatever pieces panes come, what is added up is
what brute force says of the whole.
"""

import itertools
import random
from collections import Counter, defaultdict

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.behaviour.course import MOST_GAP, Course
from tachograph.detectors.behaviour.rows import CLASSES, COURSE, GAP_BINS, ROLL, SLOTS

# Agent, pane, slot in it, class of tool.
Act = tuple[int, int, int, int]
ACTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(0, SLOTS - 1), st.integers(0, 2)),
    min_size=1,
    max_size=80,
)


def level(amount: int) -> int:
    exponent = (amount + 1).bit_length() - 1
    below: int = 2**exponent
    return exponent * 256 + (amount + 1 - below) * 256 // below


def brute_force(acts: list[Act]) -> dict[tuple[int, int], dict[str, int]]:
    """COURSE of each agent's pane."""
    found: dict[tuple[int, int], dict[str, int]] = {}
    by_agent: dict[int, list[Act]] = defaultdict(list)
    for act in acts:
        by_agent[act[0]].append(act)
    for agent, own in by_agent.items():
        known: Counter[tuple[int, int]] = Counter()
        past: list[tuple[int, int]] = []
        gap_before = -1
        for pane in sorted({act[1] for act in own}):
            here = [act for act in own if act[1] == pane]
            different = sorted({(pane * SLOTS + slot, tool) for _, _, slot, tool in here})
            sums: dict[str, int] = defaultdict(int, gaps0=len(here) - len(different))
            taught: set[tuple[int, int]] = set()
            for time, tool in different:
                gap = time - past[-1][0] if past else MOST_GAP + 1
                near = gap <= MOST_GAP
                if near:
                    sums[f"gaps{min(gap.bit_length(), GAP_BINS - 1)}"] += 1
                    sums["gap_sum"] += gap
                    sums["gap_squares"] += gap * gap
                    sums["moves"] += 1
                    move = past[-1][1], tool
                    of_first = sum(n for (first, _), n in known.items() if first == move[0])
                    sums["surprise"] += level(of_first + CLASSES - 1) - level(known[move])
                    taught.add(move)
                    if gap_before >= 0:
                        sums["gap_products"] += gap * gap_before
                        sums["gap_pairs"] += 1
                    if len(past) > 1:
                        sums["triples"] += 1
                        sums["alternating"] += past[-2][1] == tool != past[-1][1]
                gap_before = gap if near else -1
                past.append((time, tool))
            known.update(taught)
            found[agent, pane] = {name: sums[name] for name in COURSE}
    return found


def panes_of(acts: list[Act]) -> pl.DataFrame:
    """Base panes as the detector closes them."""
    rows: dict[tuple[int, int], dict[str, int]] = {}
    for agent, pane, slot, tool in acts:
        empty = {"window": pane, "slot": agent, "acts": 0, **dict.fromkeys(ROLL, 0)}
        row = rows.setdefault((pane, agent), empty)
        row["acts"] += 1
        row[ROLL[tool]] |= 1 << slot
    kinds = dict.fromkeys(("window", "slot", "acts"), pl.Int64) | dict.fromkeys(ROLL, pl.UInt64)
    return pl.DataFrame([rows[key] for key in sorted(rows)], schema=kinds)


@settings(max_examples=60, deadline=None)
@given(acts=ACTS, seed=st.integers(0, 2**16))
def test_panes_in_any_pieces_and_over_restarts_add_up_to_what_brute_force_says(
    acts: list[Act], seed: int
) -> None:
    rng, panes, one = random.Random(seed), panes_of(acts), Course()
    one.grow(3)
    cuts = sorted({0, 13, *(rng.randrange(13) for _ in range(3))})
    parts = []
    for since, until in itertools.pairwise(cuts):
        parts.append(one.follow(panes.filter(pl.col("window").is_between(since, until, "left"))))
        state, one = one.state(3), Course()
        one.restore(state)
    found = {
        (row["slot"], row["window"]): {name: row[name] for name in COURSE}
        for row in pl.concat(parts).iter_rows(named=True)
    }
    assert found == brute_force(acts)


def test_a_tool_that_always_comes_next_surprises_nobody_and_another_does() -> None:
    one = Course()
    one.grow(1)

    def bits(pane: int, first: int) -> float:
        """Of a pane in which a tool and the next take turns."""
        acts = [(0, pane, slot, first + slot // 8 % 2) for slot in range(0, 64, 8)]
        rows = one.follow(panes_of(acts))
        return int(rows["surprise"].sum()) / int(rows["moves"].sum()) / 256

    usual = [bits(pane, 0) for pane in range(40)]
    assert usual[-1] < 0.5
    assert bits(50, 3) > 2
