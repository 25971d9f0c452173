"""What libraries and clients write in their own words becomes the same fields."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import NOON_US, attribute, request, span

Rows = Callable[..., list[dict[str, Any]]]
HI = [{"role": "user", "content": "hi"}]
HELLO = [{"role": "assistant", "content": "hello"}]


def said(name: str, **attributes: Any) -> dict[str, Any]:
    """An event of a span; `__` in names stands for a dot."""
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    return {"name": name, "attributes": [attribute(key, value) for key, value in named.items()]}


def log(service: str, scope: str, **attributes: Any) -> dict[str, Any]:
    """A request with one log record at noon."""
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    record = {
        "timeUnixNano": str(NOON_US * 1000),
        "traceId": "ab" * 16,
        "attributes": [attribute(key, value) for key, value in named.items()],
    }
    resource = {"attributes": [attribute("service.name", service)]}
    scopes = [{"scope": {"name": scope}, "logRecords": [record]}]
    return {"resourceLogs": [{"resource": resource, "scopeLogs": scopes}]}


def holds(row: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert {name: row.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(
    "events",
    [
        [
            said("gen_ai.user.message", content="hi"),
            said("gen_ai.choice", message=json.dumps(HELLO[0]), finish_reason="stop"),
        ],
        [
            said("gen_ai.content.prompt", gen_ai__prompt=json.dumps(HI)),
            said("gen_ai.content.completion", gen_ai__completion=json.dumps(HELLO)),
        ],
        [
            said(
                "gen_ai.client.inference.operation.details",
                gen_ai__input__messages=json.dumps(HI),
                gen_ai__output__messages=json.dumps(HELLO),
            )
        ],
    ],
    ids=["a message each", "prompt and completion", "details"],
)
def test_messages_in_events_of_a_span_are_its_messages(rows: Rows, events: list[Any]) -> None:
    given = span(gen_ai__operation__name="chat") | {"events": events}
    [row] = rows(request(given), topic="otlp_spans")
    holds(row, {"content_text": "hello", "content_role": "assistant"})
    assert json.loads(row["input_messages"])[0]["content"] == "hi"


def test_messages_of_the_span_itself_hold_against_its_events(rows: Rows) -> None:
    given = span(gen_ai__operation__name="chat", gen_ai__output__messages=json.dumps(HELLO))
    given["events"] = [said("gen_ai.choice", message='{"content":"other"}')]
    [row] = rows(request(given), topic="otlp_spans")
    assert row["content_text"] == "hello"


@pytest.mark.parametrize("kind", [[], {}, None, 7, "image"])
def test_parts_of_no_known_type_are_no_words(rows: Rows, kind: Any) -> None:
    told = [{"role": "assistant", "parts": [{"type": kind, "text": "x"}, "said"]}]
    given = span(gen_ai__operation__name="chat", gen_ai__output__messages=json.dumps(told))
    [row] = rows(request(given), topic="otlp_spans")
    assert row["content_text"] == "said"


def test_flattened_parts_and_calls_of_a_message_are_lists(rows: Rows) -> None:
    message = "llm.output_messages.0.message"
    given = span(openinference__span__kind="LLM")
    given["attributes"] += [
        attribute(f"{message}.role", "assistant"),
        attribute(f"{message}.contents.0.message_content.type", "text"),
        attribute(f"{message}.contents.0.message_content.text", "hello"),
        attribute(f"{message}.tool_calls.0.tool_call.function.name", "pay"),
    ]
    [row] = rows(request(given), topic="otlp_spans")
    assert row["content_text"] == "hello"
    [told] = json.loads(row["output_messages"])
    assert told["tool_calls"] == [{"function": {"name": "pay"}}]


@pytest.mark.parametrize(
    ("result", "outcome", "code"),
    [
        ('{"content":[],"isError":true}', "failed", None),
        ('{"content":[],"isError":false}', "succeeded", None),
        ('{"note":"isError: true"}', "succeeded", None),
        ('{"output":"","metadata":{"exit_code":2}}', "failed", 2),
        ("Exit code: 0\nfine", "succeeded", 0),
        ("Process exited with code 3\nno", "failed", 3),
        ("it said Exit code: 1", "succeeded", None),
        ('{"isError":', "succeeded", None),
    ],
)
def test_that_a_tool_ran_is_not_that_it_did_well(
    rows: Rows, result: str, outcome: str, code: int | None
) -> None:
    given = span(gen_ai__operation__name="execute_tool", gen_ai__tool__call__result=result)
    [row] = rows(request(given), topic="otlp_spans")
    holds(row, {"outcome": outcome, "process_exit_code": code})
    assert row.get("error_type") == ("tool_error" if outcome == "failed" else None)


Fields = dict[str, Any]
SPANS: dict[str, tuple[Fields, Fields]] = {
    "Gemini CLI": (
        {
            "gen_ai.operation.name": "tool_call",
            "gen_ai.tool.name": "sh",
            "gen_ai.tool.call_id": "c",
        },
        {"kind": "tool_call", "tool_name": "sh", "tool_call_id": "c"},
    ),
    "Claude Code, a tool": (
        {"span.type": "tool", "gen_ai.system": "anthropic", "tool_name": "Bash"},
        {"kind": "tool_call", "tool_name": "Bash"},
    ),
    "Claude Code, a model": (
        {"span.type": "llm_request", "model": "m", "input_tokens": 3, "cache_read_tokens": 2},
        {
            "kind": "completion",
            "model_name": "m",
            "usage_input_tokens": 3,
            "usage_cached_tokens": 2,
        },
    ),
    "AI SDK": (
        {"ai.operationId": "ai.toolCall", "ai.toolCall.name": "sh", "ai.toolCall.args": '{"a":1}'},
        {"kind": "tool_call", "tool_name": "sh", "tool_args": '{"a":1}'},
    ),
    "Pydantic AI": (
        {"gen_ai.tool.name": "sh", "tool_arguments": '{"a":1}', "tool_response": "ok"},
        {"kind": "tool_call", "tool_args": '{"a":1}', "tool_result": "ok"},
    ),
    "MCP": (
        {"mcp.method.name": "tools/call", "gen_ai.tool.name": "sh"},
        {"kind": "tool_call", "tool_type": "mcp"},
    ),
}


@pytest.mark.parametrize("name", SPANS)
def test_spans_in_the_words_of_a_library_give_the_fields(rows: Rows, name: str) -> None:
    given, wanted = SPANS[name]
    named = span() | {"attributes": [attribute(key, value) for key, value in given.items()]}
    [row] = rows(request(named), topic="otlp_spans")
    holds(row, wanted)


@pytest.mark.parametrize(
    "given", [{"ai.operationId": "ai.generateText", "ai.model.id": "m"}, {"span.type": "web"}]
)
def test_spans_that_wrap_others_or_are_of_something_else_tell_no_action(
    rows: Rows, given: dict[str, str]
) -> None:
    named = span() | {"attributes": [attribute(key, value) for key, value in given.items()]}
    assert rows(request(named), topic="otlp_spans") == []


CLAUDE = ("claude-code", "com.anthropic.claude_code.events")
CODEX = ("codex_exec", "codex_otel.log_only")
GEMINI = ("gemini-cli", "gemini-cli")
EVENTS: dict[str, tuple[tuple[str, str], Fields, Fields]] = {
    "Claude Code answered": (CLAUDE, {"event.name": "api_request", "session.id": "s"},
        {"kind": "completion", "outcome": "succeeded", "agent_id": "claude-code"}),
    "Claude Code, MCP": (CLAUDE, {"event.name": "tool_result", "session.id": "s", "success": "true",
        "tool_name": "mcp_tool", "tool_parameters": '{"mcp_server_name":"w","mcp_tool_name":"t"}'},
        {"tool_name": "t", "tool_server": "w", "tool_type": "mcp", "outcome": "succeeded"}),
    "Codex, exit code in JSON": (CODEX, {"event.name": "codex.tool_result", "success": "true",
        "tool_name": "shell", "output": '{"output":"","metadata":{"exit_code":2}}'},
        {"outcome": "failed", "process_exit_code": 2, "agent_id": "codex_exec"}),
    "Codex, a request that its answer tells": (CODEX, {"event.name": "codex.api_request",
        "conversation.id": "c", "http.response.status_code": 200}, {"kind": "other"}),
    "Codex, a request that failed": (CODEX, {"event.name": "codex.api_request",
        "conversation.id": "c", "http.response.status_code": 500},
        {"kind": "completion", "outcome": "failed"}),
    "Codex answered": (CODEX, {"event.name": "codex.sse_event", "input_token_count": "3"},
        {"kind": "completion", "outcome": "succeeded", "usage_input_tokens": 3}),
    "Gemini CLI answered": (GEMINI, {"event.name": "gemini_cli.api_response", "session.id": "s",
        "response_text": "hello"},
        {"kind": "completion", "outcome": "succeeded", "content_text": "hello"}),
}  # fmt: skip


@pytest.mark.parametrize("name", EVENTS)
def test_events_of_coding_agents_give_the_fields(rows: Rows, name: str) -> None:
    (service, scope), given, wanted = EVENTS[name]
    named = {key.replace(".", "__"): value for key, value in given.items()}
    [row] = rows(log(service, scope, **named), topic="otlp_logs")
    holds(row, wanted)
