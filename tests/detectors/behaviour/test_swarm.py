"""A swarm is a function of the set of windows that are sent, whatever place each comes from and
however often; it is said of each agent that takes part.
"""

import random
from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tachograph.detectors.across import AcrossDetector
from tachograph.detectors.behaviour.baselines import WARM
from tachograph.detectors.behaviour.rows import TARGETS
from tachograph.detectors.behaviour.shared import SWARM, SWARM_PREFIX, shared_apart
from tachograph.detectors.behaviour.swarm import (
    FINDING,
    LEAST_AGENTS,
    LEAST_TARGETS,
    SWARM_VERSION,
    Swarms,
    shared_targets,
)
from tachograph.detectors.correlation.travel import by_partition
from tachograph.detectors.partition import PartitionDetector
from tachograph.schemas import batch
from tachograph.schemas.alert import Signal
from tests.detectors.made import SECOND_US, frame, rules

START_S = 1_790_000_400
SPAN_S = 600
PANES = 60
RULES = rules(
    "title: none\nlogsource: {category: any}\ndetection: {a: {tool.name: nothing}, condition: a}\n"
).beside_sessions()
# A window of an agent: tenant, agent, window, and the bits of its new targets.
Window = tuple[str, int, int, frozenset[int]]

WINDOWS = st.lists(
    st.tuples(
        st.sampled_from(["t1", "t2"]),
        st.integers(0, 8),
        st.integers(0, 4),
        st.frozensets(st.sampled_from([3, 40, 64, 130, 255]), min_size=2, max_size=5),
    ),
    min_size=12,
    max_size=60,
    unique_by=lambda one: one[:3],
)


