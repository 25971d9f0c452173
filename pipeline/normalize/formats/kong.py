"""Kong AI Gateway: what its log plugins write (kafka-log, http-log, file-log), one object a
request.

A request to a model, one to an MCP server with its calls and the gateway's decisions on them, or
one that is neither and is kept as HTTP.
"""

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
    kind_of,
    objects,
    outcome_of_status,
    rest,
    said_in,
    status_code,
    time_us,
    within,
)
from tachograph.pipeline.normalize.identity import RESPONSE
from tachograph.pipeline.normalize.messages import answered, words
from tachograph.pipeline.normalize.raw import Row

# What fields hold already, and what holds words that no one may see (`sanitizer`) or that are not
# this request's. All else is kept.
_HELD: Final = frozenset(
    {
        "ai", "consumer", "authenticated_entity", "client_ip", "started_at", "trace_id", "tries",
        "upstream_status", "request.id", "request.method", "request.headers", "request.tls",
        "response.headers", "response.status", "latencies.request", "service.name",
        "service.host",
    }
)  # fmt: skip
_DECISIONS: Final = {"allow": "allow", "deny": "deny"}


class Kong(Written):
    """See Decoder."""

    name = "kong"
    title = "Kong AI Gateway (kafka-log, http-log, file-log)"

    def recognises(self, item: Object) -> bool:
        """See Decoder."""
        return "latencies" in item and "started_at" in item and "request" in item

    def read(self, items: Sequence[Object], context: Context) -> Read:
        """See Decoder."""
        del context
        return Read([list(_told(item)) for item in items])


FORMAT = Kong()


def _told(item: Object) -> Iterator[Told]:
    request = str(first(item, "request.id", "correlation_id") or "")
    shared = _shared(item)
    told = False
    for name, proxy in _proxies(item):
        told = True
        yield Told(_completion(item, proxy, shared), f"{request}/{name}" if request else None)
    for number, rpc in enumerate(objects(at(item, "ai.mcp.rpc"))):
        told = True
        yield Told(_rpc(rpc, shared), f"{request}/rpc/{number}" if request else None)
    for number, rpc in enumerate(objects(at(item, "ai.a2a.rpc"))):
        told = True
        yield Told(_a2a(rpc, shared), f"{request}/a2a/{number}" if request else None)
    for number, audit in enumerate(objects(at(item, "ai.mcp.audit"))):
        told = True
        yield Told(_audit(audit, shared), f"{request}/audit/{number}" if request else None)
    if not told:
        row = filled({**shared, "kind": "http"}, target_url=at(item, "request.url"))
        yield Told(row, request or None)


def _proxies(item: Object) -> list[tuple[str, Object]]:
    """What the AI plugins say of a call to a model: under `proxy`, in older releases under the
    plugin's name.
    """
    ai = item.get("ai")
    if ai.__class__ is not dict:
        return []
    return [
        (name, said)
        for name, said in ai.items()
        if said.__class__ is dict and said.get("meta").__class__ is dict
    ]


def _shared(item: Object) -> Row:
    began = time_us(item.get("started_at"), "ms")
    took = at(item, "latencies.request")
    row: Row = {"source_kind": "kong", "source_id": "kong", "event_time": began}
    row["attributes"] = rest(item, _HELD)
    if began is not None and took.__class__ in (int, float) and took >= 0:
        row |= {"start_time": began, "event_time": began + int(took * 1000)}
        row["duration_ms"] = float(took)
    trace = at(item, "trace_id.w3c")
    status = first(item, "response.status", "upstream_status")
    return filled(
        row,
        trace_id=trace if hexadecimal(trace, 32) else None,
        session_id=first(item, "ai.mcp.mcp_session_id", "request.headers.mcp-session-id"),
        agent_id=first(item, "consumer.custom_id", "consumer.username", "authenticated_entity.id"),
        agent_name=at(item, "consumer.username"),
        credential_id=at(item, "authenticated_entity.id"),
        src_ip=item.get("client_ip"),
        user_agent=at(item, "request.headers.user-agent"),
        http_method=at(item, "request.method"),
        http_status=status_code(status),
        outcome=outcome_of_status(status),
        gateway_request_id=at(item, "request.id"),
        service_name=at(item, "service.name"),
    )


