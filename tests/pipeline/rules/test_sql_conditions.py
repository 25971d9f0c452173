"""A condition asked of stored actions in SQL finds what the engine finds in the stream."""

import json
import random
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tachograph.detectors import tool_classes
from tachograph.detectors.language.conditions import (
    And,
    Cidr,
    Leaf,
    Node,
    Not,
    Number,
    Or,
    Pattern,
    Present,
    SameAs,
    Text,
    TextOp,
    TimePart,
    Truth,
    fields_of,
)
from tachograph.detectors.language.fields import ACTIONS
from tachograph.detectors.language.regexes import linear
from tachograph.detectors.language.ruleset import load
from tachograph.detectors.matching.matcher import Matcher
from tachograph.detectors.prepare import Preparation
from tachograph.detectors.reference.reference import of_tables, shipped
from tachograph.detectors.sql.conditions import condition_sql
from tachograph.detectors.sql.derived import STORED, column_sql
from tachograph.detectors.sql.text import NotExpressible, literals, name
from tachograph.detectors.sql.values import Values
from tachograph.schemas.batch import COLUMNS
from tests.pipeline.stored import Ask, Store

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TENANT = "parity"
WORDS = (
    "delete", "Delete_Files", "getHTMLPages", "runXML2Shell", "send-report", "a'b\\c",
    "ÄRGER", "ärger", "line\nend", "tab\there", "20.5", "7", "-3", "true", "FALSE", "10.1.2.3",
    "10.01.2.3",
    "fe80::1%eth0", "::ffff:1.2.3.4", "x{y}%s", "ᏣᎳᎩ", "no\u00a0break", "K", "ſt", "Σς", "İi",
    "a.b", "İ", "\"quoted\"", "--", "; DROP TABLE x",
)  # fmt: skip
REGEXES = (
    r"^del", r"e$", r"\bend\b", r"a.b", r"(?i)ärger", r"\s", r"\S+\s\S", r"[\w-]+", r"^\w+$", r"\d",
    r"[^\W_]+\d", r"[\s\S]e", r"[^\S\n]", r"(?m)^end", r"\u00e4|\u{1f600}", r"^[a-z.'\\-]+$",
    r"(?s)line.end", r"line.end", r"[[:digit:]]{2}", r"(?i)K", r"[A-Z&&[^D]]|^[\]x]",
)  # fmt: skip
TEXTS = ("tool_name", "target_resource", "content_text", "target_ip", "agent_name")
OTHERS = (
    "tool.args.to.name", "tool.args.n", "vendor.x", "attributes.y", "recipients", "content_labels",
    "event_time", "sequence", "duration_ms", "synthetic", "tool_risk", "content_trust", "tool_sink",
)  # fmt: skip


