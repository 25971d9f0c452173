"""What is said last of each group is a function of the set of signals that stand."""

from collections import defaultdict

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors import groups as module
from tachograph.detectors.groups import SAMPLES, Groups
from tachograph.detectors.signals import ALERT_BUCKET_S, at, micros
from tachograph.schemas.alert import Reason, Signal, SignalGroup
from tests.detectors.made import SECOND_US

BUCKET_US = ALERT_BUCKET_S * SECOND_US
END_US = 100 * BUCKET_US


def signal(
    number: int, time_s: int, entity: str, *, change: str = "new", session: str = "s"
) -> Signal:
    time_us = time_s * SECOND_US
    return Signal(
        signal_id=f"{number:032x}",
        revision=0,
        change=change,  # type: ignore[arg-type]
        tenant="default",
        rule_id="rule",
        rule_version="v",
        title="made",
        severity="low",
        kind="window",
        risk_category="governance",
        event_time=at(time_us),
        event_ids=[],
        entity=entity,
        bucket_start=at(time_us - time_us % BUCKET_US),
        session_id=session,
        agent_id=entity,
        reason=Reason(text="because"),
    )


@st.composite
def streams(draw: st.DrawFn) -> list[Signal]:
    """New, revised, retracted and repeated signals, in an order in which they can come."""
    live: dict[int, Signal] = {}
    out = []
    for _ in range(draw(st.integers(1, 60))):
        number = draw(st.integers(0, 30))
        time_s = draw(st.sampled_from([0, 1, 2, 3_599, 3_600, 3_601]))
        entity = draw(st.sampled_from(["A", "A", "A", "B"]))
        known = live.get(number)
        if known is None:
            live[number] = signal(number, time_s, entity)
            out.append(live[number])
        elif draw(st.integers(0, 3)) == 0:
            out.append(known)
        elif draw(st.booleans()):
            live[number] = signal(number, time_s, entity, change="revised")
            out.append(live[number])
        else:
            out.append(msgspec.structs.replace(live.pop(number), change="retracted"))
    return out


def expected(stream: list[Signal]) -> dict[tuple[str, int], tuple[int, int, int, list[str]]]:
    standing: dict[str, Signal] = {}
    for one in stream:
        if one.change == "retracted":
            del standing[one.signal_id]
        else:
            standing[one.signal_id] = one
    found = defaultdict(list)
    for one in standing.values():
        found[one.entity, micros(one.bucket_start)].append((micros(one.event_time), one.signal_id))
    return {
        key: (len(own), min(own)[0], max(own)[0], [name for _, name in sorted(own)[:SAMPLES]])
        for key, own in found.items()
    }


def summary(group: SignalGroup) -> tuple[int, int, int, list[str]]:
    names = [sample.signal_id for sample in group.samples]
    return group.count, micros(group.first_seen), micros(group.last_seen), names


@settings(max_examples=80, deadline=None)
@given(streams(), st.data())
def test_what_is_said_last_is_what_stands(stream: list[Signal], data: st.DataObject) -> None:
    groups = Groups()
    said: dict[str, SignalGroup] = {}
    rest, revision = stream, 0
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        batch, rest, revision = rest[:cut], rest[cut:], revision + 1
        for group in groups.absorb(batch, revision):
            assert group.revision == revision
            said[group.group_id] = group
        if data.draw(st.integers(0, 4)) == 0:
            state, groups = groups.dump(), Groups()
            groups.load(state)
    for group in groups.close(END_US, revision + 1):
        assert group.closed
        said[group.group_id] = group
    last = {(g.entity, micros(g.bucket_start)): summary(g) for g in said.values() if g.count}
    assert last == expected(stream)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 1_200), st.data())
def test_a_flood_is_said_a_few_times(number: int, data: st.DataObject) -> None:
    groups, said = Groups(), 0
    stream = [signal(place, place % 3_600, "A") for place in range(number)]
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        said += len(groups.absorb(stream[:cut], 1))
        stream = stream[cut:]
    assert said <= len(str(number))


