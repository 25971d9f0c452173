"""Of every rule of an alert counts what its judged actions were done to, however many fired."""

import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.triage.entry import MAX_CONTEXTS, Entry, TriageRecord, apply, fresh
from tachograph.pipeline.triage.glimpse import (
    MAX_GLIMPSE_BYTES,
    MAX_GLIMPSES,
    Glimpse,
    glimpse_of,
    smallest,
)
from tachograph.pipeline.triage.joining import joined
from tachograph.pipeline.triage.judgement import alert_of
from tachograph.pipeline.triage.membership import MAX_OF_A_KIND, MAX_SHARED, member_of
from tachograph.pipeline.triage.policy import Policy, Suppression
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.codec import encode
from tachograph.schemas.records import IncidentMember
from tests.pipeline.triage import groups as make

POLICY = Policy()


def entry_of(records: list[TriageRecord]) -> Entry:
    entry = fresh(records[0])
    for record in records:
        entry = apply(entry, record)
    return entry


def member_for(records: list[TriageRecord], policy: Policy = POLICY) -> IncidentMember:
    entry = entry_of(records)
    alert = alert_of(entry, policy)
    assert alert is not None
    return member_of(alert, entry, policy)


def fired(rule: str, targets: list[str], at_s: float = 1.0, **fields: Any) -> list[TriageRecord]:
    """A rule that fired on one action with each target, and the context of its group."""
    signals = [make.signal(rule, "high", float(at)) for at in range(len(targets))]
    group = make.group(rule, count=len(signals), samples=signals)
    actions = [
        {"event_id": signal.event_ids[0], "target_resource": target}
        for signal, target in zip(signals, targets, strict=True)
    ]
    return [group, make.context(rule, at_s, actions=actions, **fields)]


def targets_of(member: IncidentMember) -> list[str]:
    return [one.value for one in member.shared if one.kind == "target"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=3), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
)
def test_no_rule_of_an_alert_is_left_without_its_target_while_another_has_two(
    numbers: list[list[int]], shuffled: random.Random
) -> None:
    said = {f"r{at}": [f"thing-{n}" for n in each] for at, each in enumerate(numbers)}
    records = [one for at, rule in enumerate(said) for one in fired(rule, said[rule], at)]
    member = member_for(records)
    every = {one for each in said.values() for one in each}
    told = targets_of(member)
    assert set(told) <= every
    assert len(told) == min(len(every), MAX_OF_A_KIND)
    firsts = {min(each) for each in said.values()}
    assert firsts <= set(told) or set(told) <= firsts
    shuffled.shuffle(records)
    assert member_for(records).shared == member.shared


def test_alerts_that_share_the_target_of_a_later_rule_alone_are_one_incident() -> None:
    """More rules than contexts that are kept whole; the first has many targets of its own."""
    members = []
    for name in ("one", "other"):
        records = fired("r0", [f"{name}-{n}" for n in range(5)], 0)
        for at in range(1, MAX_CONTEXTS + 2):
            records += fired(f"r{at}", [f"{name} of {at}"], at)
        records += fired("last", ["the shared bucket"], 99)
        made = member_for(records)
        members.append(msgspec.structs.replace(made, alert_id=name, agent_id=name))
    [incident] = joined(members)
    assert {(one.kind, one.value) for one in incident.joins} == {("target", "the shared bucket")}


def test_the_agent_that_a_later_rule_was_about_may_join_it_by_what_it_holds() -> None:
    state = StateSnapshot(
        snapshot_id="", tenant="acme", taken_at=make.BUCKET, credentials={"key-7": ""},
        delegation_chain=["root", "worker"],
    )  # fmt: skip
    records = [*fired("a", ["x"], 0), *fired("b", ["y"], 1, agent_id="another", state=state)]
    pairs = {(one.kind, one.value) for one in member_for(records).shared}
    assert {("credential", "key-7"), ("delegation", "root")} <= pairs


def test_what_a_suppressed_rule_was_about_joins_nobody() -> None:
    policy = Policy(suppressions=[Suppression(rule="noisy", reason="load test")])
    # Its context is not the first: that is the state of the alert, whoever it belongs to.
    records = [*fired("a", ["x"], 0), *fired("noisy", ["y"], 1)]
    assert targets_of(member_for(records, policy)) == ["x"]
    assert targets_of(member_for(records)) == ["x", "y"]


def oracle(found: list[tuple[str, Glimpse]], limit: int) -> dict[str, Glimpse]:
    """Oracle: of each key the earliest; then every group's first, every group's second, …"""
    best: dict[str, Glimpse] = {}
    for key, one in found:
        best[key] = min(best.get(key, one), one, key=lambda glimpse: glimpse.order)
    by_group: dict[str, list[tuple[Any, str]]] = {}
    for key, one in best.items():
        by_group.setdefault(one.group_id, []).append((one.order, key))
    slots = [(nth, pair) for pairs in by_group.values() for nth, pair in enumerate(sorted(pairs))]
    return {key: best[key] for _, (_, key) in sorted(slots)[:limit]}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4), st.integers(0, 5)), max_size=30),
    st.integers(1, 6),
)
def test_which_contexts_are_glimpsed_at_is_a_function_of_the_set(
    drawn: list[tuple[str, int, int]], limit: int
) -> None:
    found = [
        (
            f"{group}/{agent}",
            Glimpse(group_id=group, taken_at=make.BUCKET + timedelta(seconds=at), digest=""),
        )
        for group, agent, at in drawn
    ]
    kept: dict[str, Glimpse] = {}
    for key, one in found:
        if key not in kept or one.order < kept[key].order:
            kept = smallest(kept | {key: one}, limit)
    assert kept == oracle(found, limit)


def test_what_is_kept_of_contexts_has_a_limit_each_and_in_all() -> None:
    crowded = [
        {"event_id": str(n), "target_domain": "d" * 250, "target_resource": f"{n}-" + "r" * 240}
        for n in range(100)
    ]
    one = glimpse_of(make.context("a", actions=crowded))
    assert one is not None
    assert len(encode(one)) < 2 * MAX_GLIMPSE_BYTES
    assert "99" in one.of_events
    records: list[TriageRecord] = []
    for at in range(3 * MAX_GLIMPSES):
        records += fired(f"r{at:03}", [f"of {at:03} {n} " + "x" * 200 for n in range(5)], at)
    entry = entry_of(records)
    assert len(entry.glimpses) == MAX_GLIMPSES
    assert len(encode(entry)) < 700_000
    assert len(member_for(records).shared) <= MAX_SHARED


@pytest.mark.parametrize("actions", [[], [{"kind": "prompt"}], [{"target_domain": "no.id"}]])
def test_a_context_that_says_nothing_to_share_is_not_kept(actions: list[dict[str, str]]) -> None:
    assert glimpse_of(make.context("a", actions=actions)) is None
