"""OpenAI Agents SDK: batches of its trace exporter, `{"data": [trace or trace.span, …]}`."""

from collections.abc import Iterator, Mapping, Sequence
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
    time_us,
)
from tachograph.pipeline.normalize.messages import words
from tachograph.pipeline.normalize.raw import Row

SOURCE: Final = "openai_agents"
# Parents walked to find the agent of a span.
ANCESTORS: Final = 64
Spans = Mapping[str, Object]


class OpenAiAgents(Written):
    """See Decoder."""

    name = SOURCE
    title = "OpenAI Agents SDK (BackendSpanExporter)"

    def recognises(self, item: Object) -> bool:
        """See Decoder."""
        if item.get("object") in ("trace", "trace.span"):
            return True
        found = objects(item.get("data"))[:1]
        return bool(found) and found[0].get("object") in ("trace", "trace.span")

    def read(self, items: Sequence[Object], context: Context) -> Read:
        """See Decoder. Children come before their parents, so a record is read as a whole."""
        service = context.service or SOURCE
        parts = [objects(item["data"]) if "data" in item else [item] for item in items]
        every = [one for part in parts for one in part]
        spans = {str(one.get("id")): one for one in every if one.get("object") == "trace.span"}
        named = {_trace(one.get("id")): one for one in every if one.get("object") == "trace"}
        told = [
            [made for one in part if one.get("object") == "trace.span"
             for made in _told(one, spans, named, service)]
            for part in parts
        ]  # fmt: skip
        naming = [_naming(trace, one, service) for trace, one in named.items() if trace]
        return Read(told, naming)


FORMAT = OpenAiAgents()


def _trace(value: Any) -> str | None:
    text = value.removeprefix("trace_") if value.__class__ is str else None
    return text.lower() if text is not None and hexadecimal(text, 32) else None


def _naming(trace: str | None, item: Object, service: str) -> Row:
    row: Row = {"trace_id": trace, "service_name": service}
    return filled(row, session_id=item.get("group_id"))


def _agent(span: Object, spans: Spans) -> Any:
    """Name of the nearest agent above a span; its turns name it too."""
    for _ in range(ANCESTORS):
        if at(span, "span_data.type") == "agent":
            return at(span, "span_data.name")
        named = at(span, "span_data.data.agent_name")
        if named is not None:
            return named
        parent = spans.get(str(span.get("parent_id")))
        if parent is None:
            return None
        span = parent
    return None


def _told(
    span: Object, spans: Spans, named: Mapping[str | None, Object], service: str
) -> Iterator[Told]:
    data = span.get("span_data")
    made = _made(data) if data.__class__ is dict else None
    if made is None:
        return
    trace = _trace(span.get("trace_id"))
    of_trace = named.get(trace, {})
    begin, end = time_us(span.get("started_at")), time_us(span.get("ended_at"))
    row: Row = {"source_kind": SOURCE, "source_id": SOURCE, "service_name": service,
                "agent_framework": "openai-agents", "event_time": end or begin}  # fmt: skip
    if begin is not None:
        row["start_time"] = begin
    if begin is not None and end is not None:
        row["duration_ms"] = (end - begin) / 1000
    error = span.get("error")
    row["outcome"] = "failed" if error else "succeeded" if end is not None else "unknown"
    row |= made
    if row.get("attempt") == "executed" and end is None:
        row["attempt"] = "requested"
    agent = _agent(span, spans)
    filled(
        row,
        trace_id=trace,
        session_id=of_trace.get("group_id"),
        agent_name=agent,
        agent_id=agent,
        error_message=at(error, "message"),
        error_type="error" if error else None,
    )
    metadata = of_trace.get("metadata")
    extra = (
        {f"metadata.{name}": value for name, value in metadata.items()}
        if metadata.__class__ is dict
        else {}
    )
    if of_trace.get("workflow_name"):
        extra["workflow_name"] = of_trace["workflow_name"]
    if error and at(error, "data"):
        extra["error.data"] = error["data"]
    extra |= {"openai.span_id": span.get("id"), "openai.parent_id": span.get("parent_id")}
    row["attributes"] = {
        **{n: v for n, v in extra.items() if v is not None},
        **row.get("attributes", {}),
    }
    # A span names its agent only where a parent does: what all have in common is the service that
    # the endpoint names, else the source.
    yield Told(row, str(span["id"]) if span.get("id") else None, service)


