"""Chains of rules that reach across partitions and rules that do not: the same signals however many
places there are, and however what they send each other is cut and interleaved.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.across import AcrossDetector, WholeDetector
from tachograph.detectors.correlation.stretch import LONG_AGO
from tachograph.detectors.correlation.travel import by_partition
from tachograph.detectors.limits import Limits
from tachograph.detectors.partition import Found, PartitionDetector
from tachograph.schemas.alert import Signal
from tachograph.schemas.identity import Prefix, plain_id
from tests.detectors.correlation.oracle import Asked, Event, Saying, counted, ordered, sliding
from tests.detectors.correlation.oracle import Step as One
from tests.detectors.correlation.play import EXAMPLES
from tests.detectors.made import SECOND_US, Standing, frame, rules

RULES = rules("""
title: a
name: a
logsource: {category: any}
detection: {s: {tool.name: a}, condition: s}
---
title: b
name: b
logsource: {category: any}
detection: {s: {tool.name: b}, condition: s}
---
title: burst of one agent
name: burst
correlation:
  type: event_count
  rules: [a]
  group-by: [agent.id]
  timespan: 10s
  condition: {gte: 2}
---
title: bursts of one principal
name: bursts
correlation:
  type: event_count
  rules: [burst]
  group-by: [principal.id]
  timespan: 10s
  condition: {gte: 2}
---
title: three of one principal
name: three
correlation:
  type: event_count
  rules: [a]
  group-by: [principal.id]
  timespan: 10s
  condition: {gte: 3}
---
title: three of its principal, then b of an agent
correlation:
  type: temporal_ordered
  rules: [three, b]
  group-by: [agent.id]
  timespan: 10s
---
title: bursts of principals, few of them
correlation:
  type: event_count
  rules: [bursts]
  timespan: 10s
  condition: {lte: 1}
""")
LIMITS = Limits(allowed_lateness_s=5)
MATCHER = PartitionDetector(RULES).engine._matcher
AGENTS = ("ann", "bob", "cyd")


def reader() -> PartitionDetector:
    detector = PartitionDetector(RULES, limits=LIMITS)
    detector.engine._matcher = MATCHER
    return detector


@st.composite
def events(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for number in range(draw(st.integers(1, 24))):
        agent = draw(st.sampled_from(AGENTS))
        found.append(
            {
                "event_id": plain_id("event", str(number)),
                "event_time": draw(st.integers(0, 40)),
                "kind": "tool_call",
                "tool_name": draw(st.sampled_from(["a", "a", "b"])),
                "agent_id": agent,
                "partition_key": agent,
                "session_id": f"{agent}-s",
                "principal_id": draw(st.sampled_from(["P", "Q"])),
            }
        )
    return found


def expected(stream: Sequence[dict[str, Any]]) -> set[tuple[str, str, str, str]]:
    """(title, group, bucket, last event) by brute force; the group's place is in `trace`."""
    plain = [
        Event(e["event_time"], e["event_id"], e["tool_name"], e["agent_id"], e["principal_id"])
        for e in stream
    ]
    chain = {rule.meta.title: rule for rule in _all(RULES.correlations)}

    def judged(title: str, own: Sequence[Event], by: str, asked: Asked) -> list[Saying]:
        groups = defaultdict(list)
        for event in sorted(own):
            key = {"agent": event.trace, "principal": event.session or "", "all": "all"}[by]
            groups[key].append(event)
        return list(sliding(groups, asked))

    def signals(title: str, said: Sequence[Saying], of: Sequence[Event], place: str) -> list[Event]:
        meta = chain[title].meta
        prefix = Prefix("default", meta.rule_id, meta.version)
        by_shown = {event.shown: event for event in of}
        made = []
        for one in said:
            last = by_shown[one.last]
            before = {"agent": [last.trace, one.group], "principal": [one.group], "all": []}[place]
            made.append(
                replace(last, id=prefix.id(*before, one.bucket), tool="inner", said=last.shown)
            )
        return made

    a, b = ([e for e in plain if e.tool == tool] for tool in "ab")
    burst = judged("", a, "agent", counted(lambda n: n >= 2))
    burst_events = signals("burst of one agent", burst, a, "agent")
    bursts = judged("", burst_events, "principal", counted(lambda n: n >= 2))
    bursts_events = signals("bursts of one principal", bursts, burst_events, "principal")
    few = judged("", bursts_events, "all", counted(lambda n: n <= 1))
    three = judged("", a, "principal", counted(lambda n: n >= 3))
    three_events = signals("three of one principal", three, a, "principal")
    then = judged("", [*three_events, *b], "agent", ordered([[One("i"), One("b")]]))
    found = set()
    for title, said in (
        ("three of its principal, then b of an agent", then),
        ("bursts of principals, few of them", few),
    ):
        found |= {(title, one.group, one.bucket, one.last) for one in said}
    return found


