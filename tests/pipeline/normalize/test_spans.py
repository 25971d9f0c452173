"""Spans a column at a time say what they say one by one, whichever reader took them."""

import base64
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tachograph.pipeline.normalize import derive, otlp, rows
from tachograph.pipeline.normalize.meanings import meanings
from tachograph.pipeline.normalize.parts import Part, Verdict
from tachograph.pipeline.normalize.raw import BadInput
from tachograph.pipeline.normalize.span_batch import SpanDecoder
from tachograph.pipeline.normalize.span_wire import SpanReader
from tachograph.pipeline.normalize.spans import Spans, of_groups
from tachograph.schemas.batch import COLUMNS
from tachograph.schemas.identity import Key

from . import span_rows
from .test_fuzz import attribute_names, spans

KEY = Key(b"k" * 32)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

kinds = st.sampled_from(
    [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.operation.name", "search_memory"),
        ("gen_ai.operation.name", "made up"),
        ("mcp.method.name", "tools/call"),
        ("openinference.span.kind", "CHAIN"),
        ("openinference.span.kind", "TOOL"),
        ("openinference.span.kind", "RETRIEVER"),
        ("openinference.span.kind", "GUARDRAIL"),
        ("openinference.span.kind", "PROMPT"),
        ("traceloop.span.kind", "agent"),
        ("gen_ai.request.model", "m"),
        ("http.request.method", "GET"),
        ("gen_ai.tool.name", "t"),
        ("ai.operationId", "ai.toolCall"),
        ("ai.operationId", "ai.generateText"),
        ("span.type", "tool"),
        ("span.type", "web"),
        ("x", "y"),
    ]
)
more_names = st.sampled_from(
    [
        "gen_ai.conversation.id", "session.id", "gen_ai.agent.id", "gen_ai.agent.name", "user.id",
        "gen_ai.tool.call.arguments", "gen_ai.output.messages", "gen_ai.input.messages",
        "input.value", "output.value", "traceloop.entity.name", "traceloop.entity.output",
        "server.address", "server.port", "error.type", "gen_ai.response.id", "gen_ai.tool.call.id",
        "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "gen_ai.prompt.0.role",
        "gen_ai.prompt.0.content", "gen_ai.completion.0.content", "url.full", "http.url",
        "gen_ai.response.finish_reasons", "gen_ai.evaluation.score.value", "resource.a",
        "span.events", "tool.name", "gen_ai.tool.name", "token", "x", "",
        "gen_ai.tool.call.result", "process.exit.code", "mcp.method.name", "tool_name",
        "llm.output_messages.0.message.contents.0.message_content.text",
        "gen_ai.completion.0.tool_calls.0.name",
    ]
)  # fmt: skip
texts = st.sampled_from(
    [
        "", "a", "b", "7", "7.5", "-1", "99999999999999999999", "é", "chat", '{"a":1}',
        '{"command":["ls","-l"],"path":"/x","url":"http://h:1/p"}', '{"to":"a@b, c@d"}',
        '[{"role":"user","parts":[{"type":"text","content":"hi"}]},{"role":"assistant","content":"ho"}]',
        '{"isError":true,"content":[]}', '{"metadata":{"exit_code":2}}', "Exit code: 1\nno", "0",
        "http://example.com:8080/x", "a text of more than twelve bytes",
    ]
)  # fmt: skip
plain_values: st.SearchStrategy[dict[str, Any]] = (
    st.builds(lambda v: {"stringValue": v}, texts)
    | st.builds(lambda v: {"intValue": str(v)}, st.integers(-(2**63), 2**63 - 1))
    | st.builds(lambda v: {"doubleValue": v}, st.sampled_from([0.5, 3.0, -1e300]))
    | st.builds(lambda v: {"boolValue": v}, st.booleans())
    | st.just({})
    | st.builds(
        lambda v: {"arrayValue": {"values": [{"stringValue": one} for one in v]}},
        st.lists(texts, max_size=3),
    )
    | st.builds(
        lambda k, v: {"kvlistValue": {"values": [{"key": k, "value": {"stringValue": v}}]}},
        texts, texts,
    )
)  # fmt: skip
plain_pairs = st.lists(
    st.fixed_dictionaries({"key": more_names | attribute_names, "value": plain_values}), max_size=6
)
said_pairs = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(
                ["content", "message", "role", "gen_ai.prompt", "gen_ai.output.messages"]
            ),
            "value": plain_values,
        }
    ),
    max_size=3,
)
NANO = 1_795_370_400_000_000_000