def _made(data: Object) -> Row | None:
    """What a span is about; None: it only holds others."""
    match data.get("type"):
        case "function":
            row: Row = {"kind": "tool_call", "attempt": "executed", "operation": "execute_tool"}
            return filled(
                row,
                tool_name=data.get("name"),
                tool_args=data.get("input"),
                tool_result=data.get("output"),
                tool_server=at(data, "mcp_data.server"),
                tool_type="mcp" if data.get("mcp_data") else "function",
            )
        case "generation" | "response":
            return _generation(data)
        case "agent":
            row = {"kind": "agent_call", "operation": "invoke_agent"}
            return row | {"attributes": {"agent.tools": data.get("tools") or []}}
        case "handoff":
            row = {"kind": "agent_call", "operation": "handoff"}
            return filled(
                row, peer_agent_id=data.get("to_agent"), agent_name=data.get("from_agent")
            )
        case "guardrail":
            blocked = data.get("triggered") is True
            row = {"kind": "guardrail", "outcome": "denied" if blocked else "succeeded"}
            verdict = "block" if blocked else "pass"
            return filled(row, guardrail_name=data.get("name"), guardrail_verdict=verdict)
        case "mcp_tools":
            row = {"kind": "tool_listing", "operation": "tools/list", "mcp_method": "tools/list"}
            return filled(row, tool_server=data.get("server"), tool_definitions=data.get("result"))
        case "transcription" | "speech":
            return _voice(data)
        case "speech_group":
            return None
    if at(data, "data.sdk_span_type") is not None:
        # A turn or a task: it holds other spans and names their agent.
        return None
    # A program's own span, or one of a release to come.
    row = {"kind": "other", "attributes": {"span_type": data.get("type"), **rest(data, _NAMED)}}
    return filled(row, operation=first(data, "name", "type"))


_NAMED: Final = frozenset({"type", "name"})


def _voice(data: Object) -> Row:
    """Words heard, or said aloud; the sound itself is left out."""
    heard = data.get("type") == "transcription"
    text = data.get("output") if heard else data.get("input")
    row: Row = {"kind": "completion", "operation": data["type"], "model_provider": "openai"}
    row |= {"content_role": "user" if heard else "assistant"}
    row |= {"content_direction": "in" if heard else "out"}
    return filled(
        row,
        content_text=text if text.__class__ is str else None,
        model_name=data.get("model"),
        model_settings=data.get("model_config"),
    )


def _generation(data: Object) -> Row:
    row: Row = {"kind": "completion", "operation": "chat"}
    answers = objects(data.get("output"))
    said = words(answers)
    if said:
        row.update(content_text=said, content_role="assistant", content_direction="out")
    if data.get("response_id"):
        row["attributes"] = {"gen_ai.response.id": str(data["response_id"])}
    return filled(
        row,
        model_name=data.get("model"),
        model_settings=data.get("model_config"),
        model_provider="openai",
        input_messages=data.get("input"),
        output_messages=answers or None,
        usage_input_tokens=first(data, "usage.input_tokens", "usage.prompt_tokens"),
        usage_output_tokens=first(data, "usage.output_tokens", "usage.completion_tokens"),
        usage_cached_tokens=at(data, "usage.input_tokens_details.cached_tokens"),
        usage_reasoning_tokens=at(data, "usage.output_tokens_details.reasoning_tokens"),
    )
