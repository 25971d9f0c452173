"""Who, where and which: partition key, event id, twin key, session and agent, and the links a
batch teaches.

Joins use the export batch alone (SEMANTICS: identity); what a later batch teaches goes out as a
session link.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import polars as pl

from tachograph.pipeline.clock import to_datetime
from tachograph.pipeline.normalize import limits
from tachograph.pipeline.normalize.raw import Item, Row
from tachograph.pipeline.normalize.rows import json_text
from tachograph.schemas.identity import Key
from tachograph.schemas.records import SessionLink

RESPONSE: Final = "gen_ai.response.id"
RESPONSE_TWIN: Final = "response"
# Providers' ids of responses have so many; small local servers count from 0.
UNIQUE_BYTES: Final = 20
T = TypeVar("T")
# Of an action: tenant, partition key, producer's id, event time in µs, meaning, and whether the
# producer's id is meant for it alone.
Told = tuple[str, str, str, int | None, bytes | memoryview, bool]


class Ids:
    """Keyed ids of actions. What is the same for many actions is hashed once."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._heads: dict[tuple[str, str], Key] = {}

    def event_ids(self, actions: Iterable[Told]) -> list[str]:
        """Equal for a repeated record, different for another action under a used id.

        Where the producers' ids are meant for one action only, the first half is of that id alone.
        """
        heads = self._heads
        found = []
        for tenant, place, producer, event_us, meaning, own_id in actions:
            head = heads.get((tenant, place)) or self._head(tenant, place)
            hashed = head.told_apart if own_id else head.digest
            found.append(hashed(producer.encode(), b"\xff%d\xff" % (event_us or 0), meaning))
        return found

    def _head(self, tenant: str, place: str) -> Key:
        if len(self._heads) >= limits.CACHED_TEXTS:
            self._heads.clear()
        head = self._heads[tenant, place] = self._key.after(tenant, place)
        return head

    def twin_keys(self, frame: pl.DataFrame, kind: pl.Series, call: pl.Series) -> pl.Series:
        """Equal for two reports of one action, by call or response id, or by the span of
        an MCP call; null where it has none. Ids of calls hold within a trace; those of responses
        that are long enough to be the only ones of their kind hold by themselves, since a gateway
        seldom knows the trace of its client.

        A call, its later result and the decision on it are different actions and no twins.
        `frame`: tenant and trace_id; `kind`, `call`: of each row, null where nothing tells.
        """
        if call.null_count() == len(call):
            return pl.Series([None], dtype=pl.String).new_from_index(0, frame.height)
        tenant = pl.col("tenant")
        trace = pl.col("trace_id") if "trace_id" in frame.columns else pl.lit("")
        alone = (kind == RESPONSE_TWIN) & (call.str.len_bytes() >= UNIQUE_BYTES)
        trace = pl.when(pl.lit(alone)).then(pl.lit("")).otherwise(trace)
        text = pl.format(
            "twin/{}/{}/{}/{}/{}/{}",
            pl.lit(kind).fill_null("None"), trace.str.len_chars(), trace,
            tenant.str.len_chars(), tenant, pl.lit(call),
        )  # fmt: skip
        known = pl.lit(alone) | (trace != "") & pl.lit(call).is_not_null()
        texts = frame.select(pl.when(known).then(text)).to_series()
        digest = self._key.digest
        keys = [text if text is None else digest(text.encode()) for text in texts]
        return pl.Series(keys, dtype=pl.String)


def twin_call(row: Row) -> tuple[str | None, str | None]:
    """(kind, call) by which two reports of this action meet. An MCP message that was seen on its
    way is within the span of its client, as the server's span is.
    """
    call = row.get("tool_call_id")
    if row.get("mcp_method") and row.get("parent_span_id") and not row.get("span_id"):
        call = row["parent_span_id"]
    if call:
        return str(row.get("kind")), str(call)
    extra = row.get("attributes")
    response = extra.get(RESPONSE) if extra.__class__ is dict else None
    if response is None or response == "":
        return None, None
    return RESPONSE_TWIN, response if response.__class__ is str else json_text(response)


class Named(NamedTuple):
    """One pair a batch names: the trace belongs to this conversation and, perhaps, agent and
    principal.
    """

    partition_key: str
    trace_id: str
    session_id: str
    agent_id: str | None
    agent_name: str | None
    principal_id: str | None