@st.composite
def plain_spans(draw: st.DrawFn) -> dict[str, Any]:
    """A span as an exporter may send it."""
    name, text = draw(kinds)
    kind = {"key": name, "value": {"stringValue": text}}
    pairs = draw(plain_pairs)
    if draw(st.booleans()):
        pairs = list({pair["key"]: pair for pair in pairs}.values())
    made = {
        "traceId": draw(st.sampled_from(["ab" * 16, "cd" * 16, ""])),
        "spanId": draw(st.sampled_from(["01" * 8, "02" * 8, "03" * 8])),
        "parentSpanId": draw(st.sampled_from(["01" * 8, "02" * 8, ""])),
        "name": draw(texts),
        "kind": draw(st.integers(0, 5)),
        "startTimeUnixNano": str(draw(st.sampled_from([0, 1, NANO - 10**9]))),
        "endTimeUnixNano": str(draw(st.sampled_from([0, NANO, NANO + 999]))),
        "attributes": [kind, *pairs],
        "status": draw(st.sampled_from([{}, {"code": 2, "message": "m"}, {"code": 1}])),
        "traceState": draw(st.sampled_from(["", "a=b"])),
    }
    if draw(st.booleans()):
        named = ["exception", "e", "gen_ai.user.message", "gen_ai.choice", "gen_ai.content.prompt"]
        event = {"name": draw(st.sampled_from(named)), "attributes": draw(plain_pairs | said_pairs)}
        said = {"key": "exception.type", "value": {"stringValue": draw(texts)}}
        event["attributes"] = [said, *event["attributes"]]
        made["events"] = [event] * draw(st.integers(0, 2))
        made["links"] = [{"traceId": "ab" * 16, "attributes": draw(plain_pairs)}]
    return made


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """An export request with some resources and scopes."""
    resources = []
    for _ in range(draw(st.integers(0, 2))):
        service = {"key": "service.name", "value": draw(plain_values)}
        shared = draw(st.lists(st.just(service), max_size=1)) + draw(plain_pairs)
        scopes = [
            {
                "scope": {"name": draw(st.sampled_from(["", "s"]))},
                "spans": draw(st.lists(plain_spans(), max_size=3)),
                "schemaUrl": draw(st.sampled_from(["", "http://x"])),
            }
            for _ in range(draw(st.integers(0, 2)))
        ]
        resources.append({"resource": {"attributes": shared}, "scopeSpans": scopes})
    return {"resourceSpans": resources}


def protobuf(value: dict[str, Any]) -> bytes:
    """The request as an exporter writes it in protobuf."""

    def mended(node: Any) -> Any:
        if isinstance(node, list):
            return [mended(one) for one in node]
        if not isinstance(node, dict):
            return node
        return {
            name: base64.b64encode(bytes.fromhex(inner)).decode()
            if name in ("traceId", "spanId", "parentSpanId")
            else mended(inner)
            for name, inner in node.items()
        }

    message = json_format.ParseDict(mended(value), ExportTraceServiceRequest())
    return message.SerializeToString()


