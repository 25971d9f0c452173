"""Groups that lie in several partitions: the same signals however many places there are, and
however what they send each other is cut, repeated and interleaved.
"""

import random
from collections import defaultdict
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.across import AcrossDetector, WholeDetector
from tachograph.detectors.correlation.travel import by_partition, matches_of
from tachograph.detectors.firsts import Firsts
from tachograph.detectors.limits import Limits
from tachograph.detectors.partition import Found, PartitionDetector
from tachograph.schemas import batch
from tachograph.schemas.identity import partition_of, plain_id
from tachograph.schemas.records import SessionLink
from tests.detectors.made import SECOND_US, Standing, at, frame, rules

SPAN_S = 10
RULES = rules(f"""
title: a
name: a
logsource: {{category: any}}
detection: {{s: {{tool.name: a}}, condition: s}}
---
title: b
name: b
logsource: {{category: any}}
detection: {{s: {{tool.name: b}}, condition: s}}
---
title: three of one principal
correlation:
  type: event_count
  rules: [a]
  group-by: [principal.id]
  timespan: {SPAN_S}s
  condition: {{gte: 3}}
---
title: a then b at one target
correlation:
  type: temporal_ordered
  rules: [a, b]
  group-by: [target.domain, principal.id]
  timespan: {SPAN_S}s
---
title: four of anybody
correlation:
  type: event_count
  rules: [a, b]
  timespan: {SPAN_S}s
  condition: {{gte: 4}}
---
title: three of one agent
correlation:
  type: event_count
  rules: [a, b]
  group-by: [agent.id]
  timespan: {SPAN_S}s
  condition: {{gte: 3}}
""")
LIMITS = Limits(allowed_lateness_s=5)
# Compiled once: it has no state that matters.
MATCHER = PartitionDetector(RULES).engine._matcher


def partition_detector() -> PartitionDetector:
    detector = PartitionDetector(RULES, limits=LIMITS)
    detector.engine._matcher = MATCHER
    return detector


# Title, tools, threshold, and the field that is grouped by.
COUNTS: tuple[tuple[str, str, int, str | None], ...] = (
    ("three of one principal", "a", 3, "principal_id"),
    ("four of anybody", "ab", 4, None),
    ("three of one agent", "ab", 3, "agent_id"),
)