def _completion(item: Object, proxy: Object, shared: Row) -> Row:
    asked = within(at(proxy, "payload.request"))
    came = within(at(proxy, "payload.response"))
    answers, why = answered(came)
    row = {**shared, "kind": "completion", "operation": "chat"}
    said = words(answers)
    if said:
        row.update(content_text=said, content_role="assistant", content_direction="out")
    response = at(came, "id")
    if response.__class__ is str:
        row["attributes"] = {**row["attributes"], RESPONSE: response}
    return filled(
        row,
        model_name=at(proxy, "meta.request_model"),
        model_served=at(proxy, "meta.response_model"),
        model_provider=at(proxy, "meta.provider_name"),
        model_base_url=at(item, "service.host"),
        usage_input_tokens=first(proxy, "usage.prompt_tokens", "usage.prompt_token"),
        usage_output_tokens=first(proxy, "usage.completion_tokens", "usage.completion_token"),
        usage_cost_usd=at(proxy, "usage.cost"),
        input_messages=first(asked, "messages", "input", "prompt", "contents"),
        system_instructions=at(asked, "system"),
        tool_definitions=at(asked, "tools"),
        output_messages=answers,
        finish_reasons=why or None,
    )


def _rpc(rpc: Object, shared: Row) -> Row:
    asked, came = within(at(rpc, "payload.request")), within(at(rpc, "payload.response"))
    method = first(rpc, "method") or at(asked, "method")
    row = {**shared, "kind": kind_of(None, method) or "other"}
    error = first(rpc, "error") or at(came, "error")
    failed = error is not None or at(came, "result.isError") is True
    if failed:
        row["outcome"] = "failed"
    elif came is None and row.get("outcome") == "succeeded":
        # That the gateway answered does not say that the tool did well.
        row["outcome"] = "unknown"
    if row["kind"] == "tool_call":
        row["attempt"] = "executed"
    _took(row, rpc)
    if rpc.get("id") is not None:
        # Each peer counts for itself: within a trace two servers may both have a call 7.
        row["attributes"] = {**row["attributes"], "jsonrpc.request.id": str(rpc["id"])}
    return filled(
        row,
        operation=method,
        mcp_method=method,
        tool_type="mcp",
        tool_name=first(rpc, "tool_name") or at(asked, "params.name"),
        tool_server=shared.get("service_name"),
        tool_args=at(asked, "params.arguments"),
        tool_result=said_in(at(came, "result.content")) or at(came, "result"),
        tool_result_bytes=rpc.get("response_body_size"),
        target_resource=at(asked, "params.uri"),
        error_type=None if not failed else "tool_error" if error is None else "rpc_error",
        error_message=error if error.__class__ is str else at(error, "message"),
    )


def _took(row: Row, rpc: Object) -> None:
    took = rpc.get("latency")
    if took.__class__ in (int, float):
        row["duration_ms"] = float(took)


def _a2a(rpc: Object, shared: Row) -> Row:
    """A message of one agent to another; how the task ended is in its state, if anywhere."""
    asked, came = within(at(rpc, "payload.request")), within(at(rpc, "payload.response"))
    state = first(rpc, "task_state") or at(came, "result.status.state")
    error = first(rpc, "error") or at(came, "error")
    row = {**shared, "kind": "agent_call", "attempt": "executed"}
    if error is not None:
        row["outcome"] = "failed"
    elif row.get("outcome") == "succeeded":
        row["outcome"] = _STATES.get(state, "unknown") if state.__class__ is str else "unknown"
    _took(row, rpc)
    method = first(rpc, "method") or at(asked, "method")
    named = {name: rpc.get(name) for name in ("id", "task_id")}
    told = {f"a2a.{name}": str(value) for name, value in named.items() if value is not None}
    row["attributes"] = {**row["attributes"], **told}
    return filled(
        row,
        operation=method,
        session_id=first(rpc, "context_id") or at(asked, "params.message.contextId"),
        content_text=words([at(asked, "params.message")]),
        content_direction="out",
        peer_agent_id=shared.get("service_name"),
        error_message=error if error.__class__ is str else at(error, "message"),
    )


_STATES: Final = {
    "completed": "succeeded",
    "failed": "failed",
    "rejected": "denied",
    "canceled": "cancelled",
}


def _audit(audit: Object, shared: Row) -> Row:
    """What the gateway decided on a call; a call that it denied leaves nothing else."""
    decision = audit.get("action")
    known = _DECISIONS.get(decision) if decision.__class__ is str else None
    row = {**shared, "kind": "policy_decision", "attempt": "requested"}
    row["outcome"] = "denied" if known == "deny" else "succeeded"
    primitive: Any = audit.get("primitive_name")
    tool = audit.get("primitive") == "tool"
    return filled(
        row,
        policy_decision=known or decision,
        policy_reason=audit.get("scope"),
        tool_name=primitive if tool else None,
        target_resource=None if tool else primitive,
        tool_server=shared.get("service_name"),
        agent_id=first(audit, "consumer.name", "consumer.id") or shared.get("agent_id"),
    )