def decoded(*values: bytes) -> tuple[list[Part], list[Verdict]]:
    parts, verdicts = SpanDecoder().decode(values)
    for part in parts:
        part.frame = derive.destinations(derive.columns(part.frame, KEY))
    return parts, verdicts


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what is null; the order of attributes says nothing."""
    found = {name: value for name, value in row.items() if value is not None}
    if "attributes" in found:
        found["attributes"] = sorted((p["key"], p["value"]) for p in found["attributes"])
    return found


def check(value: bytes) -> None:
    """The columns of a request are the rows of the slow way."""
    parts, [verdict] = decoded(value)
    told = _expected(value)
    if isinstance(told, str):
        assert verdict.refused is not None
        assert (verdict.refused.reason, parts) == (told, [])
        return
    assert verdict.refused is None
    expected, reasons, foreign, named = told
    bad = [problem.reason for part in parts for problem in part.faults.values()]
    assert sorted(bad + [fault.problem.reason for fault in verdict.faults]) == sorted(reasons)
    assert verdict.foreign == foreign
    assert set(verdict.named) == set(named)
    found = []
    twins = []
    for part in parts:
        good = [at for at in range(part.frame.height) if at not in part.faults]
        found += [shown(row) for row in part.frame[good].to_dicts()]
        twins += list(zip(part.twin_kind, part.twin_call, strict=True))
        twins = [twins[at] for at in good]
    frame, faults = rows.frame([{n: v for n, v in row.items() if n in COLUMNS} for row in expected])
    assert faults == {}
    assert found == [shown(row) for row in frame.to_dicts()]
    calls = [span_rows.twin_of(row) for row in expected]
    assert [call for _, call in twins] == [call for _, call in calls]
    assert [kind for kind, call in twins if call] == [kind for kind, call in calls if call]


def _expected(value: bytes) -> Any:
    """What the slow way makes of a request, or the reason why it refuses it."""
    try:
        return span_rows.expected(value, KEY)
    except BadInput as problem:
        return problem.reason


@given(requests(), st.booleans())
@FUZZ
def test_columns_of_spans_are_their_rows(value: dict[str, Any], in_json: bool) -> None:
    check(msgspec.json.encode(value) if in_json else protobuf(value))


@given(st.lists(spans, max_size=4), plain_pairs)
@FUZZ
def test_columns_of_any_spans_in_json_are_their_rows(
    items: list[dict[str, Any]], resource: list[Any]
) -> None:
    scoped = [{"scope": {"name": "s"}, "spans": items}]
    value = {"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": scoped}]}
    check(msgspec.json.encode(value))


@given(requests(), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3))
@example({"resourceSpans": []}, [])
@FUZZ
def test_protobuf_with_broken_bytes_is_judged_as_protobufs_own_reader_does(
    value: dict[str, Any], changes: list[tuple[int, int]]
) -> None:
    broken = bytearray(protobuf(value))
    for at, byte in changes:
        if broken:
            broken[at % len(broken)] = byte
    check(bytes(broken))


def columns(spans: Spans) -> dict[str, Any]:
    """All that spans say, as plain values."""
    pairs = spans.pairs
    made = {
        name: getattr(spans, name).tolist() if isinstance(getattr(spans, name), np.ndarray)
        else list(getattr(spans, name))
        for name in spans.__struct_fields__
        if name not in ("groups", "events", "pairs", "group", "timeless")
    }  # fmt: skip
    said = [
        (int(owner), pairs.keys[key], int(code), pairs.value(at), text)
        for at, (owner, key, code, text) in enumerate(
            zip(pairs.owner, pairs.key, pairs.code, pairs.text, strict=True)
        )
    ]
    sources = [spans.groups[at] for at in spans.group]
    return {**made, "pairs": repr(said), "events": repr(spans.events), "sources": repr(sources)}


@given(st.lists(requests(), max_size=4))
@FUZZ
def test_what_the_quick_reader_takes_it_reads_as_protobufs_own_does(
    values: list[dict[str, Any]],
) -> None:
    requested = [protobuf(value) for value in values]
    found, odd = SpanReader().read(requested)
    slow = of_groups(
        [
            (number, group)
            for number, value in enumerate(requested)
            if not odd[number]
            for group in otlp.traces(value)
        ]
    )
    assert columns(found) == columns(slow)
    twice = [value for value in values if any(map(_says_twice, _spans_of(value)))]
    assert odd.sum() <= len(twice) + sum(_is_bare(value) for value in requested)


def _spans_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        span
        for resource in value["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def _says_twice(span: dict[str, Any]) -> bool:
    names = [pair["key"] for pair in span["attributes"]]
    return len(set(names)) < len(names) or "" in names


def _is_bare(value: bytes) -> bool:
    """A request that nothing is to be read of."""
    return not value


@given(requests(), st.randoms())
@FUZZ
def test_a_meaning_does_not_depend_on_encoding_or_order(value: dict[str, Any], chance: Any) -> None:
    quick, _ = SpanReader().read([protobuf(value)])
    for span in _spans_of(value):
        pairs = {pair["key"]: pair for pair in span["attributes"]}
        span["attributes"] = list(pairs.values())
        chance.shuffle(span["attributes"])
    slow = of_groups([(0, g) for g in otlp.traces(msgspec.json.encode(value))])
    if len(quick) == len(slow):
        assert [bytes(m) for m in meanings(quick)[0]] == [bytes(m) for m in meanings(slow)[0]]


def test_every_part_of_a_span_is_part_of_its_meaning() -> None:
    span = {
        "traceId": "ab" * 16, "spanId": "cd" * 8, "parentSpanId": "ef" * 8, "name": "n", "kind": 1,
        "startTimeUnixNano": "1", "endTimeUnixNano": "2", "status": {"code": 1, "message": "m"},
        "attributes": [{"key": "a", "value": {"stringValue": "5"}}],
        "events": [{"name": "e", "timeUnixNano": "3"}],
    }  # fmt: skip
    others: list[dict[str, Any]] = [
        {}, {"parentSpanId": "00" * 8}, {"name": "m"}, {"kind": 2}, {"startTimeUnixNano": "2"},
        {"endTimeUnixNano": "3"}, {"status": {"code": 2, "message": "m"}},
        {"status": {"code": 1, "message": "n"}}, {"events": []}, {"attributes": []},
        {"attributes": [{"key": "a", "value": {"intValue": "5"}}]},
        {"attributes": [{"key": "a", "value": {"stringValue": "6"}}]},
        {"attributes": [{"key": "b", "value": {"stringValue": "5"}}]},
        {"attributes": [{"key": "a5", "value": {"stringValue": ""}}]},
        {"name": "nm", "status": {"code": 1, "message": ""}},
    ]  # fmt: skip
    made = [{**span, **other} for other in others]
    value = {"resourceSpans": [{"scopeSpans": [{"spans": made}]}]}
    found, _ = SpanReader().read([protobuf(value)])
    said, sizes = meanings(found)
    assert len({bytes(one) for one in said}) == len(others)
    assert [len(one) for one in said] == sizes.tolist()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_request_that_is_cut_off_is_left_to_protobufs_own_reader(cut: int) -> None:
    span = {"traceId": "ab" * 16, "spanId": "cd" * 8, "endTimeUnixNano": "2"}
    value = protobuf({"resourceSpans": [{"scopeSpans": [{"spans": [span, span]}]}]})
    _, odd = SpanReader().read([value, value[:-cut]])
    assert odd.tolist()[0] is False
    try:
        ExportTraceServiceRequest.FromString(value[:-cut])
    except DecodeError:
        assert odd.tolist()[1] is True


def test_values_share_the_bytes_they_came_in() -> None:
    span = {"attributes": [{"key": "k" * 20, "value": {"stringValue": "v" * 5_000}}]}
    value = protobuf({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    found, _ = SpanReader().read([value])
    assert found.pairs.text.to_list() == ["v" * 5_000]
    assert pl.Series(found.pairs.keys).to_list() == ["k" * 20]
