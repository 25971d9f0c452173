"""Joining is a function of the set of alerts, and agrees with the closure taken by brute force."""

import itertools
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.investigate.joining import (
    FEW_AGENTS,
    GAP_US,
    Alerted,
    Incident,
    Key,
    joined,
)

KINDS = ("content", "target", "principal")


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[Alerted], dict[str, set[Key]], dict[Key, int]]:
    count = draw(st.integers(1, 14))
    alerts = []
    for number in range(count):
        first = draw(st.integers(0, 5)) * (GAP_US // 2)
        agent = f"agent-{draw(st.integers(0, 6))}"
        alerts.append(Alerted(f"a{number:02d}", agent, first, first + draw(st.integers(0, GAP_US))))
    key = st.tuples(st.sampled_from(KINDS), st.sampled_from("xyz"))
    keys = {one.alert_id: draw(st.sets(key, max_size=3)) for one in alerts}
    touched = draw(st.dictionaries(key, st.integers(0, 12)))
    return alerts, keys, touched


def parts(found: Iterable[Incident]) -> set[frozenset[str]]:
    return {frozenset(one.alert_id for one in incident.alerts) for incident in found}


def _order(one: Alerted) -> tuple[int, str]:
    return one.first_us, one.alert_id


def _parted(one: Alerted, some: list[Alerted]) -> bool:
    """A gap lies between it and all that went before."""
    last_us = max(other.last_us for other in some if _order(other) < _order(one))
    return one.first_us - last_us > GAP_US


def by_hand(
    alerts: list[Alerted], keys: dict[str, set[Key]], touched: dict[Key, int]
) -> set[frozenset[str]]:
    """Every pair that may be joined, closed over. A chain of alerts of a value bridges gaps."""
    held: dict[Key, list[Alerted]] = {}
    for one in alerts:
        for key in keys[one.alert_id] | {("agent", one.agent_id)}:
            held.setdefault(key, []).append(one)
    together = {one.alert_id: {one.alert_id} for one in alerts}
    for key, some in held.items():
        agents = len({one.agent_id for one in some})
        all_of = max(agents, touched.get(key, agents))
        if key[0] != "agent" and all_of > FEW_AGENTS and agents / all_of < 0.75:
            continue
        for first, other in itertools.permutations(some, 2):
            # `other` follows on `first` only if no gap parts them.
            after = [one for one in some if _order(first) < _order(one) <= _order(other)]
            if after and not any(_parted(one, some) for one in after):
                merged = together[first.alert_id] | together[other.alert_id]
                for name in merged:
                    together[name] = merged
    return {frozenset(some) for some in together.values()}


@settings(max_examples=80, deadline=None)
@given(fleet=fleets(), seed=st.randoms())
def test_incidents_are_the_closure_of_what_alerts_share_in_whatever_order_they_come(
    fleet: tuple[list[Alerted], dict[str, set[Key]], dict[Key, int]], seed: object
) -> None:
    alerts, keys, touched = fleet
    found = joined(alerts, keys, touched)
    assert parts(found) == by_hand(alerts, keys, touched)
    shuffled = list(alerts)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    assert joined([*shuffled, *alerts], keys, touched) == found


@settings(max_examples=40, deadline=None)
@given(fleet=fleets(), most=st.integers(1, 5))
def test_no_incident_outgrows_the_limit_and_a_join_that_would_is_told(
    fleet: tuple[list[Alerted], dict[str, set[Key]], dict[Key, int]], most: int
) -> None:
    alerts, keys, touched = fleet
    found = joined(alerts, keys, touched, most=most)
    assert max(len(one.alerts) for one in found) <= most
    if parts(found) != parts(joined(alerts, keys, touched)):
        assert any("too large" in join.refused for one in found for join in one.joins)


def swarm(count: int) -> tuple[list[Alerted], dict[str, set[Key]]]:
    alerts = [Alerted(f"a{n:03d}", f"agent-{n}", n, n) for n in range(count)]
    return alerts, {one.alert_id: {("content", "h1"), ("target", "api")} for one in alerts}


def test_a_swarm_of_a_hundred_agents_with_one_text_is_one_incident_with_the_reason() -> None:
    alerts, keys = swarm(100)
    [incident] = joined(alerts, keys, {("content", "h1"): 110, ("target", "api"): 9_000})
    assert incident.incident_id == "a000"
    assert len(incident.agents) == 100
    told = {join.kind: (join.alerts, join.touched_by, join.refused) for join in incident.joins}
    assert told == {"content": (100, 110, ""), "target": (100, 9_000, "too usual")}


def test_what_everybody_touches_joins_nobody() -> None:
    alerts, keys = swarm(10)
    usual = {("content", "h1"): 500, ("target", "api"): 500}
    assert len(joined(alerts, keys, usual)) == 10
