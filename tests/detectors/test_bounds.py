"""What one producer does beyond every bound takes nothing from the others, and frees its memory."""

from typing import Any

from tachograph.detectors.correlation.bank import SPARE_TABLES
from tachograph.detectors.engine import Engine
from tachograph.detectors.groups import Groups
from tachograph.detectors.limits import Limits
from tachograph.detectors.partition import PartitionDetector
from tachograph.schemas.alert import SignalGroup
from tachograph.schemas.identity import plain_id
from tests.detectors.made import SECOND_US, frame, rules, stateless

ANY_A = stateless("  s: {tool.name: a}\n  condition: s")
COUNTED = """
title: a
name: a
logsource: {category: any}
detection: {s: {tool.name: a}, condition: s}
---
title: three of a
correlation:
  type: event_count
  rules: [a]
  group-by: [session.id]
  timespan: 10s
  condition: {gte: 3}
"""


def action(name: str, time_s: float = 100, **more: Any) -> dict[str, Any]:
    return {
        "event_id": plain_id(name),
        "event_time": time_s,
        "tool_name": "a",
        "session_id": "main",
        "agent_id": "agent",
        **more,
    }


def test_the_context_of_an_alert_has_no_actions_of_another_tenant() -> None:
    detector = PartitionDetector(rules(ANY_A))
    detector.process(frame([action("x", tenant="one", tool_args="theirs")]), [], 1)
    found = detector.process(frame([action("y", tenant="two")]), [], 2)
    [context] = found.contexts
    assert context.tenant == "two"
    assert [said["event_id"] for said in context.actions] == [plain_id("y")]


def test_a_context_outlives_a_checkpoint() -> None:
    before, after = PartitionDetector(rules(ANY_A)), PartitionDetector(rules(ANY_A))
    before.process(frame([action("x", tenant="one", tool_name="b")]), [], 1)
    after.load(before.dump())
    [context] = after.process(frame([action("y", tenant="one")]), [], 2).contexts
    assert [said["event_id"] for said in context.actions] == sorted([plain_id("x"), plain_id("y")])


def test_facts_of_evicted_events_are_freed_while_the_watermark_stands_still() -> None:
    engine = Engine(rules(COUNTED), limits=Limits(events_per_rule=50))
    for number in range(300):
        names = [f"{number}/{place}" for place in range(10)]
        engine.judge(frame([action(n, 100 + number, session_id=n) for n in names]), number)
    # 50 events stand in five frames of ten.
    assert len(engine.bank._store.tables) <= 3 * SPARE_TABLES


def _crowd(detector: PartitionDetector, revision: int, *, hours_ahead: int) -> None:
    later = [action(f"f{n}", 100 + 3600 * (hours_ahead + n), far=True) for n in range(6)]
    detector.process(frame(later), [], revision)


def _one(groups: list[SignalGroup]) -> SignalGroup:
    [found] = groups
    return found


def test_actions_dated_far_ahead_push_out_no_group_of_the_present() -> None:
    detector = PartitionDetector(rules(ANY_A))
    detector.groups = Groups(max_groups=5)
    detector.tick(100 * SECOND_US, 1)
    said = _one(detector.process(frame([action(f"r{n}") for n in range(9)]), [], 2).groups)
    _crowd(detector, 3, hours_ahead=1_000)
    again = _one(detector.process(frame([action("r9")]), [], 4).groups)
    assert (again.group_id, again.count) == (said.group_id, 10)


def test_a_group_that_was_evicted_is_never_replaced_by_less() -> None:
    detector = PartitionDetector(rules(ANY_A))
    detector.groups = Groups(max_groups=5)
    detector.tick(100 * SECOND_US, 1)
    newest: dict[str, SignalGroup] = {}
    for revision in range(2, 12, 2):
        found = detector.process(frame([action(f"{revision}/{n}") for n in range(9)]), [], revision)
        _crowd(detector, revision + 1, hours_ahead=1 + revision)
        for group in found.groups:
            assert group.count >= newest.get(group.group_id, group).count
            newest[group.group_id] = group
        loaded = PartitionDetector(rules(ANY_A))
        loaded.groups = Groups(max_groups=5)
        loaded.load(detector.dump())
        detector = loaded
    assert detector.groups._evictions
    assert sum(group.count for group in newest.values()) == 5 * 9
