"""OTLP: both encodings, the vocabularies, and what one span becomes."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tachograph.pipeline.normalize import limits
from tachograph.pipeline.normalize.core import Normalizer

from .conftest import NOON_US, attribute, record, request, span

Rows = Callable[..., list[dict[str, Any]]]
SHARED = Path(os.environ.get("TACHO_SHARED", Path(__file__).parents[4] / "shared"))


def proto(value: dict[str, Any]) -> bytes:
    """The same request as protobuf (hex ids become base64, which is what json_format reads)."""
    import base64

    def mended(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                key: base64.b64encode(bytes.fromhex(inner)).decode()
                if key in ("traceId", "spanId", "parentSpanId")
                else mended(inner)
                for key, inner in node.items()
                if inner is not None
            }
        return [mended(one) for one in node] if isinstance(node, list) else node

    kind = ExportTraceServiceRequest if "resourceSpans" in value else ExportLogsServiceRequest
    return json_format.ParseDict(
        mended(value), kind(), ignore_unknown_fields=True
    ).SerializeToString()


def spans(rows: Rows, *given: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return rows(request(*given, **more), topic="otlp_spans")


def test_both_encodings_give_the_same_actions_under_the_same_ids(core: Normalizer) -> None:
    value = request(
        span(gen_ai__operation__name="chat", gen_ai__usage__input_tokens=5, x=True, y=1.5),
        span(
            "cc" * 8,
            gen_ai__operation__name="execute_tool",
            gen_ai__tool__name="t",
            gen_ai__tool__call__arguments='{"a":1}',
        ),
    )
    value["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"] += [
        {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}, {}]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [attribute("k", "v")]}}},
        {"key": "none", "value": {}},
    ]
    one = core.normalize([record(value, "otlp_spans")]).frame
    other = core.normalize([record(proto(value), "otlp_spans")]).frame
    assert one.equals(other)
    assert one.height == 2


def test_the_kind_comes_from_whichever_vocabulary_names_it(rows: Rows) -> None:
    kinds = {
        "completion": {"gen_ai__operation__name": "chat"},
        "tool_call": {"mcp__method__name": "tools/call"},
        "tool_listing": {"mcp__method__name": "tools/list"},
        "memory_write": {"gen_ai__operation__name": "upsert_memory"},
        "agent_call": {"openinference__span__kind": "AGENT"},
        "retrieval": {"openinference__span__kind": "RETRIEVER"},
        "other": {"gen_ai__operation__name": "an operation of tomorrow"},
    }
    for kind, attributes in kinds.items():
        [row] = spans(rows, span(**attributes))
        assert row["kind"] == kind
    [row] = spans(rows, span(traceloop__span__kind="tool", traceloop__entity__name="grep"))
    assert (row["kind"], row["tool_name"]) == ("tool_call", "grep")
    [row] = spans(
        rows, {**span(http__request__method="POST", url__full="https://a.example/"), "kind": 3}
    )
    assert (row["kind"], row["target_domain"]) == ("http", "a.example")


def test_spans_of_no_agent_are_counted_and_left_out(core: Normalizer) -> None:
    value = request(
        span(db__system="postgresql"),
        span("cc" * 8, openinference__span__kind="CHAIN", session__id="s1"),
        span("dd" * 8, openinference__span__kind="TOOL", tool__name="t"),
    )
    found = core.normalize([record(value, "otlp_spans")])
    assert found.foreign == 2
    assert found.frame["session_id"].to_list() == ["s1"]


def test_new_names_win_over_old_ones_and_old_ones_still_count(rows: Rows) -> None:
    [row] = spans(
        rows,
        span(
            gen_ai__operation__name="chat",
            gen_ai__system="old",
            gen_ai__provider__name="new",
            gen_ai__usage__prompt_tokens=7,
            deployment__environment="dev",
        ),
    )
    assert (row["model_provider"], row["usage_input_tokens"]) == ("new", 7)
    assert row["environment"] == "dev"


def test_flattened_messages_of_older_producers_become_messages(rows: Rows) -> None:
    [row] = spans(
        rows,
        span(
            **{
                "gen_ai__operation__name": "chat",
                "gen_ai.prompt.0.role": "user",
                "gen_ai.prompt.0.content": "hi",
                "gen_ai.completion.0.role": "assistant",
                "gen_ai.completion.0.content": "hello",
            }
        ),
    )
    assert json.loads(row["input_messages"]) == [{"role": "user", "content": "hi"}]
    assert row["content_text"] == "hello"


def test_the_words_of_a_completion_are_its_content(rows: Rows) -> None:
    messages = [
        {
            "role": "assistant",
            "parts": [
                {"type": "text", "content": "one"},
                {"type": "tool_call", "name": "x"},
                {"type": "text", "content": "two"},
            ],
        }
    ]
    [row] = spans(
        rows, span(gen_ai__operation__name="chat", gen_ai__output__messages=json.dumps(messages))
    )
    assert (row["content_text"], row["content_role"], row["content_direction"]) == (
        "one\ntwo",
        "assistant",
        "out",
    )


def test_numbers_as_texts_count_and_what_does_not_fit_is_kept_as_an_attribute(rows: Rows) -> None:
    [row] = spans(
        rows,
        span(
            gen_ai__operation__name="chat",
            gen_ai__usage__input_tokens="12",
            gen_ai__usage__output_tokens="many",
        ),
    )
    assert row["usage_input_tokens"] == 12
    assert {"key": "gen_ai.usage.output_tokens", "value": "many"} in row["attributes"]


def test_an_error_is_an_outcome_and_not_an_attempt(rows: Rows) -> None:
    bad = {**span(gen_ai__operation__name="execute_tool"), "status": {"code": 2, "message": "no"}}
    [row] = spans(rows, bad)
    assert (row["attempt"], row["outcome"], row["error_message"]) == ("executed", "failed", "no")


def test_children_without_a_conversation_take_it_from_their_trace_or_their_parents(
    rows: Rows,
) -> None:
    root = span(
        "a1" * 8,
        gen_ai__operation__name="invoke_agent",
        gen_ai__conversation__id="c1",
        gen_ai__agent__name="A",
    )
    tool = {**span("a2" * 8, gen_ai__operation__name="execute_tool"), "parentSpanId": "a1" * 8}
    other = span(
        "b1" * 8,
        gen_ai__operation__name="invoke_agent",
        gen_ai__conversation__id="c2",
        gen_ai__agent__name="B",
    )
    grandchild = {
        **span("b2" * 8, gen_ai__operation__name="execute_tool"),
        "parentSpanId": "b1" * 8,
    }
    stranger = span("c2" * 8, gen_ai__operation__name="execute_tool")
    found = spans(rows, tool, grandchild, stranger, root, other)
    assert [row["session_id"] for row in found] == ["c1", "c2", "bb" * 16, "c1", "c2"]
    assert [row.get("agent_id") for row in found[:3]] == ["shop/A", "shop/B", None]


def test_another_service_in_the_batch_cannot_name_a_session(core: Normalizer) -> None:
    mine = request(span(gen_ai__operation__name="execute_tool"), service="mine")
    theirs = request(
        span(gen_ai__operation__name="chat", gen_ai__conversation__id="c"), service="theirs"
    )
    both = {"resourceSpans": mine["resourceSpans"] + theirs["resourceSpans"]}
    found = core.normalize([record(both, "otlp_spans")])
    assert found.frame["session_id"].to_list() == ["bb" * 16, "c"]
    assert [link.partition_key for link in found.links] == ["theirs"]


def test_a_link_is_told_once(core: Normalizer) -> None:
    value = request(span(gen_ai__operation__name="chat", gen_ai__conversation__id="c1"))
    assert len(core.normalize([record(value, "otlp_spans")]).links) == 1
    assert core.normalize([record(value, "otlp_spans")]).links == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"traceId": "zz"}, "mistyped"),
        ({"endTimeUnixNano": "soon"}, "mistyped"),
        ({"endTimeUnixNano": 2**80}, "mistyped"),
        ({"endTimeUnixNano": "0", "startTimeUnixNano": 0}, "missing"),
        ({"endTimeUnixNano": "1000000"}, "impossible_time"),
        ({"name": "x" * limits.ACTION_BYTES}, "too_large"),
    ],
)
def test_one_bad_span_costs_only_itself_and_can_be_put_back(
    core: Normalizer, change: dict[str, Any], reason: str
) -> None:
    good = span("cc" * 8, gen_ai__operation__name="chat")
    bad = {**span(gen_ai__operation__name="chat"), **change}
    found = core.normalize([record(request(good, bad, good), "otlp_spans")])
    assert found.frame.height == 2
    [letter] = found.dead
    assert letter.reason == reason
    again = json.loads(letter.original or b"")
    [put_back] = again["resourceSpans"][0]["scopeSpans"][0]["spans"]
    put_back.update(span(gen_ai__operation__name="chat"))
    mended = core.normalize([record(again, "otlp_spans")])
    assert mended.frame["service_name"].to_list() == ["shop"]


@pytest.mark.parametrize("change", [{"endTimeUnixNano": "1"}, {"traceId": "no id"}])
def test_the_dead_letter_of_a_lone_span_is_what_was_sent(
    core: Normalizer, change: dict[str, Any]
) -> None:
    sent = json.dumps(request({**span(gen_ai__operation__name="chat"), **change}), indent=3)
    [letter] = core.normalize([record(sent.encode(), "otlp_spans")]).dead
    assert (letter.original, letter.index) == (sent.encode(), 0)
    [again] = core.normalize([record(letter.original or b"", "otlp_spans")]).dead
    assert again.reason == letter.reason


def test_a_lone_protobuf_span_is_kept_as_protobuf(core: Normalizer) -> None:
    message = ExportTraceServiceRequest()
    one = message.resource_spans.add().scope_spans.add().spans.add(end_time_unix_nano=1)
    one.attributes.add(key="gen_ai.operation.name").value.string_value = "chat"
    sent = message.SerializeToString()
    [letter] = core.normalize([record(sent, "otlp_spans")]).dead
    assert (letter.reason, letter.original) == ("impossible_time", sent)


@pytest.mark.parametrize("bracket", "[{")
def test_protobuf_whose_length_reads_as_a_bracket_is_protobuf(
    core: Normalizer, bracket: str
) -> None:
    message = ExportTraceServiceRequest()
    one: Any = message.resource_spans.add().scope_spans.add().spans.add()
    one.end_time_unix_nano = NOON_US * 1000
    one.attributes.add(key="gen_ai.operation.name").value.string_value = "chat"
    one.name = "n" * (ord(bracket) - message.resource_spans[0].ByteSize() - 2)
    sent = message.SerializeToString()
    assert sent.startswith(b"\n" + bracket.encode())
    assert core.normalize([record(sent, "otlp_spans")]).frame.height == 1
    in_json = b"\n" + json.dumps(request(span(gen_ai__operation__name="chat"))).encode()
    assert core.normalize([record(in_json, "otlp_spans")]).frame.height == 1


@pytest.mark.parametrize(
    "value",
    [
        b"\x01\x02",
        b"\n\xff\xff",
        b'{"resourceSpans": 1}',
        b'{"resourceSpans": [',
        b"[]",
        b'{"kind":"other"}',
    ],
)
def test_what_is_no_export_request_is_a_dead_letter(core: Normalizer, value: bytes) -> None:
    for topic in ("otlp_spans", "otlp_logs"):
        found = core.normalize([record(value, topic)])
        assert found.frame.is_empty()
        assert len(found.dead) == 1


def test_numbers_may_be_bare_ids_upper_case_and_values_null(rows: Rows) -> None:
    odd = {
        **span(gen_ai__operation__name="chat"),
        "traceId": "BB" * 16,
        "endTimeUnixNano": NOON_US * 1000,
        "status": None,
        "events": None,
    }
    odd["attributes"].append({"key": "n", "value": None})
    [row] = spans(rows, odd)
    assert row["trace_id"] == "bb" * 16


def test_of_what_is_given_twice_in_an_export_the_last_holds_in_both_encodings(
    rows: Rows,
) -> None:
    one = span(gen_ai__operation__name="chat", gen_ai__agent__name="first")
    one["attributes"].append(attribute("gen_ai.agent.name", "last"))
    for value in (request(one), proto(request(one))):
        [row] = rows(value, topic="otlp_spans")
        assert row["agent_name"] == "last"
    twice = json.dumps(request(one)).replace(
        '"attributes": [{"key": "gen_ai', '"attributes": [], "attributes": [{"key": "gen_ai'
    )
    [row] = rows(twice.encode(), topic="otlp_spans")
    assert row["agent_name"] == "last"


def test_values_nested_beyond_the_limit_are_refused(core: Normalizer) -> None:
    value: dict[str, Any] = {"intValue": 1}
    for _ in range(limits.JSON_DEPTH + 1):
        value = {"arrayValue": {"values": [value]}}
    deep = span(gen_ai__operation__name="chat")
    deep["attributes"].append({"key": "deep", "value": value})
    assert [d.reason for d in core.normalize([record(request(deep), "otlp_spans")]).dead] == [
        "too_deep"
    ]


def test_events_of_coding_agents_become_actions(rows: Rows) -> None:
    def event(name: str, **attributes: Any) -> dict[str, Any]:
        named = {"event.name": name, "session.id": "s", "event.sequence": 3, **attributes}
        return {
            "timeUnixNano": str(NOON_US * 1000),
            "body": {"stringValue": f"claude_code.{name}"},
            "attributes": [attribute(key, value) for key, value in named.items()],
        }

    records = [
        event("user_prompt", prompt="do it"),
        event("tool_decision", tool_name="Bash", decision="reject", source="user_reject"),
        event(
            "tool_result",
            tool_name="Bash",
            success="false",
            duration_ms="5",
            tool_input='{"command":"ls"}',
        ),
        event("permission_mode_changed", to_mode="bypassPermissions"),
    ]
    value = {
        "resourceLogs": [
            {
                "resource": {"attributes": [attribute("service.name", "claude-code")]},
                "scopeLogs": [
                    {"scope": {"name": "com.anthropic.claude_code.events"}, "logRecords": records}
                ],
            }
        ]
    }
    prompt, decision, result, mode = rows(value, topic="otlp_logs")
    assert (prompt["kind"], prompt["content_text"]) == ("prompt", "do it")
    assert (decision["policy_decision"], decision["outcome"]) == ("deny", "denied")
    assert (result["outcome"], result["process_command_line"]) == ("failed", "ls")
    assert mode["kind"] == "config_change"
    assert {row["session_id"] for row in (prompt, decision, result, mode)} == {"s"}
    assert rows(proto(value), topic="otlp_logs")[0]["event_id"] == prompt["event_id"]


SAMPLES = ("otlp_traces", "openinference", "openllmetry", "claude_code", "otlp_log_genai")


@pytest.mark.parametrize("name", SAMPLES)
def test_published_samples_become_actions_in_both_encodings(core: Normalizer, name: str) -> None:
    file = SHARED / "reference" / "samples" / f"{name}.json"
    if not file.exists():
        pytest.skip("no samples here")
    value = json.loads(file.read_text())
    topic = "otlp_spans" if "resourceSpans" in value else "otlp_logs"
    one, other = (core.normalize([record(v, topic)]) for v in (value, proto(value)))
    assert one.dead == []
    assert one.frame.height > 0
    assert one.frame.equals(other.frame)
    assert one.frame["session_id"].null_count() == 0


def _trace_lines(count: int) -> Iterator[bytes]:
    script, data = SHARED / "bin" / "traces_to_otlp.py", SHARED / "data" / "agent_traces"
    if not script.exists():
        pytest.skip("no recorded traces here")
    command = [sys.executable, str(script), str(data / "events.ndjson.gz"), "--limit", str(count)]
    yield from subprocess.run(command, capture_output=True, check=True).stdout.splitlines()


def test_recorded_agent_sessions_keep_every_span_and_their_conversation() -> None:
    core = Normalizer(b"k" * 32, "acme", observed_from_event=True)
    spans_in = rows_out = 0
    sessions: set[str] = set()
    for number, line in enumerate(_trace_lines(40)):
        spans_in += line.count(b'"spanId"')
        found = core.normalize([record(line, "otlp_spans", offset=number, timestamp_us=None)])
        assert found.dead == []
        rows_out += found.frame.height
        sessions |= {link.session_id for link in found.links}
    assert rows_out == spans_in
    assert len(sessions) == 40


def test_real_data_is_readable_as_it_was_written(core: Normalizer) -> None:
    value = gzip.compress(json.dumps(request(span(gen_ai__operation__name="chat"))).encode())
    assert core.normalize([record(value, "otlp_spans")]).frame.height == 1