@st.composite
def events(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for number in range(draw(st.integers(1, 25))):
        agent = draw(st.sampled_from(["ann", "bob", "cyd", "dan"]))
        second = draw(st.integers(0, 40))
        found.append(
            {
                "event_id": plain_id("event", str(number)),
                "event_time": second,
                # In order of reading, whatever the event's own time.
                "observed_time": at(45),
                "kind": "tool_call",
                "tool_name": draw(st.sampled_from(["a", "a", "b", "c"])),
                "agent_id": agent,
                "partition_key": agent,
                "session_id": f"{agent}-s",
                "trace_id": f"{agent}-t{second // 20}",
                "principal_id": draw(st.sampled_from(["P", "Q", None])),
                "target_domain": draw(st.sampled_from(["x.example", None])),
                "late": draw(st.integers(0, 9)) == 0,
            }
        )
    return found


class Fleet:
    """Some places that read actions and some that judge matches, with their logs between them."""

    def __init__(self, sources: int, places: int, chance: random.Random) -> None:
        self.chance = chance
        self.sources = [partition_detector() for _ in range(sources)]
        self.places = [AcrossDetector(RULES, limits=LIMITS) for _ in range(places)]
        # Records on the way to each place, by the source they come from: only those keep an order.
        self.ways: dict[tuple[int, int], list[bytes]] = defaultdict(list)
        self.offsets = [0] * places
        self.local, self.across = Standing(), [Standing() for _ in range(places)]
        self.found: list[Found] = []

    def read(self, source: int, rows: list[dict[str, Any]], links: list[SessionLink]) -> None:
        found = self.sources[source].process(frame(rows), links, len(self.found))
        self.local.take(found.signals)
        self.found.append(found)
        for matched in found.matches:
            for place, part in by_partition(matched, len(self.places)).items():
                sends = [batch.encode(part)] * self.chance.choice((1, 1, 2))
                self.ways[source, place] += sends

    def deliver(self, everything: bool = False) -> None:
        """Some records arrive, from the sources in any order."""
        while self.ways and (everything or self.chance.random() < 0.6):
            way = self.chance.choice(sorted(self.ways))
            count = self.chance.randint(1, len(self.ways[way]))
            records, self.ways[way] = self.ways[way][:count], self.ways[way][count:]
            if not self.ways[way]:
                del self.ways[way]
            rows = pl.concat([batch.decode(record) for record in records], how="diagonal")
            self.judge(way[1], rows)

    def judge(self, place: int, rows: pl.DataFrame) -> None:
        self.offsets[place] += 1
        if self.chance.random() < 0.2:
            state = self.places[place].dump()
            self.places[place] = AcrossDetector(RULES, limits=LIMITS)
            self.places[place].load(state)
        found = self.places[place].process(rows, self.offsets[place])
        self.across[place].take(found.signals)
        self.found.append(found)

    def standing(self) -> set[tuple[Any, ...]]:
        """What stands, each once."""
        signals = [s for one in (self.local, *self.across) for s in one.signals.values()]
        assert len({s.signal_id for s in signals}) == len(signals)
        return {
            (s.signal_id, s.title, s.entity, s.event_time, s.event_count, *s.event_ids)
            for s in signals
        }


def spread(stream: list[dict[str, Any]], sources: int, places: int, chance: random.Random) -> Fleet:
    """The stream read by a fleet: in disorder, some of it twice, some principals told later."""
    fleet = Fleet(sources, places, chance)
    waiting = [dict(event) for event in stream]
    waiting += [dict(event) for event in stream if chance.random() < 0.2]
    chance.shuffle(waiting)
    links = [_link(event) for event in stream if _alone(event, stream)]
    told = {link.trace_id for link in links}
    for event in waiting:
        if event["trace_id"] in told:
            event["principal_id"] = None
    while waiting or links:
        if links and (not waiting or chance.random() < 0.3):
            link = links.pop()
            fleet.read(partition_of(link.partition_key, sources), [], [link])
        else:
            event = waiting.pop()
            fleet.read(partition_of(event["partition_key"], sources), [event], [])
        fleet.deliver()
    fleet.deliver(everything=True)
    return fleet


def _alone(event: dict[str, Any], stream: list[dict[str, Any]]) -> bool:
    """Whether every event of its trace has the same principal: then a link may tell it."""
    own = [e["principal_id"] for e in stream if e["trace_id"] == event["trace_id"]]
    return len(own) % 2 == 0 and len(set(own)) == 1 and own[0] is not None


def _link(event: dict[str, Any]) -> SessionLink:
    return SessionLink(
        tenant="default",
        partition_key=event["partition_key"],
        trace_id=event["trace_id"],
        session_id=event["session_id"],
        principal_id=event["principal_id"],
        observed_time=at(45),
    )


def counted(stream: list[dict[str, Any]]) -> set[tuple[str, str, Any, int]]:
    """(title, entity, time, count) of the counting rules, by brute force."""
    found = set()
    for title, tools, least, of in COUNTS:
        for group in {e[of] if of else "default" for e in stream} - {None}:
            own = sorted(
                (e["event_time"], e["event_id"])
                for e in stream
                if e["tool_name"] in tools and not e["late"] and (not of or e[of] == group)
            )
            said = set()
            for time, _ in own:
                count = sum(time - SPAN_S < other <= time for other, _ in own)
                if count >= least and time // SPAN_S not in said:
                    said.add(time // SPAN_S)
                    found.add((title, group, at(time), count))
    return found


@settings(max_examples=20, deadline=None)
@given(events(), st.integers(0, 2**32))
def test_one_place_or_many_say_the_same_whatever_order_and_cuts(
    stream: list[dict[str, Any]], seed: int
) -> None:
    chance = random.Random(seed)
    whole = WholeDetector(RULES, limits=LIMITS)
    whole._place.engine._matcher = MATCHER
    once = Standing()
    once.take(whole.process(frame(stream), [], 1).signals)
    expected = {
        (s.signal_id, s.title, s.entity, s.event_time, s.event_count, *s.event_ids)
        for s in once.signals.values()
    }
    assert {fact[1:5] for fact in expected if "then" not in str(fact[1])} == counted(stream)
    for sources, places in ((1, 1), (3, 4)):
        assert spread(stream, sources, places, chance).standing() == expected


@settings(max_examples=20, deadline=None)
@given(events(), st.integers(0, 2**32))
def test_every_group_has_the_last_actions_of_the_agent_whose_action_crossed(
    stream: list[dict[str, Any]], seed: int
) -> None:
    fleet = spread(stream, 3, 4, random.Random(seed))
    contexts = {
        (c.group_id, c.entity, c.bucket_start): c for one in fleet.found for c in one.contexts
    }
    for group in (group for one in fleet.found for group in one.groups if group.count):
        context = contexts[group.group_id, group.entity, group.bucket_start]
        assert context.tenant == group.tenant
        assert context.session_id
        assert {a["event_id"] for a in context.actions} <= {e["event_id"] for e in stream}
        assert context.actions


def test_an_agent_is_told_once_of_a_group_and_an_hour() -> None:
    detector = partition_detector()
    rows = [_a(n, n * 600, agent) for n, agent in enumerate(["ann", "ann", "bob", "ann"])]
    found = detector.process(frame(rows), [], 1)
    told = [(c.agent_id, c.entity) for c in found.contexts]
    assert sorted(told) == [
        ("ann", "P"), ("ann", "default"), ("bob", "P"), ("bob", "default"),
    ]  # fmt: skip
    again = detector.process(frame([_a(7, 700, "ann"), _a(8, 3700, "ann")]), [], 2)
    assert [c.bucket_start for c in again.contexts] == [at(3600), at(3600)]
    detector.tick(2 * 3600 * SECOND_US, 3)
    assert len(detector.firsts) == 2


def test_firsts_beyond_the_limit_are_forgotten_and_counted() -> None:
    detector = partition_detector()
    detector.firsts = Firsts(limit=3)
    detector.process(frame([_a(n, n, f"agent-{n}") for n in range(4)]), [], 1)
    assert (len(detector.firsts), detector.firsts.evicted) == (3, 5)


def _a(number: int, second: int, agent: str) -> dict[str, Any]:
    return {
        "event_id": plain_id(str(number)), "event_time": second, "observed_time": at(second),
        "kind": "tool_call", "tool_name": "a", "agent_id": agent, "partition_key": agent,
        "session_id": agent, "principal_id": "P",
    }  # fmt: skip


def test_rows_of_a_rule_that_is_not_known_here_are_passed_over() -> None:
    [rows] = partition_detector().process(frame([_a(1, 1, "ann")]), [], 1).matches
    rule_of = {(r.meta.rule_id, r.meta.version): r for r in RULES.correlations}
    known = matches_of(rows, rule_of)
    foreign = matches_of(rows.with_columns(rule_version=pl.lit("another")), rule_of)
    assert len(known.found) == 2
    assert foreign.found == []


@pytest.mark.parametrize(
    "state", [b"", b"\x93\x01\xc4\x00\xc4\x00", AcrossDetector(RULES).dump()[:-3]]
)
def test_a_state_that_is_none_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="state"):
        AcrossDetector(RULES).load(state)
