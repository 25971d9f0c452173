"""One span of an agent → one action. The kind comes from gen_ai.operation.name, mcp.method.name,
openinference.span.kind or traceloop.span.kind; a client span of plain HTTP is an `http` action.
Other spans tell nothing
of an agent: they are left out and counted, and so are CHAIN, workflow and task spans, which only
wrap others (but they
still name sessions).
"""

from typing import Any, Final

from tachograph.pipeline.normalize import limits, messages, vocabulary
from tachograph.pipeline.normalize.otlp import Attributes, Span
from tachograph.pipeline.normalize.raw import BadInput, Row
from tachograph.pipeline.normalize.rows import JSON_TEXT, TEXTS, json_text
from tachograph.schemas.batch import COLUMNS

ERROR: Final = 2
SERVER: Final = 2
CLIENT: Final = 3
WRAPPER: Final = "wrapper"
# No field: by what a span without a call id meets its twin.
TWIN: Final = "_twin"
_ASSISTANT: Final = frozenset({"assistant", "model", "ai"})
USER: Final = frozenset({"user", "human"})
_OLD = vocabulary.OLD
# Python type that a column takes as it is.
_PLAIN: Final = {
    name: {"String": str, "Int64": int, "Float64": float}.get(str(dtype))
    for name, dtype in COLUMNS.items()
}
_TODAY: Final = {name: (field, _PLAIN[field]) for name, field in vocabulary.NEW.items()}


def kind_of(span: Span) -> str | None:
    """Kind of action of a span; WRAPPER for spans that only wrap; None: nothing of an agent."""
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
    if "mcp_method" in row and "tool_call_id" not in row:
        # The server's span is the child of the client's: both report one call.
        row[TWIN] = span.parent_span_id if span.kind == SERVER else span.span_id
    if span.events:
        _events(row, extra, span)
    _by_kind(row, extra, kind)
    row.setdefault("operation", span.name)
    keep(row, extra)
    return row


def fields(attributes: Attributes) -> tuple[Row, Row]:
    """Attributes as fields of Action, and those that are none."""
    row: Row = {}
    extra: Row = {}
    late: list[tuple[str, str, Any]] = []
    for name, value in attributes.items():
        known = _TODAY.get(name)
        if known is None:
            if name in _OLD:
                late.append((_OLD[name], name, value))
            elif value is not None:
                extra[name] = value
        elif value.__class__ is known[1] and value != "":
            row[known[0]] = value
        elif not put(row, known[0], value):
            extra[name] = value
    for field, name, value in late:
        if field in row or not put(row, field, value):
            extra[name] = value
    return row, extra


def put(row: Row, field: str, value: Any) -> bool:
    """Set a field from a value of any type; False when it does not fit (it is kept as an
    attribute).
    """
    if value is None or value == "":
        return True
    fitted = _fitted(field, value)
    if fitted is None:
        return False
    row[field] = fitted
    return True


def _fitted(field: str, value: Any) -> Any:
    dtype = COLUMNS[field]
    if dtype == TEXTS:
        texts = value if value.__class__ is list else [value]
        return [text if text.__class__ is str else json_text(text) for text in texts]
    plain = _PLAIN[field]
    if plain is str:
        return value if value.__class__ is str or field in JSON_TEXT else json_text(value)
    if plain in (int, float):
        return _number(value, plain)
    return value if value.__class__ is bool else None


def _number(value: Any, kind: type[Any]) -> Any:
    """A number that may come as text or as the other kind of number; None when it is none."""
    try:
        number = float(value) if kind is float or value.__class__ is float else int(value)
        return number if kind is float else int(number)
    except (ValueError, TypeError, OverflowError):
        return None


def keep(row: Row, extra: Row) -> None:
    """What is no field goes into `attributes`, within the limit."""
    if not extra:
        return
    if len(extra) > limits.ATTRIBUTES:
        extra = dict(list(extra.items())[: limits.ATTRIBUTES])
        row["truncated"] = ["attributes"]
    row["attributes"] = extra


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


def _by_kind(row: Row, extra: Row, kind: str) -> None:
    """What only the kind tells: where a library's input and output belong, the words, the memory
    operation.
    """
    if "traceloop.entity.name" in extra:
        name = extra["traceloop.entity.name"]
        row.setdefault("tool_name" if kind == "tool_call" else "agent_name", str(name))
    if not messages.FLAT_FIRST.isdisjoint(extra):
        _unflatten(row, extra)
    if "target_host" in row and kind != "http":
        _server(row, kind)
    if not _VALUES.isdisjoint(extra):
        _values(row, extra, kind)
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


def resource_row(resource: Attributes, scope: str) -> Row:
    """What a resource and a scope say of every span in them."""
    row: Row = {"source_id": scope or None, "agent_framework": scope or None}
    extra: Row = {}
    for name, value in resource.items():
        field = vocabulary.RESOURCE.get(name)
        if field:
            put(row, field, value)
        elif value is not None and not name.startswith(vocabulary.RESOURCE_LEFT_OUT):
            extra[f"resource.{name}"] = value
    if extra:
        row["attributes"] = extra
    return row


def place_of(resource: Attributes) -> str:
    """Partition key: the service identity, which every record of an agent's process carries."""
    name = resource.get("service.name")
    space = resource.get("service.namespace")
    name = name if name.__class__ is str and name else "unknown_service"
    return f"{space}/{name}" if space.__class__ is str and space else str(name)
