"""Events of coding agents at the command line, as their log records tell them: Claude Code, Codex
CLI, Gemini CLI.

Data, and the little that data cannot say. Numbers and flags come as text in many places.
"""

from typing import Any, Final

import msgspec

from tachograph.pipeline.normalize import messages, results
from tachograph.pipeline.normalize.genai import put
from tachograph.pipeline.normalize.raw import Row


class Cli(msgspec.Struct, frozen=True):
    """One of them: how its events are known, and what they are."""

    name: str
    prefix: str
    # Event → kind of action.
    kinds: dict[str, str]
    # Its own name of an attribute → field.
    fields: dict[str, str]
    prompts: tuple[str, str] = ("user_prompt", "prompt")
    answers: tuple[str, str] = ("", "")
    # The event that tells of a call that was carried out.
    called: str = "tool_result"


CLAUDE: Final = Cli(
    name="claude-code",
    prefix="claude_code.",
    kinds={
        "user_prompt": "prompt",
        "assistant_response": "completion",
        "tool_decision": "policy_decision",
        "tool_result": "tool_call",
        "api_request": "completion",
        "api_error": "completion",
        "api_retries_exhausted": "completion",
        "api_refusal": "guardrail",
        "permission_mode_changed": "config_change",
        "mcp_server_connection": "other",
        "hook_registered": "config_change",
        "plugin_installed": "artifact",
        "subagent_completed": "agent_call",
    },
    fields={
        "tool_name": "tool_name",
        "tool_use_id": "tool_call_id",
        "tool_input": "tool_args",
        "tool_result_size_bytes": "tool_result_bytes",
        "prompt.id": "turn_id",
        "event.sequence": "sequence",
        "model": "model_name",
        "input_tokens": "usage_input_tokens",
        "output_tokens": "usage_output_tokens",
        "cache_read_tokens": "usage_cached_tokens",
        "cost_usd": "usage_cost_usd",
        "duration_ms": "duration_ms",
        "error": "error_message",
        "error_type": "error_type",
        "status_code": "http_status",
        "app.version": "agent_version",
        "mcp_server.name": "tool_server",
        "server_name": "tool_server",
        "request_id": "gateway_request_id",
        "to_mode": "tool_approval_mode",
    },
    answers=("assistant_response", "response"),
)
CODEX: Final = Cli(
    name="codex",
    prefix="codex.",
    kinds={
        "conversation_starts": "config_change",
        "user_prompt": "prompt",
        "tool_decision": "policy_decision",
        "tool_result": "tool_call",
        "sse_event": "completion",
        "api_request": "completion",
        "websocket_request": "completion",
        "sandbox_outcome": "policy_decision",
    },
    fields={
        "conversation.id": "session_id",
        "tool_name": "tool_name",
        "call_id": "tool_call_id",
        "arguments": "tool_args",
        "output": "tool_result",
        "mcp_server": "tool_server",
        "tool_result_seq": "sequence",
        "model": "model_name",
        "provider_name": "model_provider",
        "approval_policy": "tool_approval_mode",
        "sandbox_policy": "policy_id",
        "input_token_count": "usage_input_tokens",
        "output_token_count": "usage_output_tokens",
        "cached_token_count": "usage_cached_tokens",
        "reasoning_token_count": "usage_reasoning_tokens",
        "duration_ms": "duration_ms",
        "error.message": "error_message",
        "http.response.status_code": "http_status",
        "app.version": "agent_version",
        # The place in a tree of sub-agents, such as /root: who acts is the client.
        "agent_name": "agent_role",
        "user.email": "principal_id",
        "user.account_id": "principal_id",
    },
)
GEMINI: Final = Cli(
    name="gemini-cli",
    prefix="gemini_cli.",
    kinds={
        "config": "config_change",
        "user_prompt": "prompt",
        "tool_call": "tool_call",
        "file_operation": "file",
        "api_request": "completion",
        "api_response": "completion",
        "api_error": "completion",
        "agent.start": "agent_call",
        "agent.finish": "agent_call",
        "approval_mode_switch": "config_change",
        "extension_install": "artifact",
        "extension_uninstall": "artifact",
        "hook_call": "policy_decision",
        "conseca.verdict": "guardrail",
    },
    fields={
        "session.id": "session_id",
        "function_name": "tool_name",
        "function_args": "tool_args",
        "mcp_server_name": "tool_server",
        "tool_type": "tool_type",
        "operation": "file_op",
        "prompt_id": "turn_id",
        "model": "model_name",
        "input_token_count": "usage_input_tokens",
        "output_token_count": "usage_output_tokens",
        "cached_content_token_count": "usage_cached_tokens",
        "thoughts_token_count": "usage_reasoning_tokens",
        "duration_ms": "duration_ms",
        "error": "error_message",
        "error_type": "error_type",
        "status_code": "http_status",
        "agent_id": "agent_instance_id",
        "agent_name": "agent_name",
        "active_approval_mode": "tool_approval_mode",
        "approval_mode": "tool_approval_mode",
        "user.email": "principal_id",
        "extension_name": "artifact_name",
    },
    answers=("api_response", "response_text"),
    called="tool_call",
)
_BY_SCOPE: Final = {"com.anthropic.claude_code": CLAUDE, "codex_otel": CODEX, "gemini-cli": GEMINI}
_ACCEPTED: Final = frozenset(
    {"accept", "approved", "approved_for_session", "auto_accept", "modify", "allow"}
)
_REFUSED: Final = 400
# Of Codex and Gemini, whose answers are events of their own.
_REQUESTS: Final = ("api_request", "websocket_request")
_ABORTED: Final = frozenset({"abort", "aborted", "cancel"})
# Decided by a person rather than by settings.
_BY_PERSON: Final = ("user", "User")


