"""Who, where and which: partition key, event id, twin key, session and agent, and the links a batch teaches.

Joins use the export batch alone (SEMANTICS: identity); what a later batch teaches goes out as a session link.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from tachograph.pipeline.clock import to_datetime
from tachograph.pipeline.normalize import limits
from tachograph.pipeline.normalize.raw import Item, Row
from tachograph.schemas.identity import Key
from tachograph.schemas.records import SessionLink

T = TypeVar("T")
# No UTF-8 text contains it.
_SEPARATOR = b"\xff"


def event_id(key: Key, tenant: str, item: Item, producer: str, event_us: int) -> str:
    """Keyed id of an action: equal for a repeated record, different for another action under a used id."""
    head = (tenant, item.partition_key, producer, str(event_us))
    return key.digest(_SEPARATOR.join([*map(str.encode, head), item.meaning]))


def twin_key(key: Key, tenant: str, row: Row) -> str | None:
    """Equal for two reports of one action. By call or response id; MCP server and client spans meet by span id."""
    trace, call = row.get("trace_id"), row.get("tool_call_id")
    if not trace:
        return None
    if call:
        return key.id("twin", tenant, str(trace), _family(row), str(call))
    extra = row.get("attributes")
    response = extra.get("gen_ai.response.id") if extra.__class__ is dict else None  # type: ignore[union-attr]
    return key.id("twin", tenant, str(trace), "response", str(response)) if response else None


def _family(row: Row) -> str:
    """A call and its later result, or the decision on it, are different actions and no twins."""
    return str(row.get("kind"))


class _Trace:
    """What one export batch says of one trace of one service."""

    __slots__ = ("agents", "parents", "principals", "rows", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[str, None] = {}
        self.agents: dict[tuple[str | None, str | None], None] = {}
        self.principals: dict[str, None] = {}
        self.parents: dict[str, str] = {}
        self.rows: dict[str, Row] = {}


class Named(NamedTuple):
    """One pair a batch names: the trace belongs to this conversation and, perhaps, agent and principal."""

    partition_key: str
    trace_id: str
    session_id: str
    agent_id: str | None
    agent_name: str | None
    principal_id: str | None


def join_spans(items: Iterable[Item], naming: Iterable[tuple[str, Row]]) -> list[Named]:
    """Give spans without conversation or agent those of their ancestors, or of their trace if it has just one.

    `naming`: (partition key, row) of spans that were left out but name something. Rows are changed in place.
    Returns every pair named.
    """
    traces: dict[tuple[str, str], _Trace] = {}
    lacking: list[tuple[_Trace, Row]] = []
    every = [(item.partition_key, item.row) for item in items]
    for place, row in (*every, *naming):
        trace_id = row.get("trace_id")
        if not trace_id:
            continue
        trace = traces.get((place, trace_id))
        if trace is None:
            trace = traces[place, trace_id] = _Trace()
        _learn(trace, row)
        if "session_id" not in row or not ("agent_id" in row or "agent_name" in row):
            lacking.append((trace, row))
    for trace, row in lacking:
        _fill(trace, row)
    return list(_named(traces))


def _learn(trace: _Trace, row: Row) -> None:
    session, principal = row.get("session_id"), row.get("principal_id")
    if session:
        trace.sessions[session] = None
    if row.get("agent_id") or row.get("agent_name"):
        trace.agents[row.get("agent_id"), row.get("agent_name")] = None
    if principal:
        trace.principals[principal] = None
    span = row.get("span_id")
    if span:
        trace.rows[span] = row
        trace.parents[span] = row.get("parent_span_id") or ""


def _fill(trace: _Trace, row: Row) -> None:
    if "session_id" not in row and trace.sessions:
        found = _only(trace.sessions) or _ancestor(trace, row, "session_id")
        if found:
            row["session_id"] = found
    if "agent_id" not in row and "agent_name" not in row and trace.agents:
        pair = _only(trace.agents)
        if pair is None:
            pair = (_ancestor(trace, row, "agent_id"), _ancestor(trace, row, "agent_name"))
        row.update({n: v for n, v in zip(("agent_id", "agent_name"), pair, strict=True) if v})
    if "principal_id" not in row and trace.principals:
        principal = _only(trace.principals)
        if principal:
            row["principal_id"] = principal


def _only(found: dict[T, None]) -> T | None:
    return next(iter(found)) if len(found) == 1 else None


def _ancestor(trace: _Trace, row: Row, field: str) -> str | None:
    span = row.get("parent_span_id") or ""
    for _ in range(limits.ANCESTORS):
        parent = trace.rows.get(span)
        if parent is None:
            return None
        if parent.get(field):
            return str(parent[field])
        span = trace.parents[span]
    return None


def _named(traces: dict[tuple[str, str], _Trace]) -> Iterator[Named]:
    for (place, trace_id), trace in traces.items():
        agent_id, agent_name = _only(trace.agents) or (None, None)
        for session in trace.sessions:
            yield Named(place, trace_id, session, agent_id, agent_name, _only(trace.principals))


class LinkBook:
    """Links announced already, bounded: a forgotten one is announced again, which changes nothing."""

    def __init__(self, capacity: int = limits.KNOWN_LINKS) -> None:
        self._known: OrderedDict[tuple[str, Named], None] = OrderedDict()
        self._capacity = capacity
        self.evicted = 0

    def fresh(self, tenant: str, named: Named, observed_us: int) -> SessionLink | None:
        """The link to announce, or None when it was."""
        place = (tenant, named)
        if place in self._known:
            self._known.move_to_end(place)
            return None
        self._known[place] = None
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)
            self.evicted += 1
        return SessionLink(
            tenant=tenant,
            partition_key=named.partition_key,
            trace_id=named.trace_id,
            session_id=named.session_id,
            agent_id=named.agent_id,
            agent_name=named.agent_name,
            principal_id=named.principal_id,
            observed_time=to_datetime(observed_us),
        )