def actions(count: int, seed: int) -> pl.DataFrame:
    """Actions full of awkward values; never an empty text, which the store takes for none."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        row: dict[str, Any] = {
            "tenant": TENANT,
            "partition_key": "place",
            "event_id": f"{number:032x}",
            "event_time": NOON + timedelta(minutes=chance.randrange(600_000)),
            "observed_time": NOON,
            "kind": chance.choice(["tool_call", "tool_result", "prompt", "http", "retrieval"]),
            "sequence": chance.choice([None, 0, 7, -3, 2**40]),
            "duration_ms": chance.choice([None, 0.0, 7.0, 20.5, -3.25, 1e22]),
            "synthetic": chance.choice([None, True, False]),
            "recipients": chance.choice([None, chance.sample(WORDS, chance.randint(1, 3))]),
            "content_labels": chance.choice([None, ["pii"], ["PII", "secret"]]),
            "tool_result": chance.choice([None, "x"]),
            "attributes": chance.choice(
                [
                    None,
                    [{"key": "vendor.x", "value": chance.choice(WORDS)}],
                    [{"key": "y", "value": "z"}, {"key": "w", "value": chance.choice(WORDS)}],
                ]
            ),
            "tool_args": chance.choice([None, "no json", json.dumps(_arguments(chance))]),
        }
        row |= {field: chance.choice([None, *WORDS]) for field in TEXTS}
        rows.append(row)
    return pl.DataFrame(rows, schema={column: COLUMNS[column] for column in rows[0]})


def _arguments(chance: random.Random) -> dict[str, Any]:
    values = [*WORDS, 7, -3, 20.5, 1.0, True, None, ["a", {"b": 1}], {"c": "d"}]
    return {"to": {"name": chance.choice(values)}, "n": chance.choice(values)}


FRAME = actions(400, 4)
fields = st.sampled_from([*TEXTS, *OTHERS])
NUMBERS = ["eq", "ne", "lt", "lte", "gt", "gte"]
ENDS: list[TextOp] = ["equals", "prefix", "suffix", "contains"]
NETWORKS = ["10.0.0.0/8", "fe80::/10", "::ffff:0:0/96"]
tests = st.one_of(
    st.builds(
        Text,
        st.sampled_from(ENDS),
        st.sampled_from([*WORDS, "e", "a", "\\", "'", "%"]).map(str.lower),
    ),
    st.builds(Text, st.sampled_from(ENDS), st.sampled_from(WORDS), st.just(value=True)),
    st.builds(Pattern, st.sampled_from(REGEXES).map(linear)),
    st.builds(Number, st.sampled_from(NUMBERS), st.sampled_from([7, -3, 20.5])),
    st.builds(Truth, st.booleans()),
    st.builds(Present, st.booleans()),
    st.builds(Cidr, st.sampled_from(NETWORKS).map(ip_network)),
    st.builds(
        SameAs, st.sampled_from(["tool_name", "vendor.x", "recipients"]), st.sampled_from(ENDS)
    ),
)
parts = st.sampled_from(["minute", "hour", "day", "week", "month", "year"])
times = st.builds(
    TimePart, parts, st.sampled_from(["eq", "lt", "gte"]), st.sampled_from([3, 12, 30, 2026])
)
leaves = st.one_of(
    st.builds(Leaf, fields, tests),
    st.builds(Leaf, st.just("event_time"), times),
    st.builds(Leaf, st.none(), tests.filter(lambda test: isinstance(test, Text | Pattern))),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=1, max_size=4).map(tuple)),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def stored(store: Store) -> None:
    """The actions in ClickHouse."""
    store(FRAME)


def in_engine(nodes: list[Node]) -> list[set[str]]:
    """Ids of the actions that match each condition, as the engine judges."""
    columns = sorted({ACTIONS.source(f).column for node in nodes for f in fields_of(node)})
    every = [*columns, *ACTIONS.keyword_columns(ACTIONS.columns or {})]
    ready = Preparation(every, ACTIONS, shipped())(FRAME)
    found = Matcher(nodes, ACTIONS).match(ready)
    ids = ready["event_id"].to_list()
    return [{ids[row] for row in found.get(at, [])} for at in range(len(nodes))]


def in_sql(nodes: list[Node], ask: Ask) -> list[set[str]]:
    """The same, as ClickHouse does: all conditions in one query."""
    values = Values()
    asked = [condition_sql(node, values) for node in nodes]
    columns = {**values.columns, "event_id": None}
    chosen = ", ".join(f"{column_sql(one, shipped())} AS {name(one)}" for one in columns)
    counted = ", ".join(f"groupArrayIf(event_id, {condition})" for condition in asked)
    inner = f"SELECT {chosen} FROM tacho.actions AS {STORED} WHERE {STORED}.tenant = '{TENANT}'"
    [row] = ask(f"SELECT {counted} FROM ({inner})")
    return [set(ids) for ids in row]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes=st.lists(conditions, min_size=6, max_size=6))
def test_generated_conditions_find_the_same_actions(
    nodes: list[Node], ask: Ask, stored: None
) -> None:
    same(nodes, ask)


def same(nodes: list[Node], ask: Ask) -> None:
    for node, engine, sql in zip(nodes, in_engine(nodes), in_sql(nodes, ask), strict=True):
        assert engine == sql, node


@pytest.mark.parametrize("fields", [TEXTS, OTHERS], ids=["texts", "others"])
def test_every_field_is_found_as_it_is(fields: tuple[str, ...], ask: Ask, stored: None) -> None:
    for field in fields:
        texts: list[Node] = [Leaf(field, Text("equals", word.lower())) for word in WORDS]
        same([*texts, Leaf(field, Present(value=True)), Leaf(field, Text("contains", "e"))], ask)


def test_lists_are_compared_value_by_value(ask: Ask, stored: None) -> None:
    """Either side may be one; a value may begin, end or hold another."""
    pairs = [("recipients", "tool_name"), ("tool_name", "recipients"), ("recipients", "recipients")]
    same([Leaf(mine, SameAs(theirs, op)) for mine, theirs in pairs for op in ENDS], ask)


def test_every_expression_is_spelled_right(ask: Ask, stored: None) -> None:
    same([Leaf("content_text", Pattern(linear(regex))) for regex in REGEXES], ask)


def test_conditions_of_shipped_rules_find_the_same_actions(ask: Ask, stored: None) -> None:
    nodes = [detection.condition for detection in load().detections]
    sayable = [node for node in nodes if _sayable(node)]
    assert len(sayable) > len(nodes) / 2
    # One query of all would take long to compile.
    for at in range(0, len(sayable), 25):
        same(sayable[at : at + 25], ask)


def _sayable(node: Node) -> bool:
    """Whether it asks nothing but what stored actions have."""
    try:
        condition_sql(node, Values())
    except NotExpressible as error:
        assert "which no stored action has" in str(error)  # noqa: PT017 - the only reason there is
        return False
    return True


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (Leaf("tool_name", Pattern(linear("a"), exact="(?=a)")), "tool_name: look-around"),
        (Leaf("register.known", Truth(value=True)), "register.known is reference data"),
        (Leaf("start_tme", TimePart("hour", "eq", 3)), "start_tme is a text"),
        (Leaf("tool_name", Pattern(r"\B")), "means other words"),
        (Leaf("tool_name", Pattern(linear(r"[^\W\S]"))), "take a set apart"),
        (Leaf("tool_name", Pattern(r"\p{Alphabetic}")), "RE2 refuses"),
    ],
)
def test_what_sql_cannot_say_is_an_error_that_names_the_part(node: Node, reason: str) -> None:
    with pytest.raises(NotExpressible, match=re.escape(reason)):
        condition_sql(node, Values())


def test_a_register_of_tools_decides_where_sql_cannot_follow() -> None:
    known = of_tables({"tools": [{"name": "x", "risk": "read"}]})
    with pytest.raises(NotExpressible, match="tool_risk: reference data decides it"):
        column_sql("tool_risk", known)
    assert "tool_risk" in column_sql("tool_risk", shipped())


def test_names_of_tools_are_taken_apart_alike(ask: Ask) -> None:
    chance = random.Random(2)
    words = [*sorted({word for _, kind in tool_classes.RISKS for word in kind}), "HTML", "x2", "Ü"]
    joints = ("_", "-", ".", " ", "", "/", "9")
    names = [
        "".join(
            chance.choice([word, word.title(), word.upper(), f"{word}s"]) + chance.choice(joints)
            for word in chance.sample(words, chance.randint(1, 3))
        )
        for _ in range(3_000)
    ]
    names += ["x" * 199 + "Delete", "ABc", "aB", "HTMLParser", "getURLs", "a1B2c", "s", "bus"]
    for column, guess in (
        ("tool_risk", tool_classes.risk_of),
        ("content_trust", tool_classes.trust_of),
    ):
        made = f"arrayJoin({literals(names)}) AS tool_name, 'retrieval' AS kind"
        inner = f"SELECT {made}, '' AS tool_risk, '' AS content_trust, '' AS tool_result"
        asked = f"SELECT tool_name, {column_sql(column, shipped())} FROM ({inner}) AS {STORED}"
        assert dict(ask(asked)) == {one: guess(one) or "" for one in names}