def cli_of(scope: str, event: str) -> Cli | None:
    """Whose event this is; None: of none of them."""
    for start, cli in _BY_SCOPE.items():
        if scope.startswith(start):
            return cli
    return next((cli for cli in (CLAUDE, CODEX, GEMINI) if event.startswith(cli.prefix)), None)


def row_of(cli: Cli, event: str, row: Row, extra: Row) -> None:
    """Complete the row of an event out of what the conventions left over. In place."""
    event = event.removeprefix(cli.prefix)
    for source, field in cli.fields.items():
        if source in extra and put(row, field, extra[source]):
            del extra[source]
    row["kind"] = cli.kinds.get(event, "other")
    if _wraps(cli, event, row):
        row["kind"] = "other"
    row["agent_kind"] = "coding"
    row["operation"] = event
    success = extra.pop("success", None)
    if success is not None:
        row["outcome"] = "succeeded" if str(success).lower() == "true" else "failed"
    if event == cli.called:
        row["attempt"] = "executed"
    results.judge(row)
    decision = extra.get("decision")
    if decision is not None:
        _decided(row, event, str(decision), extra)
    if row["kind"] == "completion":
        _answered(row, event)
    _said(cli, event, row, extra)
    _parameters(row, extra)


def _wraps(cli: Cli, event: str, row: Row) -> bool:
    """Whether it tells again what another event tells: Codex's `exec` wraps the command that it
    runs, and a request that did not fail is told by its answer, of whose many events the last one
    has the counts.
    """
    if cli is CLAUDE:
        return False
    if event in _REQUESTS:
        return not _failed(row, event)
    if event == "sse_event":
        return "usage_input_tokens" not in row
    return event == cli.called and row.get("tool_name") == "exec"


def _decided(row: Row, event: str, decision: str, extra: Row) -> None:
    accepted = decision in _ACCEPTED
    row["policy_decision"] = "allow" if accepted else "deny"
    put(row, "policy_reason", extra.get("source"))
    if event == "tool_decision":
        row["attempt"] = "requested"
    if not accepted:
        row["outcome"] = "cancelled" if decision in _ABORTED else "denied"
        row["attempt"] = "requested"
    if str(extra.get("source", "")).startswith(_BY_PERSON):
        row["approval_decision"] = "approved" if accepted else "refused"


def _answered(row: Row, event: str) -> None:
    """Calls of a model tell of a failure by an error or a status, and of nothing else."""
    row["outcome"] = "failed" if _failed(row, event) else "succeeded"


def _failed(row: Row, event: str) -> bool:
    return "error_message" in row or "error" in event or row.get("http_status", 0) >= _REFUSED


def _said(cli: Cli, event: str, row: Row, extra: Row) -> None:
    for (named, source), role, direction in (
        (cli.prompts, "user", "in"),
        (cli.answers, "assistant", "out"),
    ):
        text: Any = extra.pop(source, None) if event == named else None
        if text is not None and put(row, "content_text", text):
            row["content_role"], row["content_direction"] = role, direction


def _parameters(row: Row, extra: Row) -> None:
    """tool_parameters stand in for tool_input, and name the MCP server and tool."""
    given = messages.parsed(extra.get("tool_parameters"))
    if given.__class__ is not dict:
        return
    put(row, "tool_server", row.get("tool_server") or given.get("mcp_server_name"))
    if given.get("mcp_server_name"):
        row.setdefault("tool_type", "mcp")
    if given.get("mcp_tool_name"):
        put(row, "tool_name", given["mcp_tool_name"])
    if "tool_args" not in row:
        put(row, "tool_args", extra.pop("tool_parameters"))
