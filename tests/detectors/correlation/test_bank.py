"""A bank does not care who feeds it: rules across partitions are judged from others' matches."""

from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.correlation.bank import CorrelatorBank
from tachograph.detectors.correlation.matched import Matched, Matches, group_values
from tachograph.detectors.correlation.outbound import UNLINKED_S
from tachograph.detectors.engine import Engine
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked
from tachograph.schemas.identity import plain_id
from tests.detectors.made import SECOND_US, Standing, frame, rules

RULES = rules("""
title: a
name: a
logsource: {category: any}
detection: {s: {tool.name: a}, condition: s}
---
title: three of one principal
correlation:
  type: event_count
  rules: [a]
  group-by: [principal.id]
  timespan: 10s
  condition: {gte: 3}
---
title: four of anybody
correlation:
  type: event_count
  rules: [a]
  timespan: 10s
  condition: {gte: 4}
""")


def event(number: int, time: int, place: str, principal: str | None) -> dict[str, Any]:
    return {
        "event_id": plain_id("event", str(number)),
        "event_time": time,
        "kind": "tool_call",
        "tool_name": "a",
        "trace_id": f"T{number}",
        "session_id": f"T{number}",
        "partition_key": place,
        "principal_id": principal,
    }


# Compiled once: it has no state that matters.
MATCHER = Engine(RULES)._matcher


def reader() -> Engine:
    engine = Engine(RULES)
    engine._matcher = MATCHER
    return engine


def bank() -> CorrelatorBank:
    return CorrelatorBank(RULES.correlations, RULES, across=True)


def expected(events: list[dict[str, Any]]) -> set[tuple[str, str, int, int]]:
    """(title, entity, time, count) by brute force."""
    found = set()
    for title, threshold, of in (
        ("three of one principal", 3, lambda e: e["principal_id"]),
        ("four of anybody", 4, lambda _: "default"),
    ):
        for group in {of(e) for e in events} - {None}:
            own = sorted((e["event_time"], e["event_id"]) for e in events if of(e) == group)
            said = set()
            for time, _ in own:
                count = sum(time - 10 < other <= time for other, _ in own)
                if count >= threshold and time // 10 not in said:
                    said.add(time // 10)
                    found.add((title, group, time, count))
    return found


def standing(signals: Standing) -> set[tuple[str, str, int, int]]:
    return {
        (s.title, s.entity, int(s.event_time.timestamp()), s.event_count)
        for s in signals.signals.values()
    }


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["p1", "p2", "p3"]),
        st.sampled_from(["ann", "bob", None]),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.data())
def test_groups_across_partitions_are_judged_whole_wherever_their_events_were_read(
    stream: list[tuple[int, str, str | None]], data: st.DataObject
) -> None:
    events = [event(n, *one) for n, one in enumerate(stream)]
    engines = {place: reader() for place in ("p1", "p2", "p3")}
    sent: list[Matches] = []
    # Some learn only later for whom they acted.
    later = {e["trace_id"] for e in events if data.draw(st.booleans())}
    links: dict[tuple[str, str, str], Linked] = {}
    for e in events:
        row = dict(e)
        if e["trace_id"] in later and e["principal_id"] is not None:
            link = Linked(e["trace_id"], principal_id=e["principal_id"])
            links["default", e["partition_key"], e["trace_id"]] = link
            row["principal_id"] = data.draw(st.sampled_from([None, e["principal_id"]]))
        outcome = engines[e["partition_key"]].judge(frame([row]), 1)
        assert not outcome.signals
        sent += outcome.matches
    for place, engine in engines.items():
        own = {trace: link for trace, link in links.items() if trace[1] == place}
        reloaded = reader()
        reloaded.load(engine.dump())
        sent += reloaded.relink(own, 2).matches
    judge, found = bank(), Standing()
    for revision, matches in enumerate(sent):
        found.take(judge.judge(matches.facts, matches.found, revision).signals)
        if data.draw(st.integers(0, 5)) == 0:
            other = bank()
            other.load(judge.dump())
            judge = other
    assert standing(found) == expected(events)


def test_what_leaves_a_group_takes_back_what_it_made_true() -> None:
    engine, judge, found = Engine(RULES), bank(), Standing()
    (matches,) = engine.judge(frame([event(n, n, "p1", "ann") for n in range(3)]), 1).matches
    found.take(judge.judge(matches.facts, matches.found, 1).signals)
    assert standing(found) == {("three of one principal", "ann", 2, 3)}
    ((rule, _), _) = matches.found
    one = Matched(np.array([1]), np.array([1]), np.array([0]), np.array([False]))
    gone = msgspec.structs.replace(one, gone=np.array([True]))
    found.take(judge.judge(matches.facts, [(rule, gone)], 2).signals)
    assert standing(found) == set()
    found.take(judge.judge(matches.facts, [(rule, one)], 3).signals)
    assert standing(found) == {("three of one principal", "ann", 2, 3)}


def test_the_values_of_a_group_are_those_of_the_facts() -> None:
    batch = frame([event(1, 1, "p1", "ann"), event(2, 1, "p1", None)])
    (matches,) = Engine(RULES).judge(batch, 1).matches
    ((rule, one), (whole, all_)) = matches.found
    values = group_values(rule, one, matches.facts, RULES.fields)
    assert values.to_dict(as_series=False) == {"principal.id": ["ann", None]}
    assert group_values(whole, all_, matches.facts, RULES.fields).columns == []


def test_matches_wait_for_a_link_no_longer_than_an_hour_and_no_more_than_the_limit() -> None:
    engine = Engine(RULES, limits=Limits(unlinked_matches=4))
    for number in range(3):
        batch = [event(10 * number + n, number, "p1", "ann") for n in range(2)]
        engine.judge(frame(batch), number)
    assert (len(engine.outbound), engine.outbound.evicted) == (4, 2)
    engine.advance((UNLINKED_S + 100) * SECOND_US, 9)
    assert len(engine.outbound) == 0


def test_an_event_without_the_groups_value_is_in_no_group() -> None:
    judge = bank()
    (matches,) = Engine(RULES).judge(frame([event(n, 1, "p1", None) for n in range(3)]), 1).matches
    assert judge.judge(matches.facts, matches.found, 1).signals == []
