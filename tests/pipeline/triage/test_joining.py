"""Joining is a function of the set of alerts, and agrees with the closure taken by brute force."""

import itertools
from collections.abc import Iterable
from datetime import timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.triage.joining import (
    FEW_AGENTS,
    GAP_US,
    KINDS,
    OTHER_CAUSE,
    STRONG,
    TOO_COMMON,
    TOO_LARGE,
    TOO_LONG,
    TOO_USUAL,
    USUAL_HOURS,
    Joined,
    joined,
)
from tachograph.schemas.records import IncidentMember
from tests.pipeline.triage.members import member

HOUR_US = 3_600_000_000


@st.composite
def fleets(draw: st.DrawFn) -> list[IncidentMember]:
    found = []
    for number in range(draw(st.integers(1, 18))):
        first = draw(st.integers(0, 9)) * (GAP_US // 2)
        found.append(
            member(
                f"a{number:02d}",
                agent=f"agent-{draw(st.integers(0, 11))}",
                first_us=first,
                last_us=first + draw(st.integers(0, GAP_US)),
                rules=draw(st.sets(st.sampled_from(("r", "s", "t")), min_size=1)),
                shared=draw(
                    st.sets(
                        st.tuples(
                            st.sampled_from(("content", "target", "principal")),
                            st.sampled_from("xy"),
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


def by_hand(members: list[IncidentMember], few: int) -> set[frozenset[str]]:
    """Every pair that may be joined, closed over: rare values first, then common ones, each of
    which leaves alone what another common one has joined. Alerts of a value bridge gaps.
    """
    held: dict[tuple[str, str], list[IncidentMember]] = {}
    for one in members:
        for cause in {("agent", one.agent_id), *((v.kind, v.value) for v in one.shared)}:
            held.setdefault(cause, []).append(one)
    together = {one.alert_id: {one.alert_id} for one in members}
    claimed: dict[str, tuple[str, str]] = {}
    common = []
    for (kind, value), some in held.items():
        agents = {one.agent_id for one in some}
        if len(agents) > few:
            common += [
                (KINDS.index(kind), -len(who), (kind, value, rule), sharing)
                for rule in {rule for one in some for rule in one.rule_ids}
                if (sharing := [one for one in some if rule in one.rule_ids])
                and 2 * len(who := {one.agent_id for one in sharing}) >= len(agents)
            ]
        elif kind in STRONG:
            _close(kind, some, together)
        else:
            for rule in {rule for one in some for rule in one.rule_ids}:
                _close(kind, [one for one in some if rule in one.rule_ids], together)
    for _, _, key, some in sorted(common, key=lambda one: one[:3]):
        free = [one for one in some if claimed.get(one.alert_id, key[:2]) == key[:2]]
        for name in _close(key[0], free, together):
            claimed |= dict.fromkeys(together[name], key[:2])
    return {frozenset(some) for some in together.values()}


def _close(kind: str, some: list[IncidentMember], together: dict[str, set[str]]) -> set[str]:
    """Join every pair that time does not part; who came to others so."""
    came = set()
    for first, other in itertools.permutations(some, 2):
        after = [one for one in some if _order(first) < _order(one) <= _order(other)]
        if after and not any(_parted(kind, one, some) for one in after):
            merged = together[first.alert_id] | together[other.alert_id]
            if merged != together[first.alert_id]:
                came |= {first.alert_id, other.alert_id}
            for name in merged:
                together[name] = merged
    return came


def _parted(kind: str, one: IncidentMember, some: list[IncidentMember]) -> bool:
    """A gap lies between it and all that went before, or the value was usual by then."""
    before = [other for other in some if _order(other) < _order(one)]
    hours = {to_us(other.first_seen) // HOUR_US for other in before}
    usual = kind not in ("agent", "value") and len(hours) > USUAL_HOURS
    last_us = max(to_us(other.last_seen) for other in before)
    return usual or to_us(one.first_seen) - last_us > GAP_US


@settings(max_examples=80, deadline=None)
@given(fleet=fleets(), chance=st.randoms(), few=st.integers(1, FEW_AGENTS))
def test_incidents_are_the_closure_of_what_alerts_share_in_whatever_order_they_come(
    fleet: list[IncidentMember], chance: Random, few: int
) -> None:
    found = joined(fleet, few=few)
    assert parts(found) == by_hand(fleet, few)
    shuffled = list(fleet)
    chance.shuffle(shuffled)
    assert joined([*shuffled, *fleet], few=few) == found


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
    assert incident.reasons["a042"] == ["content h1 (rule)"]


def test_a_host_that_many_agents_use_for_things_of_their_own_joins_nobody_and_is_told() -> None:
    fleet = [
        member(
            f"a{n:02d}", agent=f"agent-{n}", first_us=n, rules={f"rule-{n % 10}"},
            shared={("target", "api.example"), ("content", "readme")},
        )
        for n in range(50)
    ]  # fmt: skip
    found = joined(fleet)
    assert [len(one.members) for one in found] == [1] * 50
    told = [(join.kind, join.value, join.refused) for join in found[7].joins]
    assert told == [("content", "readme", TOO_COMMON), ("target", "api.example", TOO_COMMON)]


def test_a_swarm_stays_one_beside_others_who_touch_the_same_value() -> None:
    swarm = [
        member(f"s{n:03d}", agent=f"swarm-{n}", first_us=n, rules={"injected"},
               shared={("content", "h"), ("target", "api.example")})
        for n in range(100)
    ]  # fmt: skip
    others = [
        member(f"t{n:03d}", agent=f"other-{n}", first_us=n, rules={f"rule-{n}"},
               shared={("content", "h"), ("target", "api.example")})
        for n in range(60)
    ]  # fmt: skip
    sizes = sorted(len(one.members) for one in joined([*swarm, *others]))
    assert sizes == [1] * 60 + [100]


def test_common_values_do_not_chain_a_fleet_into_one_incident() -> None:
    fleet = [
        member(f"a{n:02d}", agent=f"agent-{n}", first_us=n,
               shared={("content", f"file-{k}") for k in range(5) if n // 10 in (k, k + 1)})
        for n in range(60)
    ]  # fmt: skip
    found = joined(fleet)
    assert max(len(one.members) for one in found) == 20
    for one in found:
        assert len({join.value for join in one.joins if not join.refused}) <= 1
    assert OTHER_CAUSE in {join.refused for one in found for join in one.joins}


def test_a_second_common_value_of_the_same_alerts_is_a_reason_and_no_refusal() -> None:
    shared = {("target", "invoices/0.pdf"), ("target", "invoices/1.pdf")}
    swarm = [member(f"a{n:02d}", agent=f"agent-{n}", first_us=n, shared=shared) for n in range(20)]
    [found] = joined(swarm)
    assert {(join.value, join.alerts, join.refused) for join in found.joins} == {
        ("invoices/0.pdf", 20, ""),
        ("invoices/1.pdf", 20, ""),
    }


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
