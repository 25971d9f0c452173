"""MCP JSON-RPC as a tap in a proxy, a gateway or a stdio shim sees it: both generations of the
protocol, bare messages or in an envelope.

A request and its answer in one record are one action; an answer whose request lies elsewhere is a
result of its own. Names in `clientInfo` are what the peer calls itself.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from tachograph.pipeline.normalize.formats.decoder import Read, Told, Written
from tachograph.pipeline.normalize.formats.reading import (
    Context,
    Object,
    at,
    filled,
    first,
    objects,
    said_in,
    time_us,
    trace_of,
    within,
)
from tachograph.pipeline.normalize.messages import words
from tachograph.pipeline.normalize.raw import Row
from tachograph.pipeline.normalize.vocabulary import METHODS

SOURCE: Final = "mcp"
# What a listing says of each tool in it.
_OF_ALL: Final = (
    "source_kind", "event_time", "session_id", "agent_id", "agent_name", "principal_id",
    "tool_server", "transport", "trace_id", "mcp_protocol_version", "source_id",
)  # fmt: skip
# Where an envelope of somebody's keeps the message.
_MESSAGES: Final = ("message", "msg", "raw", "jsonrpc_message", "payload", "request", "response",
                    "data", "body")  # fmt: skip
_META: Final = "io.modelcontextprotocol/"
_RESULT_KEYS: Final = frozenset({"content", "structuredContent"})


CLIENT: Final = "client"
SERVER: Final = "server"
_PEER: Final = {CLIENT: SERVER, SERVER: CLIENT}
# Words for a direction → who sends.
_SENDERS: Final = {
    **dict.fromkeys(("client_to_server", "client-to-server", "c2s", "to_server"), CLIENT),
    **dict.fromkeys(("server_to_client", "server-to-client", "s2c", "to_client"), SERVER),
}
# What only a server asks, and what is only in answers to it.
_OF_SERVERS: Final = frozenset({"sampling/createMessage", "elicitation/create", "roots/list"})
_TO_SERVERS: Final = frozenset({"action", "model", "roots"})


Key = tuple[str, str, str, str]


class _Said(msgspec.Struct):
    """One message with what its envelope says of it."""

    number: int
    message: Object
    envelope: Object

    @property
    def method(self) -> str | None:
        """The method it asks for; None: it is an answer."""
        method = self.message.get("method")
        return method if method.__class__ is str else None

    def key(self, asker: str) -> Key:
        """What an answer shares with its request. An id may be text or a number, which differ, and
        both peers count for themselves.
        """
        ident = self.message.get("id")
        return (str(self.session), asker, ident.__class__.__name__, str(ident))

    @property
    def asker(self) -> str:
        """The peer that asks, or asked: by the direction, else by what the message says."""
        said = self.envelope.get("direction")
        sender = _SENDERS.get(said.lower()) if said.__class__ is str else None
        if sender is not None:
            return sender if self.method is not None else _PEER[sender]
        if self.method is not None:
            return SERVER if self.method in _OF_SERVERS else CLIENT
        result = self.message.get("result")
        told = result.__class__ is dict and not _TO_SERVERS.isdisjoint(result)
        return SERVER if told else CLIENT

    @property
    def session(self) -> Any:
        """The session, if the envelope names one."""
        return first(self.envelope, "session_id", "session", "mcp-session-id", "mcp_session_id")


class Mcp(Written):
    """See Decoder."""

    name = SOURCE
    title = "MCP JSON-RPC messages"

    def recognises(self, item: Object) -> bool:
        """See Decoder."""
        return any(
            message.get("jsonrpc") == "2.0" or "isError" in message for message in _messages(item)
        )

    def read(self, items: Sequence[Object], context: Context) -> Read:
        """See Decoder."""
        told: list[list[Told]] = [[] for _ in items]
        asked: dict[Key, tuple[_Said, Row]] = {}
        peers: dict[str, Row] = {}
        joined: set[int] = set()
        for number, item in enumerate(items):
            for message in _messages(item):
                said = _Said(number, message, item if message is not item else {})
                waiting = len(asked)
                told[number] += _told(said, asked, peers, context)
                if len(asked) < waiting:
                    joined.add(number)
        return Read(told, joined=frozenset(joined))


FORMAT = Mcp()


def _told(
    said: _Said,
    asked: dict[Key, tuple[_Said, Row]],
    peers: dict[str, Row],
    context: Context,
) -> list[Told]:
    """What one message tells. `asked`: requests that have no answer yet; `peers`: who they said
    they are, by session.
    """
    known = peers.setdefault(str(said.session), {})
    if said.method == "notifications/cancelled":
        _cancelled(said, asked)
        return []
    if said.method is not None:
        made = _request(said, context)
        told = [made] if made is not None else []
        if made is not None:
            asked[said.key(said.asker)] = said, made.row
    elif (found := _asked(said, asked)) is not None:
        before, row = found
        told = list(_answered(row, before, said, context))
        _introduced(row, known)
    else:
        told = list(_alone(said, context))
    for one in told:
        _introduced(one.row, known)
    return told


def _cancelled(said: _Said, asked: dict[Key, tuple[_Said, Row]]) -> None:
    """Its sender takes back what it asked for in the same record."""
    ident = at(said.message, "params.requestId")
    key = (str(said.session), said.asker, ident.__class__.__name__, str(ident))
    if key in asked:
        _, row = asked.pop(key)
        row["outcome"] = "cancelled"
        filled(row, error_message=at(said.message, "params.reason"))


def _asked(said: _Said, asked: dict[Key, tuple[_Said, Row]]) -> tuple[_Said, Row] | None:
    """The request that a message answers. A tap may not know which way a message went."""
    keys = (said.key(said.asker), said.key(_PEER[said.asker]))
    return next((asked.pop(key) for key in keys if key in asked), None)


def _introduced(row: Row, peers: Row) -> None:
    """Peers say who they are when a session begins; what comes later is of the same ones."""
    for name in ("agent_id", "agent_name", "agent_version", "tool_server"):
        if name in row:
            peers[name] = row[name]
        elif name in peers:
            row[name] = peers[name]


def _messages(item: Object) -> list[Object]:
    """The JSON-RPC messages of an item: one, or those of a batch."""
    if "jsonrpc" in item:
        return [item]
    # An envelope may hold a call and its answer side by side, and one of them as text besides.
    found: list[list[Object]] = []
    for name in _MESSAGES:
        if name not in item:
            continue
        held = objects(within(item[name]))
        held = [one for one in held if "jsonrpc" in one or _RESULT_KEYS & one.keys()]
        if held not in found:
            found.append(held)
    return [one for held in found for one in held]


def _shared(said: _Said, context: Context) -> Row:
    envelope, message = said.envelope, said.message
    meta = at(message, "params._meta") or at(message, "result._meta") or {}
    when = time_us(first(envelope, "ts", "time", "timestamp", "@timestamp"))
    if when is None and context.observed_us is not None:
        when = context.observed_us + said.number
    row: Row = {"source_kind": SOURCE, "event_time": when}
    trace = trace_of(at(meta, "traceparent"))
    if trace is not None:
        row["trace_id"], row["parent_span_id"] = trace
    client = meta.get(f"{_META}clientInfo") if meta.__class__ is dict else None
    version = meta.get(f"{_META}protocolVersion") if meta.__class__ is dict else None
    server = meta.get(f"{_META}serverInfo") if meta.__class__ is dict else None
    calls_itself = at(client, "name") or at(message, "params.clientInfo.name")
    return filled(
        row,
        session_id=said.session,
        agent_id=first(envelope, "agent_id", "agent", "client") or calls_itself,
        agent_name=calls_itself,
        agent_version=at(client, "version") or at(message, "params.clientInfo.version"),
        principal_id=first(envelope, "principal", "user", "subject"),
        tool_server=first(envelope, "server_name", "server.name", "server", "server_url")
        or at(server, "name"),
        transport=first(envelope, "transport"),
        mcp_protocol_version=version or at(message, "params.protocolVersion"),
        source_id=first(envelope, "tap", "gateway", "proxy"),
    )


def _request(said: _Said, context: Context) -> Told | None:
    """A request, or a notification that tells something; None: it does not."""
    method = said.method or ""
    if method.startswith("notifications/") and method != "notifications/tools/list_changed":
        return None
    message = said.message
    row = _shared(said, context)
    row |= {"kind": METHODS.get(method, "other"), "attempt": "requested", "outcome": "unknown"}
    params = message.get("params")
    if row["kind"] == "tool_call":
        filled(row, tool_name=at(params, "name"), tool_args=at(params, "arguments"))
    elif method == "sampling/createMessage":
        filled(row, input_messages=at(params, "messages"),
               system_instructions=at(params, "systemPrompt"))  # fmt: skip
    elif method == "elicitation/create":
        row.update(content_direction="in", content_role="tool", content_trust="untrusted")
        filled(row, content_text=at(params, "message"), target_url=at(params, "url"))
    elif row["kind"] == "retrieval":
        filled(row, target_resource=first(params, "uri", "name") if params else None)
    answers = [str(one.get("action")) for one in objects_of(at(params, "inputResponses"))]
    if answers:
        row["approval_decision"] = "approved" if set(answers) == {"accept"} else "refused"
    filled(row, operation=method, mcp_method=method, tool_call_id=_text(message.get("id")),
           tool_type="mcp" if row["kind"] == "tool_call" else None)  # fmt: skip
    return Told(row, _producer(said, "request"))


def objects_of(value: Any) -> list[Object]:
    """The objects among the values of an object."""
    return objects(list(value.values())) if value.__class__ is dict else []


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _producer(said: _Said, side: str) -> str | None:
    ident, session = said.message.get("id"), said.session
    if ident is None or session is None:
        return None
    return f"{session}/{ident.__class__.__name__}/{ident}/{side}"


def _result(row: Row, message: Object) -> None:
    """What came of a call. A tool that failed answers with a result all the same."""
    error = message.get("error")
    result = message.get("result") if "jsonrpc" in message else message
    if error is not None:
        filled(row, outcome="failed", error_type=_text(at(error, "code")),
               error_message=at(error, "message"))  # fmt: skip
        return
    if at(result, "resultType") == "input_required":
        row["policy_decision"] = "require_approval"
        questions = [one.get("params") for one in objects_of(at(result, "inputRequests"))]
        asked = [str(at(one, "message")) for one in questions if at(one, "message")]
        filled(row, policy_reason="; ".join(asked) or None)
        return
    failed = at(result, "isError") is True
    row["attempt"] = "executed"
    filled(
        row,
        outcome="failed" if failed else "succeeded",
        error_type="tool_error" if failed else None,
    )
    if result.__class__ is dict:
        _given(row, result)


def _given(row: Row, result: Object) -> None:
    """What an answer holds, by what was asked for."""
    match row.get("mcp_method"):
        case "initialize":
            # Words of the server that models read before anything else.
            if filled(row, content_text=result.get("instructions")).get("content_text"):
                row.update(content_direction="in", content_role="tool", content_trust="untrusted")
            filled(row, tool_server=row.get("tool_server") or at(result, "serverInfo.name"),
                   mcp_protocol_version=result.get("protocolVersion"))  # fmt: skip
        case "sampling/createMessage":
            row.update(content_direction="out", content_role="assistant")
            filled(row, content_text=words([result]), model_served=result.get("model"))
        case "elicitation/create":
            accepted = result.get("action") == "accept"
            row["approval_decision"] = "approved" if accepted else "refused"
        case _:
            filled(
                row,
                tool_result=said_in(first(result, "content", "contents"))
                or words(result.get("messages"))
                or result.get("structuredContent"),
            )


def _answered(row: Row, asked: _Said, said: _Said, context: Context) -> Iterator[Told]:
    """The answer to a request of the same record: it completes that action, in place. A list of
    tools is a listing for each of them.
    """
    came = _shared(said, context)
    if row.get("event_time") is not None and came.get("event_time") is not None:
        row["start_time"] = row["event_time"]
        row["event_time"] = max(came["event_time"], row["event_time"])
        row["duration_ms"] = (row["event_time"] - row["start_time"]) / 1000
    if came.get("tool_server"):
        row.setdefault("tool_server", came["tool_server"])
    _result(row, said.message)
    for number, tool in enumerate(objects(at(said.message, "result.tools"))):
        yield Told(_listed(row, tool), _suffixed(_producer(asked, "tools"), number))


def _suffixed(producer: str | None, number: int) -> str | None:
    return None if producer is None else f"{producer}/{number}"


def _listed(row: Row, tool: Object) -> Row:
    made: Row = {name: row[name] for name in _OF_ALL if name in row}
    made |= {"kind": "tool_listing", "operation": "tools/list", "mcp_method": "tools/list",
             "tool_type": "mcp", "outcome": "succeeded"}  # fmt: skip
    hints = tool.get("annotations")
    if hints.__class__ is dict:
        made["attributes"] = {f"annotations.{name}": value for name, value in hints.items()}
    return filled(
        made,
        tool_name=tool.get("name"),
        tool_description=tool.get("description"),
        tool_schema=tool.get("inputSchema"),
    )


def _alone(said: _Said, context: Context) -> Iterator[Told]:
    """An answer whose request is not in this record."""
    row = _shared(said, context) | {"kind": "tool_result", "tool_type": "mcp"}
    filled(row, tool_call_id=_text(said.message.get("id")))
    tools = objects(at(said.message, "result.tools"))
    _result(row, said.message)
    if not tools:
        yield Told(row, _producer(said, "answer"))
    for number, tool in enumerate(tools):
        yield Told(_listed(row, tool), _suffixed(_producer(said, "tools"), number))
