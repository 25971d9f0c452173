"""Log records of agents → actions: GenAI events, coding agents, and others that name a session
or an agent.

A log record that does none of this tells nothing of an agent and is counted, not kept.
"""

from typing import Any, Final

from tachograph.pipeline.normalize import coding_clis, messages, results
from tachograph.pipeline.normalize.forms import Log
from tachograph.pipeline.normalize.genai import fields, keep, put
from tachograph.pipeline.normalize.raw import BadInput, Row

# GenAI events: event name → (kind, role of the words, direction).
_DETAILS: Final = "gen_ai.client.inference.operation.details"
_GENAI: Final[dict[str, tuple[str, str | None, str | None]]] = {
    _DETAILS: ("completion", "assistant", "out"),
    "gen_ai.client.operation.exception": ("completion", None, None),
    "gen_ai.execute_tool.exception": ("tool_call", None, None),
    "gen_ai.evaluation.result": ("evaluation", None, None),
    "gen_ai.system.message": ("prompt", "system", "in"),
    "gen_ai.user.message": ("prompt", "user", "in"),
    "gen_ai.assistant.message": ("completion", "assistant", "in"),
    "gen_ai.tool.message": ("tool_result", "tool", "in"),
    "gen_ai.choice": ("completion", "assistant", "out"),
}
_SESSIONS: Final = ("gen_ai.conversation.id", "session.id", "conversation.id")


def row_of(log: Log, resource: Row, scope: str) -> Row | None:
    """The row of a log record; None: it tells nothing of an agent. Raises BadInput when it has no
    time.
    """
    attributes = log.attributes
    name = _event_name(log)
    cli = coding_clis.cli_of(scope, name)
    if cli is not None and name not in _GENAI:
        row, extra = fields(attributes)
        coding_clis.row_of(cli, name, row, extra)
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
    if name == _DETAILS and row.get("source_id"):
        # Content of a call that a span tells of as well: two reports by one library.
        row["source_id"] += " (event)"
    if cli is not None:
        # Such a client is the agent, whatever trace it is part of.
        row.setdefault("agent_id", row.get("service_name") or cli.name)
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
        results.judge(row)
    return row, extra


def _body_words(body: Any) -> str | None:
    if body.__class__ is not dict:
        return body if body.__class__ is str else None
    inner = body.get("message", body)
    return messages.words([inner] if inner.__class__ is dict else inner)


def _other(log: Log, name: str) -> tuple[Row, Row]:
    row, extra = fields(log.attributes)
    put(row, "session_id", row.get("session_id") or extra.get("conversation.id"))
    row["kind"] = "other"
    if log.body.__class__ is str and log.body != name:
        row["content_text"] = log.body
    elif log.body is not None and log.body != name:
        extra["body"] = log.body
    return row, extra
