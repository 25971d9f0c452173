"""Each event is judged by what was in force when it was observed, a window by what was in force
when the event that completed it was; whatever the order in which they come.
"""

import random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.in_force import Change, Period, Timeline
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleSet, build
from tachograph.detectors.limits import Limits
from tachograph.detectors.partition import PartitionDetector
from tachograph.detectors.plan import Plan
from tachograph.detectors.reference.reference import of_tables
from tachograph.schemas.alert import Signal
from tachograph.schemas.identity import plain_id
from tests.detectors.made import SECOND_US, Standing, at, frame

LIMITS = Limits(allowed_lateness_s=30)


def single(title: str, tool: str, level: str = "low") -> str:
    return f"""
title: {title}
id: single
level: {level}
logsource: {{category: any}}
detection: {{s: {{tool.name: {tool}}}, condition: s}}
"""


def counted(least: int, by: str, *, level: str = "low") -> str:
    return f"""
title: a base
name: base
logsource: {{category: any}}
detection: {{s: {{tool.name: a}}, condition: s}}
---
title: many by {by}
id: many-{by}
level: {level}
correlation:
  type: event_count
  rules: [base]
  group-by: [{by}]
  timespan: 10s
  condition: {{gte: {least}}}
"""


def of_all_kinds(*, least: int, learning_s: int, level: str) -> str:
    """Windows that are whole when nothing can come any more, what is missing, what is new."""
    return f"""
title: one a
name: one-a
logsource: {{category: any}}
detection: {{s: {{tool.name: a}}, condition: s}}
---
title: one b
name: one-b
logsource: {{category: any}}
detection: {{s: {{tool.name: b}}, condition: s}}
---
title: many in a bucket
id: bucket
correlation:
  type: event_count
  rules: [one-a]
  group-by: [session.id]
  timespan: 10s
  condition: {{gte: {least}}}
tacho: {{window: tumbling}}
---
title: many in a sitting
id: sitting
correlation:
  type: event_count
  rules: [one-a, one-b]
  group-by: [session.id]
  timespan: 12s
  condition: {{gte: {least}}}
tacho: {{window: session, gap: 4s}}
---
title: a and then no b
id: unanswered
level: {level}
correlation:
  type: temporal_ordered
  rules: [one-a, one-b]
  group-by: [session.id]
  timespan: 6s
tacho: {{absent: one-b}}
---
title: another tool
id: another
correlation:
  type: value_count
  rules: [one-a, one-b]
  group-by: [session.id]
  timespan: 20s
  condition: {{field: tool.name, gte: 1}}
tacho: {{first_seen: {{learning: {learning_s}s}}}}
"""


def compiled(*texts: str) -> RuleSet:
    return build(parse("---".join(texts), "made.yml"))


SETS = {
    "one": compiled(single("was so", "a"), counted(3, "session.id")),
    "two": compiled(single("is so", "a", "high"), counted(2, "session.id")),
    "three": compiled(single("is so", "b"), counted(3, "session.id", level="critical")),
    "five": compiled(of_all_kinds(least=2, learning_s=0, level="low")),
    "six": compiled(of_all_kinds(least=3, learning_s=5, level="high")),
    "four": compiled(counted(3, "principal.id"), counted(2, "session.id").replace("base", "b2")),
}


def plan_of(changes: list[Change], first: str) -> Plan:
    timeline = Timeline.of(changes, Period(0, first, ""))
    return Plan(timeline, {period: SETS[period.rules] for period in timeline.periods})


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "a", "b", "c"]),
        st.integers(0, 40),
        st.integers(0, 20),
        st.sampled_from(["s1", "s2"]),
        st.sampled_from(["P", "Q"]),
    ),
    max_size=30,
)
CHANGES = st.lists(
    st.builds(
        Change,
        from_us=st.integers(0, 60).map(lambda second: second * SECOND_US),
        order=st.integers(0, 1_000),
        subject=st.just("rules"),
        content=st.sampled_from(sorted(SETS)),
    ),
    max_size=3,
    unique_by=lambda change: change.order,
)


def rows_of(stream: list[tuple[str, int, int, str, str]]) -> list[dict[str, Any]]:
    return [
        {
            "event_id": plain_id(str(n)),
            "event_time": second,
            "observed_time": at(second + behind),
            "kind": "tool_call",
            "tool_name": tool,
            "session_id": session,
            "agent_id": session,
            "partition_key": session,
            "principal_id": principal,
        }
        for n, (tool, second, behind, session, principal) in enumerate(stream)
    ]


def told(signal: Signal) -> Signal:
    """As everybody would tell it: which record caused it is a matter of cuts."""
    return msgspec.structs.replace(signal, revision=0, change="new")