def _all(found: Sequence[Any]) -> Iterator[Any]:
    for rule in found:
        yield rule
        yield from _all([step.inner for step in rule.steps if step.inner is not None])


def said(standing: Sequence[Signal]) -> set[tuple[str, str, str, str]]:
    return {
        (s.title, next(iter(s.group.values()), "all"), s.witness.window["bucket"],
         s.witness.window["last"])
        for s in standing
    }  # fmt: skip


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(events(), st.data())
def test_chains_that_reach_across_partitions_in_one_place(
    stream: list[dict[str, Any]], data: st.DataObject
) -> None:
    detector, standing = WholeDetector(RULES, limits=LIMITS), Standing()
    detector._place.engine._matcher = MATCHER
    for revision, at in enumerate(data.draw(st.permutations(range(len(stream))))):
        standing.take(detector.process(frame([stream[at]]), [], revision).signals)
    standing.take(detector.close(99).signals)
    assert said(list(standing.signals.values())) == expected(stream)


class Fleet:
    """Places that read actions and places that judge matches, with logs between them."""

    def __init__(self, places: int, chance: random.Random) -> None:
        self.chance = chance
        self.readers = {agent: reader() for agent in AGENTS}
        self.places = [AcrossDetector(RULES, limits=LIMITS) for _ in range(places)]
        # Records on the way, by where they come from and go to: only those keep an order.
        self.ways: dict[tuple[object, int], list[pl.DataFrame | tuple[int, bool]]] = defaultdict(
            list
        )
        self.standing = Standing()
        self.revision = 0
        self.reached: dict[int, dict[object, int]] = {p: {} for p in range(places)}
        self.chained: dict[int, dict[object, int]] = {p: {} for p in range(places)}

    def sent(self, source: object, found: Found) -> None:
        self.standing.take(found.signals)
        for matched in found.matches:
            for place, part in by_partition(matched, len(self.places)).items():
                self.ways[source, place].append(part)

    def told(self, source: object, reached_us: int, *, chained: bool) -> None:
        for place in range(len(self.places)):
            self.ways[source, place].append((reached_us, chained))

    def read(self, row: dict[str, Any]) -> None:
        self.revision += 1
        detector = self.readers[row["agent_id"]]
        self.sent(row["agent_id"], detector.process(frame([row]), [], self.revision))

    def tick(self, agent: str, reached_us: int) -> None:
        self.revision += 1
        self.sent(agent, self.readers[agent].tick(reached_us, self.revision))
        self.told(agent, reached_us, chained=False)

    def deliver(self, most: int) -> None:
        """Some records arrive, in any order that the ways allow."""
        for _ in range(most):
            some = sorted((way for way, records in self.ways.items() if records), key=str)
            if not some:
                return
            source, place = self.chance.choice(some)
            record = self.ways[source, place].pop(0)
            self.revision += 1
            if isinstance(record, pl.DataFrame):
                found = self.places[place].process(record, self.revision)
                self.sent(place, found)
            else:
                self.note(source, place, *record)
            if self.chance.random() < 0.1:
                state = self.places[place].dump()
                self.places[place] = AcrossDetector(RULES, limits=LIMITS)
                self.places[place].load(state)

    def note(self, source: object, place: int, reached_us: int, chained: bool) -> None:
        book = (self.chained if chained else self.reached)[place]
        book[source] = max(book.get(source, LONG_AGO), reached_us)
        if len(self.reached[place]) < len(self.readers):
            return
        watermark = min(self.reached[place].values())
        whole = len(self.chained[place]) == len(self.places)
        chained_us = min(self.chained[place].values()) if whole else LONG_AGO
        self.sent(place, self.places[place].tick(watermark, self.revision, chained_us))
        if not chained:
            self.told(place, watermark, chained=True)


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(events(), st.integers(1, 3), st.randoms(use_true_random=False))
def test_chains_that_reach_across_partitions_whatever_the_places(
    stream: list[dict[str, Any]], places: int, chance: random.Random
) -> None:
    fleet = Fleet(places, chance)
    # Observed by at most the allowed lateness after they happened.
    arrival = sorted((row["event_time"] + chance.randint(0, 5), n) for n, row in enumerate(stream))
    for observed, number in arrival:
        agent = chance.choice(AGENTS)
        if chance.random() < 0.4:
            fleet.tick(agent, observed * SECOND_US)
        fleet.read(stream[number])
        fleet.deliver(chance.randint(0, 4))
    for agent in AGENTS:
        fleet.tick(agent, 10_000 * SECOND_US)
    fleet.deliver(10_000)
    assert said(list(fleet.standing.signals.values())) == expected(stream)
