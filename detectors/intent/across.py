"""Flows that several sessions have a part in: what untrusted content told one agent, and another
did; what it put into memory, and another session obeyed.

What stands is a function of the set of what was sent. Bounded; evictions are counted.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import msgspec
import polars as pl

from tachograph.detectors.intent.findings import Finding, Kind
from tachograph.detectors.intent.prints import MEMORY
from tachograph.detectors.intent.sent import Role, Sent, sent_of
from tachograph.detectors.intent.steps import Step
from tachograph.detectors.intent.verdicts import signal_of
from tachograph.detectors.sessions.keys import differences
from tachograph.schemas.alert import Severity, Signal

FORMAT = 1
MAX_FLOWS = 20_000
MAX_SENT = 100
MICROS = 1_000_000
# So long after it was told something is held to have been done because of it.
HELD_US = 3600 * MICROS
REMEMBERED_US = 7 * 24 * 3600 * MICROS
_FORGOTTEN = "older parts of this flow were forgotten at a limit"

# (tenant, of).
Flow = tuple[str, str]


class _State(msgspec.Struct, frozen=True):
    format: int
    flows: list[tuple[Flow, list[Sent], bool, list[Signal]]]


class _Held(msgspec.Struct):
    """What was sent of one flow, and what is said of it."""

    sent: dict[tuple[str, str, str], Sent] = msgspec.field(default_factory=dict)
    shed: bool = False
    said: dict[str, Signal] = msgspec.field(default_factory=dict)

    @property
    def last_us(self) -> int:
        return max((one.facts.time_us for one in self.sent.values()), default=0)


class FlowsAcross:
    """Judges the flows that have their place here. Not thread-safe, no I/O, no clock."""

    def __init__(self, max_flows: int = MAX_FLOWS, max_sent: int = MAX_SENT) -> None:
        self._flows: OrderedDict[Flow, _Held] = OrderedDict()
        self._max_flows, self._max_sent = max_flows, max_sent
        self.evicted = 0

    def take(self, rows: pl.DataFrame, revision: int) -> list[Signal]:
        """What rows of flows make true, or no longer so."""
        touched: dict[Flow, None] = {}
        for sent, gone in sent_of(rows):
            flow = sent.facts.tenant, sent.of
            held = self._flows.setdefault(flow, _Held())
            self._flows.move_to_end(flow)
            if gone:
                held.sent.pop(sent.key, None)
            else:
                held.sent[sent.key] = sent
                self._bound(held)
            touched[flow] = None
        found = [signal for flow in touched for signal in self._judged(flow, revision)]
        while len(self._flows) > self._max_flows:
            self.evicted += len(self._flows.popitem(last=False)[1].sent)
        return found

    def _bound(self, held: _Held) -> None:
        if len(held.sent) > self._max_sent:
            oldest = min(held.sent.values(), key=lambda one: (one.facts.time_us, one.key))
            del held.sent[oldest.key]
            held.shed = True
            self.evicted += 1

    def _judged(self, flow: Flow, revision: int) -> list[Signal]:
        held = self._flows[flow]
        blind = [_FORGOTTEN] if held.shed else []
        made = [signal_of(one, blind) for one in findings(held.sent.values())]
        after = {signal.signal_id: signal for signal in made}
        before, held.said = held.said, after
        return differences(before, after, revision)

    def advance(self, watermark_us: int) -> None:
        """Forget flows that nothing is held against any more."""
        for flow, held in list(self._flows.items()):
            span = REMEMBERED_US if flow[1].startswith(MEMORY) else HELD_US
            if held.last_us < watermark_us - span:
                del self._flows[flow]

    def dump(self) -> bytes:
        """The whole state."""
        flows = [
            (flow, list(held.sent.values()), held.shed, list(held.said.values()))
            for flow, held in self._flows.items()
        ]
        return msgspec.msgpack.encode(_State(FORMAT, flows))

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises ValueError when it is none of ours."""
        try:
            kept = msgspec.msgpack.decode(state, type=_State)
        except msgspec.MsgspecError as error:
            raise ValueError(f"no state of flows: {error}") from error
        if kept.format != FORMAT:
            raise ValueError(f"state of flows of format {kept.format}, not {FORMAT}")
        self._flows.clear()
        for flow, sent, shed, said in kept.flows:
            by_id = {signal.signal_id: signal for signal in said}
            self._flows[flow] = _Held({one.key: one for one in sent}, shed, by_id)


def findings(sent: Iterable[Sent]) -> list[Finding]:
    """What the parts of one flow, in whatever order, come to."""
    parts = sorted(sent, key=lambda one: (one.facts.time_us, one.key))
    told, wished = _by_print(parts, "told"), _by_print(parts, "wished")
    found = []
    for deed in parts if told else ():
        if deed.role != "did":
            continue
        new = [name for name in deed.prints if not _before(wished.get(name, ()), deed)]
        sources = [one for name in new for one in _before(told.get(name, ()), deed)]
        others = [one for one in sources if one.actor != deed.actor]
        if others:
            first = min(others, key=lambda one: (one.facts.time_us, one.key))
            shared = len(set(new).intersection(first.prints))
            found.append(_finding(first, deed, shared))
    return found


def _by_print(parts: Sequence[Sent], role: Role) -> dict[str, list[Sent]]:
    found: dict[str, list[Sent]] = {}
    for one in parts:
        for name in one.prints if one.role == role else ():
            found.setdefault(name, []).append(one)
    return found


def _before(parts: Sequence[Sent], deed: Sent) -> list[Sent]:
    """Those of the time before a deed that is held against it."""
    span = REMEMBERED_US if deed.of.startswith(MEMORY) else HELD_US
    since = deed.facts.time_us - span
    return [one for one in parts if since <= one.facts.time_us < deed.facts.time_us]


def _finding(source: Sent, deed: Sent, shared: int) -> Finding:
    kind: Kind = "memory_obeyed" if deed.of.startswith(MEMORY) else "told_another"
    told, did = source.facts, deed.facts
    tool = did.tool_name or "a call"
    brought = told.tool_name or "a tool"
    fields = {
        "told.agent": told.agent, "told.session_id": told.session_id or "",
        "told.event_id": told.event_id, "told.tool": told.tool_name or "",
        "call.tool": did.tool_name or "", "values_shared": str(shared),
    }  # fmt: skip
    if kind == "memory_obeyed":
        text = (
            f"{tool} of {did.agent} follows a memory that {told.agent} wrote from untrusted content"
            f" in another session (event {told.event_id}); its user named nothing of it"
        )
    else:
        fields["root_session_id"] = deed.of
        text = (
            f"{tool} of {did.agent} names {shared} of what a sentence brought by {brought} of"
            f" {told.agent} asked for (event {told.event_id}); the root's user named none of it"
        )
    step = Step(did, 0, tool=did.tool_name or "")
    severity: Severity = "high" if deed.grave else "medium"
    return Finding(kind, step, severity, f"{deed.of} {did.event_id}", text, [told.event_id],
                   {name: value for name, value in fields.items() if value},
                   {"values shared": float(shared)})  # fmt: skip