def judged_alone(rules: RuleSet, rows: list[dict[str, Any]]) -> dict[str, Signal]:
    standing, detector = Standing(), WholeDetector(rules, limits=LIMITS)
    standing.take(detector.process(frame(rows), [], 0).signals)
    standing.take(detector.close(1).signals)
    return {key: told(signal) for key, signal in standing.signals.items()}


def expected(plan: Plan, rows: list[dict[str, Any]]) -> dict[str, Signal]:
    """Each set judges everything by itself; of that holds what was observed in its time."""
    found: dict[str, Signal] = {}
    for period, rules in zip(plan.timeline.periods, plan.sets, strict=True):
        for key, signal in judged_alone(rules, rows).items():
            observed = signal.observed_time
            assert observed is not None
            if plan.timeline.at(int(observed.timestamp()) * SECOND_US) == period:
                found[key] = signal
    return found


@settings(max_examples=40, deadline=None)
@given(EVENTS, CHANGES, st.sampled_from(sorted(SETS)), st.integers(0, 2**32))
def test_what_stands_is_what_was_in_force_whatever_order_and_cuts(
    stream: list[tuple[str, int, int, str, str]], changes: list[Change], first: str, seed: int
) -> None:
    plan, chance = plan_of(changes, first), random.Random(seed)
    rows = rows_of(stream)
    detector, standing = WholeDetector(plan, limits=LIMITS), Standing()
    waiting = list(rows)
    chance.shuffle(waiting)
    while waiting:
        size = chance.randint(1, len(waiting))
        standing.take(detector.process(frame(waiting[:size]), [], 0).signals)
        waiting = waiting[size:]
    standing.take(detector.close(1).signals)
    found = {key: told(signal) for key, signal in standing.signals.items()}
    assert found == (expected(plan, rows) if rows else {})


def test_a_window_whose_last_event_moves_is_said_and_taken_back_as_the_rule_is_in_force() -> None:
    """Two of a kind are enough; the rule is in force from the 20th second on."""
    plan = plan_of([Change(20 * SECOND_US, 1, "rules", "two")], "three")
    [rule] = SETS["two"].correlations
    detector = PartitionDetector(plan)
    changes = []
    # (when it happened, how long after that it was observed)
    for number, (second, behind) in enumerate([(1, 0), (5, 1), (4, 18), (2, 1)]):
        [row] = rows_of([("a", second, behind, "s1", "P")])
        found = detector.process(frame([row | {"event_id": plain_id(str(number))}]), [], number)
        state, detector = detector.dump(), PartitionDetector(plan)
        detector.load(state)
        own = [one for one in found.signals if one.rule_version == rule.meta.version]
        changes.append([one.change for one in own])
    assert changes == [[], [], ["new"], ["retracted"]]


def test_a_rule_that_asks_the_same_in_a_new_set_keeps_what_it_has_seen() -> None:
    row = rows_of([("a", second, 0, "s1", "P") for second in (1, 2, 11)])
    detector = PartitionDetector(plan_of([], "one"))
    assert not detector.process(frame(row[:2]), [], 1).signals[2:]
    plan = plan_of([Change(5 * SECOND_US, 1, "rules", "three")], "one")
    detector.adopt(plan)
    state, detector = detector.dump(), PartitionDetector(plan)
    detector.load(state)
    [signal] = detector.process(frame([row[2] | {"event_time": 9}]), [], 2).signals
    assert (signal.rule_id, signal.severity, signal.event_count) == (
        "many-session.id",
        "critical",
        3,
    )


def test_reference_data_is_that_of_the_time_of_observation() -> None:
    text = single("destructive", "c").replace("tool.name: c", "tool.risk: destructive")
    mild, grave = (
        build(parse(text, "m.yml"), reference=of_tables({"tools": [{"name": "c", "risk": risk}]}))
        for risk in ("read", "destructive")
    )
    periods = [Period(-1, "r", "mild"), Period(20 * SECOND_US, "r", "grave")]
    plan = Plan(Timeline(periods), dict(zip(periods, (mild, grave), strict=True)))
    rows = rows_of([("c", second, 0, "s1", "P") for second in (10, 19, 20, 30)])
    found = PartitionDetector(plan).process(frame(rows), [], 1).signals
    assert sorted(int(s.event_time.timestamp()) for s in found) == [20, 30]
    assert {s.witness.versions["reference"] for s in found} == {grave.reference.version}


def test_a_rule_that_is_only_a_step_of_another_has_a_title_too() -> None:
    outer = """---
title: twice many
id: outer
correlation:
  type: event_count
  rules: [many-session.id]
  group-by: [session.id]
  timespan: 1m
  condition: {gte: 2}
"""
    plan = Plan.of(build(parse(counted(2, "session.id") + outer, "steps.yml")))
    assert plan.titles == {"many-session.id": "many by session.id", "outer": "twice many"}
