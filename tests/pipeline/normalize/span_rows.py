"""The slow way: one span → one action, a row at a time. What the columns must agree with.

No part of the product: `normalize` maps spans a column at a time, and here is the same said once
more in the plainest form, over spans that protobuf's own reader or msgspec gave.
"""

from typing import Any, Final

from tachograph.pipeline.normalize import (
    derive,
    genai,
    identity,
    messages,
    otlp,
    results,
    vocabulary,
)
from tachograph.pipeline.normalize.forms import Span
from tachograph.pipeline.normalize.genai import fields, keep, put
from tachograph.pipeline.normalize.raw import BadInput, Item, Row
from tachograph.pipeline.normalize.rows import json_text
from tachograph.schemas.identity import Key

ERROR: Final = 2
SERVER: Final = 2
CLIENT: Final = 3
WRAPPER: Final = "wrapper"
TWIN: Final = "_twin"
INNER: Final = "_inner"
USER: Final = frozenset({"user", "human"})


def expected(value: bytes, key: Key) -> tuple[list[Row], list[str], int, list[identity.Named]]:
    """(rows of the good spans, reasons of the bad ones, spans left out, pairs named) of a request.

    Raises BadInput when nothing of it can be used.
    """
    items: list[Item] = []
    faults: list[str] = []
    naming: list[tuple[str, Row]] = []
    foreign = 0
    for group in otlp.traces(value):
        shared = genai.resource_row(group.resource, group.scope)
        shared["source_kind"] = "otlp_span"
        place = genai.place_of(group.resource)
        for span in group.spans:
            kind = kind_of(span)
            if kind is None or kind == WRAPPER:
                foreign += 1
                row, _ = fields(span.attributes)
                if "session_id" in row or "agent_name" in row or "agent_id" in row:
                    row.update(
                        trace_id=span.trace_id,
                        span_id=span.span_id,
                        parent_span_id=span.parent_span_id,
                    )
                    naming.append((place, row))
                continue
            try:
                row = row_of(span, kind, shared)
            except BadInput as problem:
                faults.append(problem.reason)
                continue
            items.append(Item(row, 0, place, None, b""))
        faults += [problem.reason for problem, _ in group.faults]
    named = identity.join_spans(items, naming)
    rows = [item.row for item in items]
    for row in rows:
        inner = [
            one[TWIN]
            for one in rows
            if one.get(INNER)
            and one[TWIN]
            and row["span_id"]
            and (one["trace_id"], one["parent_span_id"]) == (row["trace_id"], row["span_id"])
        ]
        if len(inner) == 1 and row["kind"] == "tool_call" and not row.get(TWIN):
            row[TWIN] = inner[0]
        if isinstance(row.get("tool_args"), (dict, list)):
            row["tool_args"] = json_text(row["tool_args"])
        if "tool_args" in row:
            derive.arguments(row, key)
        if "target_url" in row or "recipients" in row:
            derive.destination(row)
    return rows, faults, foreign, named


def twin_of(row: Row) -> tuple[str | None, str | None]:
    """(kind, call) by which two reports of one action meet."""
    call = row.get(TWIN) or row.get("tool_call_id")
    return identity.twin_call({**row, "tool_call_id": call, "mcp_method": None})


def kind_of(span: Span) -> str | None:
    """Kind of action; WRAPPER for spans that only wrap; None: nothing of an agent."""
    attributes = span.attributes
    operation = attributes.get("gen_ai.operation.name")
    if operation.__class__ is str and operation:
        return vocabulary.OPERATIONS.get(operation, "other")
    method = attributes.get("mcp.method.name")
    if method.__class__ is str and method:
        return vocabulary.METHODS.get(method, "other")
    return _kind_of_library(span)


def _kind_of_library(span: Span) -> str | None:
    attributes = span.attributes
    for name, kinds in _LIBRARIES:
        value = attributes.get(name)
        if value.__class__ is str and value:
            return WRAPPER if value in vocabulary.WRAPPERS else kinds.get(value, "other")
    operation = attributes.get("ai.operationId")
    if operation.__class__ is str and operation:
        return vocabulary.AI_SDK.get(operation, WRAPPER)
    named = attributes.get("span.type")
    if named.__class__ is str and named in vocabulary.SPAN_TYPES:
        return vocabulary.SPAN_TYPES[named]
    if any(name in attributes for name in _MODEL_CALL):
        return "completion"
    if span.kind == CLIENT and ("http.request.method" in attributes or "http.method" in attributes):
        return "http"
    if "gen_ai.tool.name" in attributes:
        return "tool_call"
    return None


_LIBRARIES: Final = (
    ("openinference.span.kind", vocabulary.OPENINFERENCE),
    ("traceloop.span.kind", vocabulary.TRACELOOP),
)
_MODEL_CALL: Final = ("gen_ai.request.model", "gen_ai.system", "llm.request.type", "llm.model_name")


