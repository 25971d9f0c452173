"""Joining is a function of the set of alerts, and agrees with the closure taken by brute force."""

import itertools
from collections.abc import Iterable
from datetime import timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.triage.joining import (
    GAP_US,
    TOO_LARGE,
    TOO_LONG,
    TOO_USUAL,
    USUAL_HOURS,
    Joined,
    Key,
    joined,
    keys_of,
)
from tachograph.schemas.records import IncidentMember
from tests.pipeline.triage.members import member

HOUR_US = 3_600_000_000


@st.composite
def fleets(draw: st.DrawFn) -> list[IncidentMember]:
    found = []
    for number in range(draw(st.integers(1, 14))):
        first = draw(st.integers(0, 9)) * (GAP_US // 2)
        found.append(
            member(
                f"a{number:02d}",
                agent=f"agent-{draw(st.integers(0, 6))}",
                first_us=first,
                last_us=first + draw(st.integers(0, GAP_US)),
                rules=draw(st.sets(st.sampled_from(("r", "s")), min_size=1)),
                shared=draw(
                    st.sets(
                        st.tuples(
                            st.sampled_from(("content", "target", "principal")),
                            st.sampled_from("xyz"),
                        ),
                        max_size=3,
                    )
                ),
            )
        )
    return found


def parts(found: Iterable[Joined]) -> set[frozenset[str]]:
    return {frozenset(one.alert_id for one in incident.members) for incident in found}


def _order(one: IncidentMember) -> tuple[int, str]:
    return to_us(one.first_seen), one.alert_id


def by_hand(members: list[IncidentMember]) -> set[frozenset[str]]:
    """Every pair that may be joined, closed over. A chain of alerts of a value bridges gaps."""
    held: dict[Key, list[IncidentMember]] = {}
    for one in members:
        for key in keys_of(one):
            held.setdefault(key, []).append(one)
    together = {one.alert_id: {one.alert_id} for one in members}
    for key, some in held.items():
        for first, other in itertools.permutations(some, 2):
            after = [one for one in some if _order(first) < _order(one) <= _order(other)]
            if after and not any(_parted(key, one, some) for one in after):
                merged = together[first.alert_id] | together[other.alert_id]
                for name in merged:
                    together[name] = merged
    return {frozenset(some) for some in together.values()}


def _parted(key: Key, one: IncidentMember, some: list[IncidentMember]) -> bool:
    """A gap lies between it and all that went before, or the value was usual by then."""
    before = [other for other in some if _order(other) < _order(one)]
    hours = {to_us(other.first_seen) // HOUR_US for other in before}
    usual = key[0] not in ("agent", "value") and len(hours) > USUAL_HOURS
    last_us = max(to_us(other.last_seen) for other in before)
    return usual or to_us(one.first_seen) - last_us > GAP_US


@settings(max_examples=80, deadline=None)
@given(fleet=fleets(), chance=st.randoms())
def test_incidents_are_the_closure_of_what_alerts_share_in_whatever_order_they_come(
    fleet: list[IncidentMember], chance: Random
) -> None:
    found = joined(fleet)
    assert parts(found) == by_hand(fleet)
    shuffled = list(fleet)
    chance.shuffle(shuffled)
    assert joined([*shuffled, *fleet]) == found


@settings(max_examples=40, deadline=None)
@given(fleet=fleets(), most=st.integers(1, 5), hours=st.integers(1, 6))
def test_no_incident_outgrows_a_limit_and_a_join_that_would_is_told(
    fleet: list[IncidentMember], most: int, hours: int
) -> None:
    found = joined(fleet, most=most, span_us=hours * HOUR_US)
    for one in found:
        assert len(one.members) <= most
        first = min(member.first_seen for member in one.members)
        last = max(member.last_seen for member in one.members)
        assert len(one.members) == 1 or last - first <= timedelta(hours=hours)
    if parts(found) != parts(joined(fleet)):
        refused = {join.refused for one in found for join in one.joins}
        assert refused & {TOO_LARGE, TOO_LONG}


def test_a_swarm_of_a_hundred_agents_with_one_text_is_one_incident_with_the_reason() -> None:
    swarm = [
        member(f"a{n:03d}", agent=f"agent-{n}", first_us=n, shared={("content", "h1")})
        for n in range(100)
    ]
    [incident] = joined(swarm)
    assert incident.incident_id == "a000"
    [join] = incident.joins
    assert (join.kind, join.alerts, join.agents, join.refused) == ("content", 100, 100, "")
    assert incident.reasons["a042"] == ["content h1"]


def test_a_common_target_joins_only_alerts_of_one_rule() -> None:
    shared = {("target", "api.example")}
    one = member("a", agent="x", shared=shared, rules={"exfil"})
    same = member("b", agent="y", shared=shared, rules={"exfil", "loop"})
    other = member("c", agent="z", shared=shared, rules={"injection"})
    assert parts(joined([one, same, other])) == {frozenset("ab"), frozenset("c")}
    assert joined([one, same])[0].reasons["a"] == ["target api.example (exfil)"]


def test_a_value_on_which_alerts_rest_all_day_is_usual_and_joins_no_more() -> None:
    every_hour = [
        member(f"a{n:02d}", agent=f"agent-{n}", first_us=n * HOUR_US, shared={("content", "h")})
        for n in range(USUAL_HOURS + 3)
    ]
    found = joined(every_hour)
    assert [len(one.members) for one in found] == [USUAL_HOURS + 1, 1, 1]
    assert TOO_USUAL in {join.refused for one in found for join in one.joins}


def test_the_newest_state_of_an_alert_counts() -> None:
    first = member("a", agent="x", shared={("content", "h")})
    other = member("b", agent="y", shared={("content", "h")})
    parted = member("b", agent="y", shared={("content", "k")})
    assert len(joined([first, other])) == 1
    assert len(joined([first, other, parted])) == 2
