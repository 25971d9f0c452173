"""What is told of a window is what its events are, counted by hand; and it outlives a restart."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.correlation.matched import rule_key
from tachograph.detectors.correlation.window_state import WindowState
from tachograph.detectors.partition import PartitionDetector
from tests.detectors.made import SECOND_US, at, frame, rules

SPAN_S, GAP_S = 10, 3
Row = tuple[int, str, str, bool]  # second, tool, target, late
Oracle = Callable[[list[Row]], tuple[float, bool]]

SINGLE = "".join(
    f"""
title: {tool}
name: {tool}
logsource: {{category: any}}
detection: {{s: {{tool.name: {tool}}}, condition: s}}
---"""
    for tool in "ab"
)


def correlation(kind: str, condition: str = "", of: str = "a, b", more: str = "") -> str:
    return f"""{SINGLE}
title: asked
id: asked
correlation:
  type: {kind}
  rules: [{of}]
  group-by: [session.id]
  timespan: {SPAN_S}s
{f"  condition: {condition}" if condition else ""}
{more}
"""


def sliding(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row[0] > rows[-1][0] - SPAN_S]


def tumbling(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row[0] // SPAN_S == rows[-1][0] // SPAN_S]


def sitting(rows: list[Row]) -> list[Row]:
    window: list[Row] = []
    for row in rows:
        if window and (row[0] - window[-1][0] > GAP_S or row[0] - window[0][0] > SPAN_S):
            window = []
        window.append(row)
    return window


def counted(rows: list[Row]) -> tuple[float, bool]:
    return len(rows), len(rows) >= 3


def different(rows: list[Row]) -> tuple[float, bool]:
    number = len({target for _, _, target, _ in rows})
    return number, number >= 2


def together(rows: list[Row]) -> tuple[float, bool]:
    number = len({tool for _, tool, _, _ in rows})
    return number, number == 2


def in_order(rows: list[Row]) -> tuple[float, bool]:
    """a and then b; those of one moment come in the order of their ids, which is that here."""
    tools = [tool for _, tool, _, _ in rows]
    whole = "a" in tools and "b" in tools[tools.index("a") :]
    return (2 if whole else int("a" in tools)), whole


def unanswered(rows: list[Row]) -> tuple[float, bool]:
    tools = [tool for _, tool, _, _ in rows]
    return next((n for n, tool in enumerate(reversed(tools)) if tool == "b"), len(tools)), False


KINDS: dict[str, tuple[str, Callable[[list[Row]], list[Row]], Oracle]] = {
    "count": (correlation("event_count", "{gte: 3}"), sliding, counted),
    "tumbling": (
        correlation("event_count", "{gte: 3}", more="tacho: {window: tumbling}"),
        tumbling,
        counted,
    ),
    "session": (
        correlation("event_count", "{gte: 3}", more=f"tacho: {{window: session, gap: {GAP_S}s}}"),
        sitting,
        counted,
    ),
    "values": (
        correlation("value_count", "{field: target.resource, gte: 2}"), sliding, different,
    ),
    "together": (correlation("temporal"), sliding, together),
    "order": (correlation("temporal_ordered"), sliding, in_order),
    "absence": (correlation("temporal_ordered", more="tacho: {absent: b}"), sliding, unanswered),
}  # fmt: skip
ROWS = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans()).map(
        lambda row: (*row[:3], row[3] and row[0] % 5 == 0)
    ),
    min_size=1,
    max_size=14,
)


def held(text: str, stream: list[Row]) -> list[WindowState]:
    """As of a checkpoint after these actions."""
    compiled = rules(text)
    [rule] = compiled.correlations
    detector = PartitionDetector(compiled)
    given_: list[dict[str, Any]] = [
        {
            "event_id": f"{number:032x}", "event_time": second, "observed_time": at(second),
            "kind": "tool_call", "tool_name": tool, "target_resource": target, "late": late,
            "session_id": "s",
        }
        for number, (second, tool, target, late) in enumerate(stream)
    ]  # fmt: skip
    detector.process(frame(given_), [], 1)
    state, detector = detector.dump(), PartitionDetector(compiled)
    detector.load(state)
    return detector.engine.bank.windows(rule_key(rule))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(stream=ROWS)
def test_a_window_is_told_as_it_is(kind: str, stream: list[Row]) -> None:
    text, window_of, oracle = KINDS[kind]
    stream = sorted(stream, key=lambda row: row[0])
    numbered = [(row, f"{number:032x}") for number, row in enumerate(stream)]
    timely = [row for row in stream if not row[3]]
    found = held(text, stream)
    if not timely:
        assert not found
        return
    [state], window = found, window_of(timely)
    assert (state.value, state.holds) == oracle(window)
    assert state.group == {"session.id": "s"}
    ends = window[0][0] * SECOND_US, window[-1][0] * SECOND_US
    assert (state.first_us, state.newest_us) == ends
    tools = [tool for _, tool, _, _ in window]
    assert (state.events, state.steps) == (len(window), {tool: tools.count(tool) for tool in "ab"})
    ids = [event_id for row, event_id in numbered if not row[3]]
    assert state.event_ids == ids[-len(window) :][-10:]


def test_of_first_seen_values_the_number_known_is_told_and_how_long_it_only_watches() -> None:
    learning = "tacho: {first_seen: {learning: 5s}}"
    text = correlation("value_count", "{field: target.resource, gte: 1}", more=learning)
    stream: list[Row] = [(2, "a", "x", False), (3, "b", "y", False), (4, "a", "x", False)]
    [state] = held(text, stream)
    assert state.value == 2
    assert state.learning_until_us == 7 * SECOND_US


def test_a_rule_that_saw_nothing_holds_nothing() -> None:
    assert held(correlation("event_count", "{gte: 3}"), [(1, "c", "x", False)]) == []