class Trace:
    """The spans that one export batch holds of one trace of one service."""

    __slots__ = ("_by_span", "agents", "principals", "rows", "sessions")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.sessions: dict[str, None] = {}
        self.principals: dict[str, None] = {}
        self.agents: dict[tuple[str | None, str | None], None] = {}
        self._by_span: dict[str, Row] | None = None

    def add(self, row: Row) -> None:
        """Take a span in. Types are checked later, a column at a time: until then a value may be
        anything.
        """
        self.rows.append(row)
        self.hear(row)

    def hear(self, row: Row) -> None:
        """Take in what a span says, but not the span."""
        session, principal = row.get("session_id"), row.get("principal_id")
        if session.__class__ is str and session:
            self.sessions[session] = None
        if principal.__class__ is str and principal:
            self.principals[principal] = None
        agent, name = row.get("agent_id"), row.get("agent_name")
        if (agent or name) and agent.__class__ in _TEXT and name.__class__ in _TEXT:
            self.agents[agent, name] = None

    @property
    def unclear(self) -> bool:
        """It says more than one thing: whose a span is depends on its ancestors."""
        return len(self.sessions) > 1 or len(self.agents) > 1

    def only(self, field: str) -> str | None:
        """What it says of a field, where it says one thing."""
        if field in _AGENT:
            who = _only(self.agents)
            return (who[_AGENT.index(field)] or None) if who else None
        return _only(self.sessions if field == "session_id" else self.principals)

    def fill(self) -> None:
        """Give what is the trace's to the spans that lack it."""
        session, principal = _only(self.sessions), _only(self.principals)
        agent = _only(self.agents)
        for row in self.rows:
            if self.sessions and row.get("session_id") is None:
                _give(row, "session_id", session or self._ancestor(row, "session_id"))
            if self.agents and row.get("agent_id") is None and row.get("agent_name") is None:
                pair = agent or [self._ancestor(row, n) for n in _AGENT]
                for name, value in zip(_AGENT, pair, strict=True):
                    _give(row, name, value)
            if principal and row.get("principal_id") is None:
                row["principal_id"] = principal

    def named(self, place: str, trace_id: str) -> Iterator[Named]:
        """The pairs it names."""
        who = _only(self.agents) or (None, None)
        principal = _only(self.principals)
        for session in self.sessions:
            yield Named(place, trace_id, session, *who, principal)

    def _ancestor(self, row: Row, field: str) -> str | None:
        """What the nearest ancestor in the batch says; None: none does within the limit."""
        if self._by_span is None:
            self._by_span = {
                row["span_id"]: row for row in self.rows if row.get("span_id").__class__ is str
            }
        span = row.get("parent_span_id")
        for _ in range(limits.ANCESTORS):
            parent = self._by_span.get(span) if span.__class__ is str else None
            if parent is None:
                return None
            value = parent.get(field)
            if value.__class__ is str and value:
                return str(value)
            span = parent.get("parent_span_id")
        return None


_TEXT = (str, type(None))
_AGENT = ("agent_id", "agent_name")


def _only(found: dict[T, None]) -> T | None:
    return next(iter(found)) if len(found) == 1 else None


def _give(row: Row, field: str, value: str | None) -> None:
    if value:
        row[field] = value


def join_spans(items: Sequence[Item], naming: Sequence[tuple[str, Row]]) -> list[Named]:
    """Give spans without conversation or agent those of their ancestors, or of their trace if it
    has just one.

    `naming`: (partition key, row) of spans that were left out but name something. Rows are changed
    in place. Returns every pair named.
    """
    if len(items) == 1 and not naming:
        return _alone(items[0])
    traces: dict[tuple[str, str], Trace] = {}
    for item in items:
        _sort_in(traces, item.partition_key, item.row)
    for place, row in naming:
        _sort_in(traces, place, row)
    for trace in traces.values():
        trace.fill()
    return [named for place, trace in traces.items() for named in trace.named(*place)]


def _alone(item: Item) -> list[Named]:
    """An action that came by itself, as most of an SDK's do: there is nothing to join."""
    row = item.row
    trace_id, session = row.get("trace_id"), row.get("session_id")
    who = [row.get(name) for name in (*_AGENT, "principal_id")]
    if not trace_id or not session or any(one.__class__ not in _TEXT for one in who):
        return []
    if trace_id.__class__ is not str or session.__class__ is not str:
        return []
    return [Named(item.partition_key, trace_id, session, *who)]


def _sort_in(traces: dict[tuple[str, str], Trace], place: str, row: Row) -> None:
    trace_id = row.get("trace_id")
    if trace_id.__class__ is not str or not trace_id:
        return
    trace = traces.get((place, trace_id))
    if trace is None:
        trace = traces[place, trace_id] = Trace()
    trace.add(row)


class LinkBook:
    """Links announced already, bounded: a forgotten one is told again, which changes nothing."""

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
