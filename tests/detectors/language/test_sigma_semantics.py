"""What Sigma's words mean, one by one; and that being quick never changes the answer."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.engine import Engine
from tachograph.detectors.language.conditions import (
    And,
    Leaf,
    Node,
    Not,
    Or,
    Pattern,
    Present,
    Text,
)
from tachograph.detectors.language.fields import ACTIONS, RAW
from tachograph.detectors.language.regexes import linear
from tachograph.detectors.matching.lookaround import split
from tachograph.detectors.matching.lowering import Lowering
from tachograph.detectors.matching.matcher import Matcher
from tachograph.pipeline.scan.raw_frames import RawFrames
from tests.detectors.made import frame, rules, stateless

CMD = {"CommandLine": r'C:\Windows\CMD.exe /c "echo Hello"', "EventID": 4688, "User": None}


@pytest.mark.parametrize(
    ("selection", "event", "matches"),
    [
        # Text is compared without regard to case, the whole of it.
        ("{Image: 'cmd.EXE'}", {"Image": "CMD.exe"}, True),
        ("{Image: cmd}", {"Image": "cmd.exe"}, False),
        ("{Image|cased: cmd.EXE}", {"Image": "cmd.exe"}, False),
        ("{Image|cased: cmd.exe}", {"Image": "cmd.exe"}, True),
        ("{Name: ÄPFEL}", {"Name": "äpfel"}, True),
        # Wildcards, and wildcards that are meant as characters.
        ("{Image: '*\\cmd.exe'}", {"Image": r"C:\x\CMD.EXE"}, True),
        ("{Image: 'c?d.exe'}", {"Image": "cmd.exe"}, True),
        ("{Image: 'c?d.exe'}", {"Image": "cmmd.exe"}, False),
        ("{Image: 'a*b*c'}", {"Image": "aXXbYYc"}, True),
        ("{Image: 'a*b*c'}", {"Image": "aXXbYYcd"}, False),
        (r"{Image: 'a\*b'}", {"Image": "a*b"}, True),
        (r"{Image: 'a\*b'}", {"Image": "axb"}, False),
        (r"{Image: 'a\\*b'}", {"Image": r"a\zzb"}, True),
        ("{Image: 'a*b'}", {"Image": "a\nb"}, True),
        ("{Image: '*'}", {"Image": "x"}, True),
        ("{Image: '*'}", {"Other": "x"}, False),
        # Parts of a text.
        ("{CommandLine|contains: 'ECHO hel'}", CMD, True),
        ("{CommandLine|contains|all: [echo, cmd]}", CMD, True),
        ("{CommandLine|contains|all: [echo, nope]}", CMD, False),
        ("{CommandLine|contains: [nope, echo]}", CMD, True),
        ("{CommandLine|startswith: 'c:\\windows'}", CMD, True),
        ("{CommandLine|endswith: 'hello\"'}", CMD, True),
        ("{CommandLine|contains: '100%'}", {"CommandLine": "is 100% [sure]"}, True),
        # Regular expressions look for a part, and mind case unless told otherwise.
        ("{CommandLine|re: 'echo\\s+H'}", CMD, True),
        ("{CommandLine|re: 'ECHO'}", CMD, False),
        ("{CommandLine|re|i: 'ECHO'}", CMD, True),
        ("{Text|re: 'a.b'}", {"Text": "a\nb"}, False),
        ("{Text|re|s: 'a.b'}", {"Text": "a\nb"}, True),
        ("{Text|re|m: '^b$'}", {"Text": "a\nb\nc"}, True),
        (r"{Text|re: '\<b\>'}", {"Text": "a <b>"}, True),
        (r"{Text|re: '[[&~]x'}", {"Text": "[x"}, True),
        # They may look around, forwards and backwards.
        ("{Text|re: 'https?://(?!localhost)'}", {"Text": "http://localhost"}, False),
        ("{Text|re: 'https?://(?!localhost)'}", {"Text": "http://localhost http://x"}, True),
        ("{Text|re|i: '(?<=GET\\s{1,3})/admin'}", {"Text": "get  /ADMIN"}, True),
        ("{Text|re: '(?=.*b)(?=.*a)'}", {"Text": ["a", "b"]}, False),
        ("{Text|re: '(?=.*b)(?=.*a)'}", {"Text": ["c", "ba"]}, True),
        ("['x', '|re': 'a(?!b)']", {"Text": "ab", "Other": "ac"}, True),
        ("{'|re': 'a(?!b)'}", {"Text": "ab", "Other": "ab"}, False),
        # Numbers, and numbers written as text.
        ("{EventID: 4688}", CMD, True),
        ("{EventID: '4688'}", CMD, True),
        ("{EventID: 4688}", {"EventID": "4688"}, True),
        ("{EventID|gte: 4688}", CMD, True),
        ("{EventID|gt: 4688}", CMD, False),
        ("{EventID|lt: 5000.5}", CMD, True),
        ("{EventID|lte: 4}", {"EventID": "3.5"}, True),
        ("{EventID|contains: '68'}", CMD, True),
        ("{EventID|neq: 1}", CMD, True),
        ("{EventID|neq: [1, 4688]}", CMD, False),
        ("{EventID|contains: 68}", CMD, True),
        ("{EventID|startswith: [99, 46]}", CMD, True),
        ("{User|neq: null}", CMD, False),
        ("{Absent|neq: x}", CMD, True),
        ("{Ok: true}", {"Ok": True}, True),
        ("{Ok: false}", {"Ok": "False"}, True),
        # Parts of a time, in UTC; as text, or as a number since 1970.
        ("{T|hour: 23}", {"T": "2026-11-23T23:05:00Z"}, True),
        ("{T|hour: 23}", {"T": "2026-11-24T00:05:00+01:00"}, True),
        ("{T|hour: 23}", {"T": "2026-11-23 23:05:00.123456789"}, True),
        ("{T|minute: 5}", {"T": "2026-11-23T23:05:00Z"}, True),
        ("{T|minute: 5}", {"T": "2026-11-23T23:15:00Z"}, False),
        ("{T|day: 23}", {"T": "2026-11-23"}, True),
        ("{T|week: 53}", {"T": "2027-01-01T00:00:00Z"}, True),
        ("{T|month: 11}", {"T": 1795388700}, True),
        ("{T|month: 11}", {"T": "1795388700000"}, True),
        ("{T|year: 2026}", {"T": "2026-11-23T23:05:00Z"}, True),
        ("{T|hour|gte: 22}", {"T": "2026-11-23T23:05:00Z"}, True),
        ("{T|hour|lt: 22}", {"T": "2026-11-23T23:05:00Z"}, False),
        ("{T|hour: [1, 23]}", {"T": "2026-11-23T23:05:00Z"}, True),
        ("{T|hour|neq: 23}", {"T": "2026-11-23T23:05:00Z"}, False),
        ("{T|hour: 23}", {"T": "at eleven"}, False),
        ("{T|hour: 23}", {"T": ["2026-11-23T01:05:00Z", "2026-11-23T23:05:00Z"]}, True),
        # Nothing there.
        ("{User: null}", CMD, True),
        ("{EventID: null}", CMD, False),
        ("{Nowhere: null}", CMD, True),
        ("{User|exists: false}", CMD, True),
        ("{EventID|exists: true}", CMD, True),
        # A null that is said is no value; whatever else is said is one.
        ("{User|exists: true}", CMD, False),
        *(("{A|exists: true}", {"A": said}, True) for said in ("", [], [None], {}, {"b": None}, 0)),
        ("{A.b|exists: true}", {"A": {"b": None}}, False),
        ("{A.b|exists: false}", {"A": {"b": None}}, True),
        ("{Text: ''}", {"Text": ""}, True),
        ("{Text: ''}", {"Other": "x"}, False),
        # Other fields of the same event.
        ("{A|fieldref: B}", {"A": "x", "B": "X"}, True),
        ("{A|fieldref: B}", {"A": "x", "B": "y"}, False),
        ("{A|cased|fieldref: B}", {"A": "x", "B": "X"}, False),
        ("{A|fieldref|cased: B}", {"A": "x", "B": "X"}, False),
        ("{A|fieldref|cased|startswith: B}", {"A": "Xyz", "B": "Xy"}, True),
        ("{A|fieldref|startswith|cased: B}", {"A": "Xyz", "B": "XY"}, False),
        ("[{A|fieldref|cased: B}, {B: nothing}]", {"A": "x", "B": "X"}, False),
        ("{A|fieldref: B}", {"A": None, "B": None}, False),
        ("{A|fieldref|startswith: B}", {"A": "xyz", "B": "XY"}, True),
        ("{A|fieldref|endswith: B}", {"A": "xyz", "B": "YZ"}, True),
        ("{A|fieldref|endswith: B}", {"A": "xyz", "B": "XY"}, False),
        ("{A|fieldref|contains: B}", {"A": "xyz", "B": "Y"}, True),
        ("{A|fieldref|contains: B}", {"A": "xyz", "B": "a"}, False),
        ("{A|fieldref|neq: B}", {"A": "xyz", "B": "a"}, True),
        ("{A|fieldref: [C, B]}", {"A": "x", "B": "X"}, True),
        # Networks.
        ("{Ip|cidr: 10.0.0.0/8}", {"Ip": "10.200.3.4"}, True),
        ("{Ip|cidr: 10.0.0.0/8}", {"Ip": "11.0.0.1"}, False),
        ("{Ip|cidr: 10.0.0.0/8}", {"Ip": "10.0.0.999x"}, False),
        ("{Ip|cidr: 10.0.0.0/8}", {"Ip": "10.0.0.256"}, False),
        ("{Ip|cidr: 10.0.0.0/8}", {"Ip": "010.0.0.1"}, False),
        ("{Ip|cidr: '2001:db8::/32'}", {"Ip": "2001:DB8:0:1::5"}, True),
        ("{Ip|cidr: '2001:db8::/32'}", {"Ip": "10.0.0.1"}, False),
        # Encodings.
        ("{Text|base64|contains: 'secret'}", {"Text": "x=c2VjcmV0"}, True),
        ("{Text|base64offset|contains: 'secret'}", {"Text": "YXNlY3JldA=="}, True),
        ("{Text|wide|base64offset|contains: 'ping'}", {"Text": "cABpAG4AZwA="}, True),
        ("{Text|utf16le|base64|contains: 'ping'}", {"Text": "x cABpAG4AZwA="}, True),
        ("{Text|utf16be|base64|contains: 'ping'}", {"Text": "x AHAAaQBuAGc="}, True),
        ("{Text|utf16|base64|contains: 'ping'}", {"Text": "x //5wAGkAbgBnAA=="}, True),
        # ä, and größe, which are more than ASCII.
        ("{Text|wide|base64offset|contains: 'ä'}", {"Text": "eAB4AOQAeQB5AA=="}, True),
        ("{Text|wide|base64offset|contains: 'äx'}", {"Text": "eAB4AOUAeQB5AA=="}, False),
        ("{Text|utf16|base64: 'größe'}", {"Text": "//5nAHIA9gDfAGUA"}, True),
        ("{Text|utf16|base64: 'größe'}", {"Text": "x //5nAHIA9gDfAGUA"}, False),
        ("{Text|utf16be|base64|startswith|cased: 'ö'}", {"Text": "APY= x"}, True),
        ("{Text|utf16be|base64|startswith|cased: 'ö'}", {"Text": "apy= x"}, False),
        ("{Text|wide|base64offset|contains|all: [ä, ab]}", {"Text": "5ABhAGIA"}, True),
        ("{Text|wide|base64offset|contains|all: [ä, ac]}", {"Text": "5ABhAGIA"}, False),
        ("{Text|base64|contains: 'secret'}", {"Text": "x=C2VJCMV0"}, True),
        ("{Text|base64|cased|contains: 'secret'}", {"Text": "x=C2VJCMV0"}, False),
        ("{Text|windash|contains: ' -n '}", {"Text": "ping /n 1"}, True),
        ("{Text|windash|contains: ' /n '}", {"Text": "ping -n 1"}, True),
        ("{Text|windash|contains: ' -n '}", {"Text": "ping \u2014n 1"}, True),
        ("{Text|windash|contains: ' -n '}", {"Text": "ping \u2015n 1"}, True),
        ("{Text|windash|contains: ' -n '}", {"Text": "ping \u2212n 1"}, False),
        ("{Text|windash|contains: ' -a -b -c -d '}", {"Text": "x -a /b \u2013c \u2014d "}, True),
        ("{Text|windash|contains: ' -a -b -c -d '}", {"Text": "x -a /b \u2013c d "}, False),
        ("{Text|windash|contains|all: [' -a -b -c -d ', 'X']}", {"Text": "x -a -b -c /d "}, True),
        ("{Text|windash|contains: ' -n '}", {"Text": "ping \u2013n 1"}, True),
        # Whole numbers are exact, however large.
        ("{Id: 9007199254740993}", {"Id": 9007199254740993}, True),
        ("{Id: 9007199254740993}", {"Id": 9007199254740992}, False),
        ("{Id: [1, 12345678901234567890]}", {"Id": 12345678901234567890}, True),
        ("{Id|neq: 9007199254740993}", {"Id": 9007199254740992}, True),
        ("{Id|gt: 9007199254740993}", {"Id": 9007199254750000}, True),
        ("[9007199254740993]", {"Id": "no 9007199254740993"}, True),
        # Lists match if any of their values does.
        ("{Tags: b}", {"Tags": ["a", "B"]}, True),
        ("{Tags|contains|all: [a, b]}", {"Tags": ["xa", "bx"]}, True),
        ("{Tags|re: '^b'}", {"Tags": ["a", "b"]}, True),
        ("{Tags: c}", {"Tags": ["a", "b"]}, False),
        ("{Sizes|gt: 5}", {"Sizes": [1, 9]}, True),
        # Names with dots and spaces.
        ("{a.b.c: x}", {"a": {"b": {"c": "X"}}}, True),
        ("{'user name': bob}", {"user name": "Bob"}, True),
        ("{items.name: n2}", {"items": [{"name": "n1"}, {"name": "n2"}]}, True),
        # Keywords look everywhere.
        ("[hello, nothing]", CMD, True),
        ("['*hel?o*']", CMD, True),
        ("[4688]", CMD, True),
        ("[absent]", CMD, False),
        ("{'|all': [echo, windows]}", CMD, True),
        ("{'|re': 'H.llo'}", CMD, True),
    ],
)
def test_a_selection_means(selection: str, event: dict[str, Any], matches: bool) -> None:
    text = stateless(f"  s: {selection}\n  condition: s")
    assert _matches(text, event) is matches


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ("a and b", False),
        ("a or b", True),
        ("not b", True),
        ("not a", False),
        ("a and not b", True),
        ("not (a and b)", True),
        ("1 of them", True),
        ("all of them", False),
        ("1 of sel_*", True),
        ("all of sel_*", True),
        ("a and (b or not (b or not a))", True),
        ("not 1 of fil*", True),
        ("notepad", True),
    ],
)
def test_a_condition_means(condition: str, matches: bool) -> None:
    selections = (
        "  a: {x: 1}\n  b: {y: 1}\n  sel_1: {x: 1}\n  sel_2: {x|exists: true}\n"
        "  fil: {z: 1}\n  notepad: {x: 1}\n"
    )
    assert _matches(stateless(f"{selections}  condition: {condition}"), {"x": 1}) is matches


def test_a_list_of_maps_means_any_of_them_and_a_map_means_all() -> None:
    text = stateless("  s: [{x: 1, y: 1}, {z: 1}]\n  condition: s")
    assert not _matches(text, {"x": 1})
    assert _matches(text, {"x": 1, "y": 1})
    assert _matches(text, {"z": 1})


def test_fields_of_actions_reach_into_arguments_and_attributes() -> None:
    asked = "tool.args.path.file: /etc/passwd, vendor.tier: gold, content.guardrail.verdict: block"
    engine = Engine(rules(stateless(f"  s: {{{asked}}}\n  condition: s")))
    row = {
        "event_id": "1" * 32,
        "event_time": 1,
        "tool_args": '{"path": {"file": "/etc/passwd"}}',
        "attributes": [{"key": "vendor.tier", "value": "Gold"}, {"key": "x", "value": "y"}],
        "guardrail_verdict": "BLOCK",
    }
    other = {**row, "event_id": "2" * 32, "tool_args": "no JSON"}
    (signal,) = engine.judge(frame([row, other]), 1).signals
    assert signal.event_ids == ["1" * 32]
    assert signal.reason.fields["vendor.tier"] == "Gold"


def test_a_time_of_an_action_has_parts() -> None:
    at_night = stateless("  s: {event.time|hour|gte: 22, event.time|week: 2}\n  condition: s")
    rows = [
        {"event_id": f"{place:032x}", "event_time": (8 * 24 + hour) * 3600.0}
        for place, hour in enumerate((21, 22))
    ]
    (signal,) = Engine(rules(at_night)).judge(frame(rows), 1).signals
    assert int(signal.event_ids[0], 16) == 1


@pytest.mark.parametrize("others", [0, 80])
def test_a_keyword_is_looked_for_in_every_text_of_an_action(others: int) -> None:
    more = "".join(
        f"---\n{stateless(f'  s: {{tool.name: other{number}}}' + chr(10) + '  condition: s')}"
        for number in range(others)
    )
    engine = Engine(rules(stateless("  s: [needle]\n  condition: s") + more))
    said: list[dict[str, Any]] = [
        {"memory_value": "a NEEDLE here"},
        {"tags": ["x", "needles"]},
        {"memory_value": "hay"},
        {"attributes": [{"key": "k", "value": "a needle too"}]},
    ]
    rows = [
        {"event_id": f"{place:032x}", "event_time": 1, **fields}
        for place, fields in enumerate(said)
    ]
    found = engine.judge(frame(rows), 1).signals
    assert [int(signal.event_ids[0], 16) for signal in found] == [0, 1, 3]


def _matches(text: str, event: dict[str, Any]) -> bool:
    found = rules(text, RAW)
    return bool(Engine(found).judge(RawFrames().frame([event], ["0" * 32], [0]), 1).signals)


WORDS = ["kill", "KILL", "\u212aill", "caf\u00e9", "CAF\u00c9", "a.b", "stra\u00dfe", "\u0130x"]
REGEXES = [
    "kill",
    r"ca(f|x)\b",
    "(abc|kil)+x?",
    "a?b*",
    r"[\u200b-\u203f]",
    "(?:ill|fe) x",
    r"^\s*abc",
]
OPS = ["equals", "prefix", "suffix", "contains"]
texts = st.lists(st.sampled_from([*WORDS, "abc", "-ab", " ", "x", "\u2039"]), max_size=4).map(
    "".join
)
some = st.lists(st.sampled_from(REGEXES), min_size=1, max_size=3).map("|".join)
looks = st.sampled_from(["kill(?!x)", "(?<!a)b", "(?=.*kil)(?=.*l)", "(?<=x{1,3})a"])
tests = st.one_of(
    looks.map(split).map(lambda parts: Pattern(parts.rough, exact=parts.exact)),
    st.builds(Text, st.sampled_from(OPS), texts.map(str.lower)),
    some.map(lambda regex: Pattern(linear(regex, "i"))),
    st.builds(Present, st.booleans()),
)
leaf = st.builds(Leaf, st.sampled_from(["one", "two", "absent", None]), tests).filter(
    lambda found: found.field is not None or not isinstance(found.test, Present)
)
nodes: st.SearchStrategy[Node] = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(nodes, min_size=1, max_size=4),
    st.lists(st.tuples(texts | st.none(), texts | st.none()), min_size=1, max_size=8),
)
def test_being_quick_never_changes_the_answer(
    conditions: list[Node], rows: list[tuple[str | None, str | None]]
) -> None:
    table = pl.DataFrame(rows, schema={"one": pl.String, "two": pl.String}, orient="row")
    table = table.with_columns(pl.lit("x").alias("~event_id"))
    found = Matcher(conditions, RAW).match(table)
    assert {at: rows.tolist() for at, rows in found.items()} == _asked_in_full(conditions, table)


def test_whether_a_keyword_compiles_is_asked_of_every_type_of_column_once() -> None:
    kinds = dict(ACTIONS.columns or {})
    asked = Lowering(kinds, ACTIONS, of_each_type=True)
    asked.expression(Leaf(None, Text("contains", "word", cased=False)))
    searched = ACTIONS.keyword_columns(kinds)
    assert len(asked.reads) < len(searched)
    assert {kinds[name] for name in asked.reads} == {kinds[name] for name in searched}


def _asked_in_full(conditions: list[Node], table: pl.DataFrame) -> dict[int, list[int]]:
    lowering = Lowering(dict(table.schema), RAW)
    answers = [lowering.expression(node).alias(str(at)) for at, node in enumerate(conditions)]
    for added in lowering.helpers():
        table = table.with_columns(added)
    masks = table.with_columns(answers)
    found = {at: masks[str(at)].arg_true().to_list() for at in range(len(conditions))}
    return {at: rows for at, rows in found.items() if rows}
