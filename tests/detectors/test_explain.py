"""An explanation says what the engine says, and each of its parts is true of the event."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.detectors.explain import MAX_PARTS, Explainer, Part
from tachograph.detectors.language.conditions import And, Leaf, Node, Not, Or, Present, Text
from tachograph.detectors.language.fields import ACTIONS
from tachograph.detectors.language.wording import worded
from tests.detectors.made import frame, rules, stateless

WORDS = ("a", "b", "ab")
FIELDS = ("tool_name", "target_resource")
leaves = st.builds(
    Leaf,
    st.sampled_from(FIELDS),
    st.one_of(
        st.builds(Text, st.sampled_from(["equals", "contains"]), st.sampled_from(WORDS)),
        st.builds(Present, st.booleans()),
    ),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)
events = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from([*WORDS, "c"]) for name in FIELDS}
)


def holds(node: Node, event: dict[str, str]) -> bool:
    """The oracle: what the condition says of the event."""
    match node:
        case And(parts):
            return all(holds(part, event) for part in parts)
        case Or(parts):
            return any(holds(part, event) for part in parts)
        case Not(part):
            return not holds(part, event)
        case Leaf(name, Present(value)):
            return (name in event) is value
        case Leaf(name, Text(op, value)):
            found = event.get(name or "")
            return found is not None and (found == value if op == "equals" else value in found)
    raise AssertionError(node)


def parts_of(part: Part) -> Iterator[Part]:
    yield part
    for inner in part.parts:
        yield from parts_of(inner)


def explainer(rows: list[dict[str, str]], *nodes: Node) -> Explainer:
    named = [{**row, "event_id": f"{at:032x}", "event_time": at} for at, row in enumerate(rows)]
    return Explainer(frame(named), nodes, ACTIONS)


@given(conditions, st.lists(events, min_size=1, max_size=4))
def test_the_parts_that_tell_are_those_that_decide(node: Node, rows: list[dict[str, str]]) -> None:
    made = explainer(rows, node)
    assert made.matches(node).tolist() == [at for at, row in enumerate(rows) if holds(node, row)]
    for at, row in enumerate(rows):
        why = made.why(node, at)
        assert why.holds == holds(node, row)
        assert (made.nearness(node)[at] == 1) >= why.holds
        for part in parts_of(why):
            if isinstance(part.field, str):
                assert part.found == row.get(part.field)


@pytest.mark.parametrize(
    ("detection", "words"),
    [
        ("{tool.name: x}", "tool.name is 'x'"),
        ("{tool.name|contains: [x, y]}", "tool.name contains 'x' or 'y'"),
        ("{tool.name|startswith: [a, b, c, d]}", "tool.name begins with 'a' or 'b' or 'c', … (4)"),
        ("{tool.name|cased|endswith: X}", "tool.name ends with exactly 'X'"),
        (r"{tool.name|re: '\bx\b'}", r"tool.name matches /\bx\b/"),
        ("{tool.name|exists: false}", "tool.name has no value"),
        ("{tool.name: null}", "tool.name has no value"),
        ("{tool.name: '*'}", "tool.name has a value"),
        ("{sequence|gte: 3}", "sequence ≥ 3"),
        ("{tool.error: true}", "tool.error is true"),
        ("{target.ip|cidr: 10.0.0.0/8}", "target.ip is in 10.0.0.0/8"),
        ("{tool.name|fieldref: agent.name}", "tool.name is the value of agent.name"),
        ("{event.time|hour: 3}", "event.time has hour = 3"),
        ("[word, other]", "any text contains 'word' or 'other'"),
        ("{tool.name: a, agent.name: b}", "tool.name is 'a' and agent.name is 'b'"),
    ],
)
def test_conditions_are_said_in_words(detection: str, words: str) -> None:
    found = rules(stateless(f"  s: {detection}\n  condition: s")).detections[0]
    assert worded(found.condition) == words


def test_of_many_alternatives_only_those_that_hold_are_named() -> None:
    node = Or(tuple(Leaf("tool_name", Text("contains", f"word{n:02}")) for n in range(40)))
    made = explainer([{"tool_name": "word17"}, {"tool_name": "other"}], node)
    assert made.why(node, 0).asked == "tool_name contains 'word17'"
    assert made.why(node, 1).asked.endswith("… (40)")
    assert made.why(node, 1).found == "other"


def test_a_part_with_very_many_parts_shows_some_and_counts_the_rest() -> None:
    node = And(tuple(Leaf(f"attributes.x{n}", Text("equals", "y")) for n in range(20)))
    why = explainer([{}], node).why(node, 0)
    assert (len(why.parts), why.more) == (MAX_PARTS, 20 - MAX_PARTS)