def sent(windows: list[Window]) -> pl.DataFrame:
    """Match rows as places send them."""
    made = []
    for tenant, agent, window, bits in windows:
        words = [sum(1 << (bit - 64 * at) for bit in bits if bit // 64 == at) for at in range(4)]
        first_us = window * SPAN_S * SECOND_US + agent
        own = {
            "agent_id": f"a{agent}", "agent_name": "", "first_id": f"{agent:032x}",
            "window": window, "first_us": first_us, "last_us": first_us + 9, "acts": len(bits),
            "new_targets": len(bits), "expected": 64, "synthetic": False, "replay": False,
            **dict(zip(TARGETS, words, strict=True)),
        }  # fmt: skip
        made.append(
            {"tenant": tenant, "partition_key": f"s{agent}", "rule_id": SWARM,
             "rule_version": SWARM_VERSION, **{SWARM_PREFIX + name: v for name, v in own.items()}}
        )  # fmt: skip
    return pl.DataFrame(made, schema_overrides={SWARM_PREFIX + name: pl.UInt64 for name in TARGETS})


def by_brute_force(windows: list[Window]) -> set[tuple[str, str, int]]:
    """Tenant, agent and the first window of each hour in which it was part of a swarm."""
    found: dict[tuple[str, str, int], int] = {}
    for tenant, window in sorted({(one[0], one[2]) for one in windows}):
        met: dict[int, set[int]] = {}
        last: dict[int, int] = {}
        for of, agent, at, bits in windows:
            if of == tenant and at in (window - 1, window):
                met.setdefault(agent, set()).update(bits)
                last[agent] = max(last.get(agent, 0), at)
        for agent in part_of(met):
            hour = last[agent] * SPAN_S // 3600
            found.setdefault((tenant, f"a{agent}", hour), last[agent])
    return {(tenant, agent, window) for (tenant, agent, _), window in found.items()}


def part_of(met: dict[int, set[int]]) -> set[int]:
    part = set(met)
    counts = sorted(Counter(bit for bits in met.values() for bit in bits).values())
    at_large = 2 * sum(([0] * (256 - len(counts)) + counts)[:128])
    while True:
        now = Counter(bit for agent in part for bit in met[agent])
        crowded = {
            bit for bit, many in now.items() if many * 256 >= LEAST_AGENTS * 256 + 3 * at_large
        }
        stays = {agent for agent in part if len(met[agent] & crowded) >= LEAST_TARGETS}
        if len(stays) < LEAST_AGENTS:
            return set()
        if stays == part:
            return part
        part = stays


def told(signals: list[Signal]) -> set[tuple[str, str, int]]:
    found = {
        (one.tenant, one.entity, int(one.witness.window["last_us"]) // SECOND_US // SPAN_S)
        for one in signals
    }
    assert len(found) == len(signals) == len({one.signal_id for one in signals})
    return found


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(windows=WINDOWS, seed=st.integers(0, 2**16))
def test_a_swarm_is_what_brute_force_says_of_all_windows(windows: list[Window], seed: int) -> None:
    rng = random.Random(seed)
    swarms, found = Swarms(10_000), list[Signal]()
    for before in sorted({rng.randrange(6), rng.randrange(6), 6}):
        now = [one for one in windows if before > one[2]]
        again = rng.sample(now, len(now) // 2)
        for part in (rng.sample(now, len(now)), again):
            cut = rng.randrange(len(part) + 1)
            for rows in (part[:cut], part[cut:]):
                if rows:
                    swarms.take(sent(rows))
        found += swarms.close(before * PANES, 1)
        state, swarms = swarms.state(), Swarms(10_000)
        swarms.restore(state)
    assert told(found) == by_brute_force(windows)


def test_agents_that_share_one_target_only_are_no_swarm() -> None:
    bits = np.zeros((40, 256), np.bool_)
    bits[:, 0] = True
    bits[np.arange(40), 10 + np.arange(40)] = True
    assert not shared_targets(bits).any()


def test_what_many_meet_by_chance_is_no_swarm() -> None:
    rng = np.random.default_rng(5)
    for agents in (30, 200, 2000):
        bits = np.zeros((agents, 256), np.bool_)
        for row in bits:
            row[rng.integers(0, 256, 6)] = True
        assert not shared_targets(bits).any()


def test_rows_beyond_the_limit_are_counted() -> None:
    swarms = Swarms(7)
    swarms.take(sent([("t1", agent, 0, frozenset({1, 2})) for agent in range(10)]))
    assert swarms.evicted == 3


def calls(agent: int, start_s: float, targets: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "event_id": f"{agent}-{start_s}-{number}", "partition_key": f"svc{agent % 3}",
            "event_time": START_S + start_s + 20 * number, "agent_id": f"a{agent}",
            "session_id": f"{agent}-{start_s}", "kind": "tool_call", "tool_name": "get",
            "tool_args_hash": f"x{number}", "target_domain": target,
        }
        for number, target in enumerate(targets)
    ]  # fmt: skip


def story(agents: int, prey: int) -> list[dict[str, Any]]:
    """Quiet hours, then each agent asks the same few new targets within two minutes."""
    hours = int(WARM[2]) // 3
    usual = [
        row
        for agent in range(agents)
        for tens in range(6 * hours)
        for row in calls(agent, tens * SPAN_S + agent, ["home", "shop"])
    ]
    end_s = 6 * hours * SPAN_S
    return usual + [
        row
        for agent in range(agents)
        for row in calls(agent, end_s + 560 + agent, [f"prey{n}" for n in range(prey)])
    ]


@pytest.mark.parametrize(("agents", "prey", "part"), [(9, 5, 9), (4, 5, 0), (9, 2, 0)])
def test_each_agent_of_a_swarm_is_named_wherever_its_service_lies(
    agents: int, prey: int, part: int
) -> None:
    rows = story(agents, prey)
    said = []
    for places in (1, 3):
        meeting, found = AcrossDetector(RULES), list[Signal]()
        for at in range(places):
            place = PartitionDetector(RULES)
            own = [row for row in rows if int(row["partition_key"][3:]) % places == at]
            place.process(frame(own), [], 1)
            for flow in place.close(2).matches:
                [part_rows] = by_partition(flow, 1).values()
                meeting.process(batch.decode(batch.encode(part_rows)), 3)
        state, meeting = meeting.dump(), AcrossDetector(RULES)
        meeting.load(state)
        found = meeting.tick((START_S + 90_000) * SECOND_US, 4).signals
        said.append({one.agent_id: one for one in found if one.rule_id == FINDING.rule_id})
    one, many = said
    assert set(one) == set(many) == {f"a{agent}" for agent in range(part)}
    assert [s.reason for _, s in sorted(one.items())] == [s.reason for _, s in sorted(many.items())]
    assert all(int(s.reason.fields["agents"]) == part for s in one.values())


def test_rows_of_a_swarm_travel_beside_those_of_rules() -> None:
    other = pl.DataFrame({"rule_id": ["r"], "tenant": ["t"]})
    both = pl.concat([other, sent([("t1", 1, 0, frozenset({1}))])], how="diagonal")
    left, ours = shared_apart(both)
    assert left.select(other.columns).equals(other)
    assert ours.height == 1