def test_a_group_is_said_at_1_10_100_and_at_its_close() -> None:
    groups = Groups()
    counts = [
        group.count
        for place in range(150)
        for group in groups.absorb([signal(place, place, "A")], 1)
    ]
    (closed,) = groups.close(BUCKET_US + 60 * SECOND_US, 2)
    assert counts == [1, 10, 100]
    assert (closed.count, closed.closed) == (150, True)
    assert groups.close(BUCKET_US + 61 * SECOND_US, 3) == []


def test_a_group_that_falls_to_nothing_is_said_with_count_0() -> None:
    groups = Groups()
    one = signal(1, 5, "A")
    groups.absorb([one], 1)
    (gone,) = groups.absorb([msgspec.structs.replace(one, change="retracted")], 2)
    assert (gone.count, gone.samples) == (0, [])


def test_a_signal_that_moves_to_another_entity_leaves_its_group() -> None:
    groups = Groups()
    groups.absorb([signal(1, 5, "A")], 1)
    said = groups.absorb([signal(1, 5, "B", change="revised")], 2)
    assert {(group.entity, group.count) for group in said} == {("A", 0), ("B", 1)}


def test_a_signal_after_the_close_is_said_at_once() -> None:
    groups = Groups()
    groups.absorb([signal(1, 5, "A")], 1)
    groups.close(BUCKET_US + 60 * SECOND_US, 2)
    (said,) = groups.absorb([signal(2, 6, "A")], 3)
    assert (said.count, said.closed) == (2, True)


def test_a_bucket_forgotten_long_ago_is_not_replaced_by_less() -> None:
    groups = Groups()
    (first,) = groups.absorb([signal(1, 5, "A")], 1)
    groups.close(END_US, 2)
    assert len(groups) == 0
    (again,) = groups.absorb([signal(2, 6, "A")], 3)
    assert again.group_id != first.group_id


def test_groups_beyond_the_limit_are_evicted_said_once_more_and_counted() -> None:
    groups = Groups(max_groups=10)
    batch = [signal(place, place * ALERT_BUCKET_S, "A") for place in range(10)]
    groups.absorb(batch, 1)
    groups.absorb([signal(20, 1, "A")], 2)
    said = groups.absorb([signal(30, 50 * ALERT_BUCKET_S, "A")], 3)
    assert (len(groups), groups.evicted) == (10, 1)
    assert [(group.count, micros(group.bucket_start)) for group in said] == [
        (1, 50 * BUCKET_US),
        (2, 0),
    ]


def test_beyond_the_ids_that_are_remembered_the_count_goes_on(monkeypatch: object) -> None:
    groups = Groups()
    limit = module.MAX_IDS_PER_GROUP
    groups.absorb([signal(place, 1, "A") for place in range(limit + 5)], 1)
    (closed,) = groups.close(END_US, 2)
    assert closed.count == limit + 5


@given(streams(), st.data())
@settings(deadline=None, max_examples=150)
def test_captured_state_is_told_once_of_every_group_that_was_said_with_a_sample(
    stream: list[Signal], data: st.DataObject
) -> None:
    groups = Groups()
    said: set[str] = set()
    told: list[str] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        said |= {g.group_id for g in groups.absorb(stream[:size], 0) if g.samples}
        told += groups.owed(data.draw(st.integers(0, 2)))
        stream = stream[size:]
        if data.draw(st.booleans()):
            state, groups = groups.dump(), Groups()
            groups.load(state)
    said |= {g.group_id for g in groups.close(END_US // 1_000, 0) if g.samples}
    told += groups.owed(100)
    empty = {key for key, group in groups._groups.items() if not group.samples}
    assert set(told) | (said & empty) == said
    assert len(told) == len(set(told))


def test_a_group_that_was_emptied_before_its_captured_state_was_told_owes_it_later() -> None:
    groups = Groups()
    first = signal(1, 1, "A")
    groups.absorb([first, msgspec.structs.replace(first, change="retracted")], 0)
    assert groups.owed(9) == {}
    [group] = groups.absorb([signal(2, 2, "A")], 1)
    assert groups.owed(9) == {group.group_id: group.samples[0]}
