"""Principals and credentials are judged where all of theirs meets: the same, whatever partition
each service is in, however often its panes come.
"""

import random
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.across import AcrossDetector
from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.features import FEATURES, JUDGEMENTS
from tachograph.detectors.behaviour.fitting import blank
from tachograph.detectors.behaviour.shared import received, shared_apart
from tachograph.detectors.correlation.travel import by_partition
from tachograph.detectors.partition import PartitionDetector
from tachograph.schemas import batch
from tachograph.schemas.alert import Signal
from tests.detectors.made import SECOND_US, frame, rules

START_S = 1_790_000_000
SHAPE = (len(JUDGEMENTS) - 1, len(FEATURES))
CALIBRATION = msgspec.structs.replace(
    blank(), centre=np.full(SHAPE, 200).tolist(), spread=np.full(SHAPE, 120).tolist()
)
BARS = np.full((len(JUDGEMENTS), len(FEATURES)), 300)


def calls(service: str, start_s: float, count: int, every_s: float, **more: Any) -> list[Any]:
    return [
        {
            "event_id": f"{service}-{start_s}-{number}", "partition_key": service,
            "event_time": START_S + start_s + number * every_s, "agent_id": service,
            "session_id": f"{service}-{start_s}", "kind": "tool_call", "tool_name": "read",
            "tool_args_hash": f"a{number}", "target_domain": f"d{number % 30}", **more,
        }
        for number in range(count)
    ]  # fmt: skip


def judge(*, shared: bool = False) -> Behaviour:
    return Behaviour(calibration=CALIBRATION, bars=BARS, shared=shared)


def said(rows: list[dict[str, Any]], places: int, seed: int) -> list[Signal]:
    """What is said of what is shared, with the services spread over places, ticks that come one by
    one, panes that come twice, and restarts.
    """
    rng = random.Random(seed)
    own = [judge() for _ in range(places)]
    meeting, found = judge(shared=True), list[Signal]()
    keys = sorted({row["partition_key"] for row in rows})
    where = {key: rng.randrange(places) for key in keys}
    parts = [[row for row in rows if where[row["partition_key"]] == at] for at in range(places)]
    for until_s in (*sorted(rng.sample(range(60, 7000), 3)), None):
        sent = []
        for at, (one, part) in enumerate(zip(own, parts, strict=True)):
            end_s = START_S + (until_s or np.inf)
            now = [row for row in part if row["event_time"] < end_s]
            parts[at] = [row for row in part if row["event_time"] >= end_s]
            if now:
                one.judge(frame(now), 1)
            until_us = (START_S + (until_s or 20_000)) * SECOND_US
            sent += one.advance(until_us, 2).flows
            state, own[at] = one.dump(), judge()
            own[at].load(state)
        for flow in [*sent, *rng.sample(sent, len(sent) // 2)]:
            others, panes = shared_apart(flow)
            assert others.is_empty()
            meeting.take(panes)
        found += meeting.advance((START_S + (until_s or 20_000)) * SECOND_US, 3).signals
        state, meeting = meeting.dump(), judge(shared=True)
        meeting.load(state)
    return [*found, *meeting.close(4).signals]


STORY = st.lists(
    st.tuples(
        st.sampled_from(["s1", "s2", "s3"]), st.integers(0, 6000), st.integers(1, 60),
        st.sampled_from([0.1, 1.0, 7.0]), st.sampled_from(["k1", "k2"]),
    ),
    min_size=2, max_size=10, unique_by=lambda one: one[:2],
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(story=STORY, seed=st.integers(0, 2**16))
def test_what_is_said_of_what_is_shared_does_not_depend_on_partitions(
    story: list[tuple[str, int, int, float, str]], seed: int
) -> None:
    rows = [
        row
        for service, start_s, count, every_s, key in story
        for row in calls(
            service, start_s, count, every_s, credential_id=key, principal_id=f"of {key}"
        )
    ]
    one, many = (
        {msgspec.structs.replace(signal, revision=0).signal_id: signal.reason for signal in found}
        for found in (said(rows, 1, seed), said(rows, 3, seed + 1))
    )
    assert one == many


def test_a_credential_that_two_services_use_at_once_is_judged_as_one() -> None:
    usual = [row for hour in range(20) for row in calls("own", hour * 300, 3, 1, credential_id="k")]
    theft = calls("own", 6100, 20, 0.5, credential_id="k")
    theft += calls("thief", 6100, 20, 0.5, credential_id="k")
    found = said(usual + theft, 2, 1)
    assert {(s.entity, *s.group.items()) for s in found} == {("k", ("credential.id", "k"))}
    assert any("the credential's own history" in s.title for s in found)
    assert all(s.agent_id is None for s in found)
    assert not said(usual + calls("own", 6100, 40, 0.25, credential_id="k"), 2, 1)


@pytest.mark.parametrize(("services", "expected"), [(1, set()), (4, {"ann"})])
def test_a_person_may_be_faster_than_a_hand_over_several_agents_together(
    services: int, expected: set[str]
) -> None:
    rows = [
        row
        for place in range(services)
        for row in calls(
            f"helper{place}", 30, 20, 2.5, kind="prompt", agent_kind="interactive",
            content_text="do this now", principal_id="ann", principal_type="human",
        )
    ]  # fmt: skip
    found = [s for s in said(rows, 2, 1) if "Faster than the person" in s.title]
    assert {s.entity for s in found} == {s.principal_id for s in found} == expected


def test_match_rows_of_others_are_left_alone() -> None:
    rows = pl.DataFrame({"rule_id": ["a"], "tenant": ["t"]})
    assert shared_apart(rows)[0].equals(rows)


def test_panes_travel_as_match_rows_to_where_across_is_judged() -> None:
    rule_set = rules(
        "title: none\nlogsource: {category: any}\n"
        "detection: {a: {tool.name: nothing}, condition: a}\n"
    ).beside_sessions()
    places = [PartitionDetector(rule_set), PartitionDetector(rule_set)]
    meeting, found = AcrossDetector(rule_set), list[Signal]()
    for place, service in zip(places, ("own", "thief"), strict=True):
        place.process(frame(calls(service, 60, 1600, 0.02, credential_id="k")), [], 1)
        for rows in place.close(2).matches:
            [part] = by_partition(rows, 1).values()
            meeting.process(batch.decode(batch.encode(part)), 3)
    state, meeting = meeting.dump(), AcrossDetector(rule_set)
    meeting.load(state)
    told = meeting.tick((START_S + 20_000) * SECOND_US, 4)
    found += told.signals
    shared = {(one.entity, *one.group.values()) for one in found if one.group}
    assert shared == {("k", "k")}
    assert {group.entity for group in told.groups} == {one.entity for one in found}


@pytest.mark.parametrize("first", [True, False])
def test_what_came_before_it_was_told_to_speak_or_to_be_silent_is_sent_as_it_was_then(
    first: bool,
) -> None:
    rows = [{**row, "principal_id": "ada"} for row in calls("svc", 0, 6, 10.0)]
    one = judge()
    one.speaks = first
    one.judge(frame(rows[:3]), 1)
    one.speaks = not first
    one.judge(frame(rows[3:]), 1)
    flows = one.advance((START_S + 7200) * SECOND_US, 1).flows
    assert sum(received(shared_apart(flow)[1])["acts"].sum() for flow in flows) == 3
