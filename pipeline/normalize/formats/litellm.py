"""LiteLLM proxy: StandardLoggingPayload of the generic_api logger, one object a call."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from tachograph.pipeline.normalize.formats.decoder import Read, Told, Written
from tachograph.pipeline.normalize.formats.reading import (
    Context,
    Object,
    at,
    filled,
    first,
    hexadecimal,
    objects,
    rest,
    said_in,
    time_us,
)
from tachograph.pipeline.normalize.identity import RESPONSE
from tachograph.pipeline.normalize.messages import answered, words
from tachograph.pipeline.normalize.raw import Row

# What a guardrail of LiteLLM says → a verdict.
_VERDICTS: Final = {
    "success": "pass",
    "guardrail_flagged": "flag",
    "guardrail_intervened": "block",
    "guardrail_failed_to_respond": "error",
}
# Calls that ask no model for words; `a` before a name is the same, asynchronous.
_KINDS: Final = {
    "embedding": "index",
    "rerank": "retrieval",
    "vector_store_search": "retrieval",
    "search": "retrieval",
    "moderation": "guardrail",
    "list_mcp_tools": "tool_listing",
    "send_message": "agent_call",
    "file_upload": "file",
    "create_file": "file",
    "file_content": "file",
    "health_check": "heartbeat",
}
# What payloads of releases before litellm_call_id have in common.
_OLDER: Final = frozenset({"startTime", "endTime", "status", "model"})
_TOOL: Final = "metadata.mcp_tool_call_metadata"
# What fields hold already; what is huge and static; what holds secrets of the proxy. All else is
# kept.
_HELD: Final = frozenset(
    {
        "id", "litellm_call_id", "session_id", "trace_id", "call_type", "status", "startTime",
        "endTime", "model", "api_base", "custom_llm_provider", "model_parameters", "messages",
        "response", "prompt_tokens", "completion_tokens", "total_tokens", "response_cost",
        "end_user", "user_agent", "requester_ip_address", "request_tags", "error_str",
        "error_information", "guardrail_information", "hidden_params", "model_map_information",
        "standard_built_in_tools_params", "cost_breakdown", "metadata.usage_object",
        "metadata.mcp_tool_call_metadata", "metadata.requester_custom_headers",
        "metadata.user_api_key_auth_metadata", "metadata.user_api_key_hash",
        "metadata.user_api_key_alias", "metadata.user_api_key_user_id", "metadata.user_agent",
        "metadata.requester_ip_address", "metadata.requester_metadata.agent",
        "metadata.requester_metadata.agent_name",
    }
)  # fmt: skip


class LiteLlm(Written):
    """See Decoder."""

    name = "litellm"
    title = "LiteLLM proxy, generic_api logger (StandardLoggingPayload)"

    def recognises(self, item: Object) -> bool:
        """See Decoder."""
        return "call_type" in item and ("litellm_call_id" in item or item.keys() >= _OLDER)

    def read(self, items: Sequence[Object], context: Context) -> Read:
        """See Decoder."""
        del context
        return Read([list(_told(item)) for item in items])


FORMAT = LiteLlm()


def _told(item: Object) -> Iterator[Told]:
    call = first(item, "litellm_call_id", "id")
    shared = _shared(item)
    yield Told(_call(item, shared), call and f"{call}/{item.get('status')}")
    for number, guardrail in enumerate(objects(item.get("guardrail_information"))):
        yield Told(_guardrail(guardrail, shared), call and f"{call}/guardrail/{number}")


def _shared(item: Object) -> Row:
    """Who and where, of everything that one payload tells."""
    session = first(item, "session_id", "trace_id")
    tags = item.get("request_tags")
    environment = next(
        (t[4:] for t in tags or () if t.__class__ is str and t.startswith("env:")), None
    )
    row: Row = {"source_kind": "litellm", "source_id": "litellm"}
    return filled(
        row,
        agent_id=first(item, "metadata.user_api_key_alias", "metadata.requester_metadata.agent",
                       "metadata.user_api_key_team_alias", "user_agent",
                       "metadata.user_agent", "metadata.user_api_key_hash"),
        agent_name=first(item, "metadata.requester_metadata.agent_name",
                         "metadata.requester_metadata.agent"),
        agent_owner=first(item, "metadata.user_api_key_team_alias",
                          "metadata.user_api_key_team_id"),
        principal_id=first(item, "metadata.user_api_key_user_id", "end_user",
                           "metadata.user_api_key_end_user_id", "metadata.user_api_key_user_email",
                           "model_parameters.user"),
        credential_fingerprint=at(item, "metadata.user_api_key_hash"),
        credential_owner=at(item, "metadata.user_api_key_alias"),
        src_ip=first(item, "requester_ip_address", "metadata.requester_ip_address"),
        user_agent=first(item, "user_agent", "metadata.user_agent"),
        session_id=session,
        trace_id=session if hexadecimal(session, 32) else None,
        environment=environment,
        tags=tags or None,
        gateway_request_id=item.get("litellm_call_id"),
    )  # fmt: skip


def _times(row: Row, begin: Any, end: Any) -> None:
    began, ended = time_us(begin, "s"), time_us(end, "s")
    row["event_time"] = ended or began
    if began is not None:
        row["start_time"] = began
    if began is not None and ended is not None:
        row["duration_ms"] = (ended - began) / 1000


def _call(item: Object, shared: Row) -> Row:
    row = dict(shared)
    row["attributes"] = rest(item, _HELD)
    _times(row, item.get("startTime"), item.get("endTime"))
    good = item.get("status") == "success"
    filled(
        row,
        operation=item.get("call_type"),
        outcome="succeeded" if good else "failed",
        error_type=first(item, "error_information.error_class", "error_information.error_code"),
        error_message=first(item, "error_information.error_message", "error_str"),
        usage_cost_usd=item.get("response_cost"),
    )
    if at(item, "status_fields.guardrail_status") == "guardrail_intervened":
        row["outcome"] = "denied"
    tool = at(item, _TOOL)
    if tool.__class__ is dict:
        return _tool(row, tool, item)
    if item.get("call_type") == "call_mcp_tool":
        # Without its metadata the model's name alone tells the tool.
        return _tool(row, {"name": str(item.get("model") or "").removeprefix("MCP: ")}, item)
    return _completion(row, item)


def _tool(row: Row, tool: Object, item: Object) -> Row:
    """A tool of an MCP server, called through the proxy. That the call returned says nothing yet of
    what the tool did: `isError` does.
    """
    result = tool.get("result") or item.get("response") or None
    if at(result, "isError") is True:
        row["outcome"] = "failed"
        row.setdefault("error_type", "tool_error")
    elif row["outcome"] == "succeeded" and result.__class__ is not dict:
        row["outcome"] = "unknown"
    return filled(
        row,
        kind="tool_call",
        attempt="executed",
        tool_type="mcp",
        tool_name=first(tool, "name", "namespaced_tool_name"),
        tool_server=tool.get("mcp_server_name"),
        tool_args=tool.get("arguments"),
        tool_result=said_in(at(result, "content")) or result,
    )


def _completion(row: Row, item: Object) -> Row:
    answers, why = answered(item.get("response"))
    said = words(answers)
    operation = item.get("call_type")
    named = str(operation or "")
    row["kind"] = _KINDS.get(named) or _KINDS.get(named.removeprefix("a")) or "completion"
    listing = row["kind"] == "tool_listing"
    if listing:
        tools = at(item, "response.tools") or item.get("response") or None
        filled(row, tool_type="mcp", mcp_method="tools/list", tool_definitions=tools)
    if said:
        row.update(content_text=said, content_role="assistant", content_direction="out")
    response = at(item, "response.id") or item.get("id")
    if response and not listing:
        row["attributes"][RESPONSE] = str(response)
    return filled(
        row,
        model_name=_model(item),
        model_served=at(item, "response.model"),
        model_provider=item.get("custom_llm_provider"),
        model_base_url=item.get("api_base"),
        model_settings=item.get("model_parameters") or None,
        usage_input_tokens=item.get("prompt_tokens"),
        usage_output_tokens=item.get("completion_tokens"),
        input_messages=item.get("messages") or None,
        output_messages=answers,
        finish_reasons=why or None,
    )


def _model(item: Object) -> Any:
    """The model by the name that its provider gives it: the proxy writes `openai/gpt-4o`."""
    model, provider = item.get("model"), item.get("custom_llm_provider")
    if model.__class__ is str and provider.__class__ is str and provider:
        return model.removeprefix(f"{provider}/") or model
    return model


def _guardrail(guardrail: Object, shared: Row) -> Row:
    row = dict(shared)
    _times(row, guardrail.get("start_time"), guardrail.get("end_time"))
    status = guardrail.get("guardrail_status")
    verdict = _VERDICTS.get(status) if status.__class__ is str else None
    if verdict == "error":
        row["guardrail_error"] = "it did not respond"
    return filled(
        row,
        kind="guardrail",
        outcome="denied" if verdict == "block" else "succeeded",
        guardrail_name=guardrail.get("guardrail_name"),
        guardrail_verdict=None if verdict == "error" else verdict,
        guardrail_score=first(guardrail, "risk_score", "confidence_score"),
        guardrail_mode="enforce" if verdict == "block" else None,
        content_category=_joined(guardrail.get("violation_categories")),
    )


def _joined(value: Any) -> Any:
    return ", ".join(map(str, value)) if value.__class__ is list else value
