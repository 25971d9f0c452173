"""What agents share a partition is chance: no result depends on it."""

from datetime import UTC, datetime
from typing import Any

import polars as pl

from tachograph.detectors.engine import Engine
from tachograph.detectors.partition import PartitionDetector
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import SessionLink

from .made import frame, rules, stateless

RULES = """
title: a
name: a
logsource: {category: any}
detection: {s: {tool.name: a}, condition: s}
---
title: four of a
correlation:
  type: event_count
  rules: [a]
  group-by: [session.id]
  timespan: 10s
  condition: {gte: 4}
---
title: a then a
correlation:
  type: temporal_ordered
  condition: a and a
  group-by: [session.id]
  timespan: 10s
"""


def actions(*places: str, count: int = 3) -> pl.DataFrame:
    """Actions in turn of these partition keys; all else is alike."""
    fixed: dict[str, Any] = {"kind": "tool_call", "tool_name": "a", "session_id": "main"}
    return frame(
        [
            {**fixed, "event_id": plain_id(str(n)), "event_time": 100 + n, "agent_id": "A"}
            | {"partition_key": places[n % len(places)]}
            for n in range(count)
        ]
    )


def test_sessions_of_two_services_with_one_name_are_two_groups() -> None:
    together = Engine(rules(RULES)).judge(actions("p1", "p2", count=8), 1).signals
    apart = [
        signal
        for place in ("p1", "p2")
        for signal in Engine(rules(RULES))
        .judge(actions("p1", "p2", count=8).filter(partition_key=place), 1)
        .signals
    ]
    assert together
    assert sorted(s.signal_id for s in together) == sorted(s.signal_id for s in apart)
    assert len({s.signal_id for s in together}) == len(together)
    assert {s.partition_key for s in together} == {"p1", "p2"}


def test_an_agent_in_two_partitions_has_a_group_in_each() -> None:
    rule = rules(stateless("  s: {tool.name: a}\n  condition: s"))
    # Revisions are offsets of their own partition: the second must not lose against the first.
    first = PartitionDetector(rule).process(actions("p1", count=1), [], 1_000_000 << 20)
    second = PartitionDetector(rule).process(actions("p2", count=50), [], 7 << 20)
    groups = [*first.groups, *second.groups]
    assert [group.count for group in groups] == [1, 50]
    assert len({group.group_id for group in groups}) == 2


def test_sessions_of_two_services_with_one_name_have_their_own_last_actions() -> None:
    detector = PartitionDetector(rules(stateless("  s: {tool.name: a}\n  condition: s")))
    said = detector.process(actions("p1", "p2", count=8), [], 1)
    place_of = {s.signal_id: s.partition_key for g in said.groups for s in g.samples}
    groups = {g.group_id: {place_of[s.signal_id] for s in g.samples} for g in said.groups}
    for context in said.contexts:
        [place] = groups[context.group_id]
        first = ["p1", "p2"].index(place or "")
        own = [plain_id(str(n)) for n in range(first, 8, 2)]
        assert [action["event_id"] for action in context.actions] == own
    assert len(said.contexts) == 2


def test_a_link_names_nobody_elses_actions() -> None:
    rule = rules(stateless("  s: {tool.name: a}\n  condition: s"))
    link = SessionLink(
        tenant="default",
        partition_key="p1",
        trace_id="T",
        session_id="named",
        agent_id="agent of p1",
        observed_time=datetime(1970, 1, 1, tzinfo=UTC),
    )
    bare = actions("p1", "p2", count=2).with_columns(
        trace_id=pl.lit("T"), session_id=pl.lit("T"), agent_id=pl.lit(None, pl.String)
    )

    def said(detector: PartitionDetector, *calls: tuple[pl.DataFrame, list[SessionLink]]) -> Any:
        found = [s for at, call in enumerate(calls) for s in detector.process(*call, at).signals]
        last = {signal.partition_key: signal for signal in found}
        return {place: (s.session_id, s.agent_id) for place, s in last.items()}

    expected = {"p1": ("named", "agent of p1"), "p2": ("T", None)}
    assert said(PartitionDetector(rule), (bare, [link])) == expected
    assert said(PartitionDetector(rule), (bare, []), (bare.clear(), [link])) == expected
