"""Log records of agents → actions: GenAI events, Claude Code, and others that name a session or an
agent.

A log record that does none of this tells nothing of an agent and is counted, not kept.
"""

from typing import Any, Final

from tachograph.pipeline.normalize import messages
from tachograph.pipeline.normalize.forms import Log
from tachograph.pipeline.normalize.genai import fields, keep, put
from tachograph.pipeline.normalize.raw import BadInput, Row

# GenAI events: event name → (kind, role of the words, direction).
_GENAI: Final[dict[str, tuple[str, str | None, str | None]]] = {
    "gen_ai.client.inference.operation.details": ("completion", "assistant", "out"),
    "gen_ai.client.operation.exception": ("completion", None, None),
    "gen_ai.execute_tool.exception": ("tool_call", None, None),
    "gen_ai.evaluation.result": ("evaluation", None, None),
    "gen_ai.system.message": ("prompt", "system", "in"),
    "gen_ai.user.message": ("prompt", "user", "in"),
    "gen_ai.assistant.message": ("completion", "assistant", "in"),
    "gen_ai.tool.message": ("tool_result", "tool", "in"),
    "gen_ai.choice": ("completion", "assistant", "out"),
}
CLAUDE_SCOPE: Final = "com.anthropic.claude_code"
_CLAUDE: Final[dict[str, str]] = {
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
}
# Claude Code's own names → fields.
_CLAUDE_FIELDS: Final[dict[str, str]] = {
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
}
_SESSIONS: Final = ("gen_ai.conversation.id", "session.id", "conversation.id")


def row_of(log: Log, resource: Row, scope: str) -> Row | None:
    """The row of a log record; None: it tells nothing of an agent. Raises BadInput when it has no
    time.
    """
    attributes = log.attributes
    name = _event_name(log)
    if scope.startswith(CLAUDE_SCOPE):
        row, extra = _claude(log, name.removeprefix("claude_code."))
    elif name in _GENAI:
        row, extra = _genai(log, name)
    elif (
        any(session in attributes for session in _SESSIONS) or "gen_ai.operation.name" in attributes
    ):
        row, extra = _other(log, name)
    else:
        return None
    at_ns = log.time_ns or log.observed_ns
    if at_ns <= 0:
        raise BadInput("missing", "a log record has a time or an observed time")
    row["event_time"] = at_ns // 1000
    row["operation"] = row.get("operation") or name or None
    row["trace_id"], row["span_id"] = log.trace_id or None, log.span_id or None
    for field, value in resource.items():
        if field == "attributes":
            extra = {**value, **extra}
        else:
            row.setdefault(field, value)
    keep(row, extra)
    return row


def producer_id(log: Log) -> str | None:
    """What tells this record from others of its kind, whichever way it comes; None: its place in
    the log must.
    """
    attributes = log.attributes
    session, sequence = attributes.get("session.id"), attributes.get("event.sequence")
    if session is not None and sequence is not None:
        return f"{session}/{sequence}/{attributes.get('event.name', '')}"
    if log.span_id:
        return f"{log.trace_id}{log.span_id}/{_event_name(log)}"
    call, conversation = attributes.get("call_id"), attributes.get("conversation.id")
    if call is not None and conversation is not None:
        return f"{conversation}/{call}/{_event_name(log)}"
    return None


def _event_name(log: Log) -> str:
    named = log.attributes.get("event.name") or log.event_name
    if not named and log.body.__class__ is str and len(log.body) <= 100 and " " not in log.body:
        named = log.body
    return str(named or "")


def _genai(log: Log, name: str) -> tuple[Row, Row]:
    kind, role, direction = _GENAI[name]
    row, extra = fields(log.attributes)
    extra.pop("event.name", None)
    row["kind"] = kind
    failed = "error_type" in row or name.endswith("exception")
    row["outcome"] = "failed" if failed else "succeeded"
    text = messages.words(row.get("output_messages") if kind == "completion" else None)
    if text is None and role:
        text = _body_words(log.body)
    if text is not None:
        row.update(content_text=text, content_role=role, content_direction=direction)
    if log.body.__class__ in (dict, list):
        extra["body"] = log.body
    if kind == "tool_result" and log.body.__class__ is dict:
        put(row, "tool_call_id", log.body.get("id"))
        put(row, "tool_result", log.body.get("content"))
    return row, extra


def _body_words(body: Any) -> str | None:
    if body.__class__ is not dict:
        return body if body.__class__ is str else None
    inner = body.get("message", body)
    return messages.words([inner] if inner.__class__ is dict else inner)


def _claude(log: Log, name: str) -> tuple[Row, Row]:
    row, extra = fields(log.attributes)
    for source, field in _CLAUDE_FIELDS.items():
        if source in extra and put(row, field, extra[source]):
            del extra[source]
    row["kind"] = _CLAUDE.get(name, "other")
    row["agent_kind"] = "coding"
    row["operation"] = name
    success = extra.pop("success", None)
    if success is not None:
        row["outcome"] = "succeeded" if str(success).lower() == "true" else "failed"
    if name == "tool_decision":
        _claude_decision(row, extra)
    elif name == "tool_result":
        row["attempt"] = "executed"
    elif name in ("user_prompt", "assistant_response"):
        said = "prompt" if name == "user_prompt" else "response"
        if put(row, "content_text", extra.pop(said, None)):
            asks = name == "user_prompt"
            row["content_role"] = "user" if asks else "assistant"
            row["content_direction"] = "in" if asks else "out"
    elif name in ("api_error", "api_retries_exhausted"):
        row["outcome"] = "failed"
    _claude_parameters(row, extra)
    return row, extra


def _claude_decision(row: Row, extra: Row) -> None:
    accepted = extra.get("decision") == "accept"
    row["attempt"] = "requested"
    row["policy_decision"] = "allow" if accepted else "deny"
    put(row, "policy_reason", extra.get("source"))
    if not accepted:
        row["outcome"] = "denied"
    if str(extra.get("source", "")).startswith("user_"):
        row["approval_decision"] = "approved" if accepted else "refused"


def _claude_parameters(row: Row, extra: Row) -> None:
    """tool_parameters stand in for tool_input, and name the MCP server and tool."""
    given = messages.parsed(extra.get("tool_parameters"))
    if given.__class__ is not dict:
        return
    put(row, "tool_server", row.get("tool_server") or given.get("mcp_server_name"))
    if given.get("mcp_tool_name"):
        put(row, "tool_name", given["mcp_tool_name"])
    if "tool_args" not in row:
        put(row, "tool_args", extra.pop("tool_parameters"))


def _other(log: Log, name: str) -> tuple[Row, Row]:
    row, extra = fields(log.attributes)
    put(row, "session_id", row.get("session_id") or extra.get("conversation.id"))
    row["kind"] = "other"
    if log.body.__class__ is str and log.body != name:
        row["content_text"] = log.body
    elif log.body is not None and log.body != name:
        extra["body"] = log.body
    return row, extra