def row_of(span: Span, kind: str, resource: Row) -> Row:
    """The row of a span. `resource` is what its resource says. Raises BadInput when it has no
    time.
    """
    row, extra = fields(span.attributes)
    row = {**resource, **row}
    shared = row.pop("attributes", None)
    if shared:
        extra = {**shared, **extra}
    end_ns = span.end_ns or span.start_ns
    if end_ns <= 0:
        raise BadInput("missing", "a span has an end time")
    row["kind"] = kind
    row["event_time"] = end_ns // 1000
    if span.start_ns:
        row["start_time"] = span.start_ns // 1000
    row["trace_id"], row["span_id"] = span.trace_id or None, span.span_id or None
    row["parent_span_id"] = span.parent_span_id or None
    row["attempt"] = "executed"
    _outcome(row, span)
    if "mcp_method" in row:
        # The server's span is the child of the client's: both report one call.
        served = span.kind == SERVER
        row[TWIN] = (span.parent_span_id if served else "") or span.span_id
        if served and row.get("source_id"):
            row["source_id"] += " (server)"
        row[INNER] = kind == "tool_call" and not served
    if span.events:
        _events(row, extra, span)
    told = messages.of_events((name, said) for name, _, said in span.events)
    _by_kind(row, extra, kind, told)
    row.setdefault("operation", span.name)
    keep(row, extra)
    return row


def _outcome(row: Row, span: Span) -> None:
    failed = span.status == ERROR or "error_type" in row
    row["outcome"] = "failed" if failed else "succeeded"
    if span.status_message:
        row.setdefault("error_message", span.status_message)


def _events(row: Row, extra: Row, span: Span) -> None:
    for name, _, attributes in span.events:
        if name == "exception":
            put(row, "error_type", row.get("error_type") or attributes.get("exception.type"))
            put(
                row,
                "error_message",
                row.get("error_message") or attributes.get("exception.message"),
            )
    extra["span.events"] = json_text(
        [[name, at, attributes] for name, at, attributes in span.events]
    )


def _by_kind(row: Row, extra: Row, kind: str, told: tuple[list[Any], list[Any]]) -> None:
    """What only the kind tells: where a library's input and output belong, the words, the memory
    operation.
    """
    if "traceloop.entity.name" in extra:
        name = extra["traceloop.entity.name"]
        name = name if name.__class__ is str else json_text(name)
        row.setdefault("tool_name" if kind == "tool_call" else "agent_name", name)
    if not messages.FLAT_FIRST.isdisjoint(extra):
        _unflatten(row, extra)
    if "target_host" in row and kind != "http":
        _server(row, kind)
    if not _VALUES.isdisjoint(extra):
        _values(row, extra, kind)
    _told(row, kind, told)
    if kind in ("completion", "agent_call"):
        text = messages.words(row.get("output_messages"))
        if text is not None:
            row.update(content_text=text, content_role="assistant", content_direction="out")
    elif kind == "prompt":
        text = messages.words(row.get("input_messages"), USER)
        if text is not None:
            row.update(content_text=text, content_role="user", content_direction="in")
    elif kind in ("memory_read", "memory_write"):
        row.setdefault("memory_op", vocabulary.MEMORY_OPS.get(row.get("operation", ""), kind[7:]))


def _told(row: Row, kind: str, told: tuple[list[Any], list[Any]]) -> None:
    for field, said in zip(("input_messages", "output_messages"), told, strict=True):
        if said:
            row.setdefault(field, json_text(said))
    if kind == "tool_call" and row.get("mcp_method") is not None:
        row.setdefault("tool_type", "mcp")
    results.judge(row)


def _values(row: Row, extra: Row, kind: str) -> None:
    """A library's input and output value mean what its kind of span says."""
    for names, field in zip((_INPUTS, _OUTPUTS), _INPUT_OUTPUT.get(kind, ()), strict=False):
        for name in names:
            if name in extra and field not in row:
                put(row, field, extra.pop(name))


def _server(row: Row, kind: str) -> None:
    """server.address is where the model or the tool server is, not what the action was done to."""
    host, port = row.pop("target_host"), row.pop("target_port", None)
    place = f"{host}:{port}" if port is not None else host
    if kind in ("completion", "agent_call", "index"):
        row["model_base_url"] = place
    else:
        row["tool_server"] = place


_INPUTS: Final = ("input.value", "traceloop.entity.input")
_OUTPUTS: Final = ("output.value", "traceloop.entity.output")
_VALUES: Final = frozenset((*_INPUTS, *_OUTPUTS))
_INPUT_OUTPUT: Final[dict[str, tuple[str, str]]] = {
    "tool_call": ("tool_args", "tool_result"),
    "completion": ("input_messages", "output_messages"),
    "agent_call": ("input_messages", "output_messages"),
    "prompt": ("input_messages", "output_messages"),
    "retrieval": ("retrieval_query", "tool_result"),
    "guardrail": ("input_messages", "tool_result"),
}


def _unflatten(row: Row, extra: Row) -> None:
    inputs, outputs = messages.unflatten(extra)
    if inputs:
        row.setdefault("input_messages", inputs)
    if outputs:
        row.setdefault("output_messages", outputs)
    for name in [name for name in extra if name.startswith(messages.FLAT_PREFIXES)]:
        del extra[name]
