"""The demo's real agent sessions, as the OTLP spans an instrumented fleet would send.

As in real SDKs `chat` spans name the conversation and the agent, `execute_tool` spans do not:
they join by trace. Times are moved to now and the pauses are shortened; nothing else is changed.
"""

import gzip
import hashlib
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import msgspec

# Seconds a model thinks and a tool runs in the replay: short, so that 300 sessions fit into
# minutes.
THINK_S, TOOL_S = 0.8, 0.3
NANO = 1_000_000_000

Json = dict[str, Any]


class Session(msgspec.Struct, frozen=True):
    """One recorded session. `label` and `attack` are for the summary and never reach the
    pipeline.
    """

    session: str
    source: str
    suite: str
    model: str
    label: str
    attack: bool
    events: list[Json]

    @property
    def agent_id(self) -> str:
        """Every session is an agent of its own, so that an alert points at one session."""
        return f"{self.suite}-agent-{self.session[-6:]}"

    @property
    def service(self) -> str:
        return f"{self.suite}-agents"


class TimedSpan(msgspec.Struct, frozen=True):
    """A span and the second of its session in which it ends."""

    end_s: float
    service: str
    span: Json


def sessions() -> list[Session]:
    """The committed sample, in a fixed shuffled order."""
    packed = resources.files(__package__).joinpath("sample/sessions.ndjson.gz").read_bytes()
    lines = gzip.decompress(packed).splitlines()
    return [msgspec.json.decode(line, type=Session) for line in lines]


def attribute(name: str, value: str | int) -> Json:
    """One OTLP/JSON attribute; 64-bit integers are strings there."""
    typed = {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
    return {"key": name, "value": typed}


class _Recorder:
    """Turns the events of one session into spans, keeping its own clock in seconds from the
    start.
    """

    def __init__(self, session: Session, start_ns: int, salt: str) -> None:
        self._session, self._start_ns = session, start_ns
        self._conversation = f"{session.session}{salt}"
        self._trace = hashlib.md5(self._conversation.encode(), usedforsecurity=False).hexdigest()
        self._now_s = 0.0
        self._made = 0
        self._pending: list[Json] = []
        self._results = {
            event["call_id"]: event
            for event in session.events
            if event["kind"] == "tool_result" and "call_id" in event
        }

    def spans(self) -> Iterator[TimedSpan]:
        for event in self._session.events:
            match event["kind"]:
                case "user_prompt":
                    self._hear("user", {"type": "text", "content": event.get("text", "")})
                case "llm_response":
                    yield self._chat({"type": "text", "content": event.get("text", "")}, "stop")
                case "tool_call":
                    yield from self._call(event)

    def _hear(self, role: str, part: Json) -> None:
        self._pending.append({"role": role, "parts": [part]})

    def _call(self, event: Json) -> Iterator[TimedSpan]:
        call_id = event.get("call_id") or f"call_{self._made}"
        name, arguments = event.get("tool_name") or "tool", event.get("arguments") or {}
        if self._pending:
            part = {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments}
            yield self._chat(part, "tool_call")
        answer = self._results.get(event.get("call_id"), {})
        yield self._tool(name, call_id, arguments, answer)
        part = {"type": "tool_call_response", "id": call_id, "response": answer.get("result", "")}
        self._hear("tool", part)

    def _chat(self, part: Json, finish: str) -> TimedSpan:
        heard, self._pending = self._pending, []
        said = [{"role": "assistant", "parts": [part], "finish_reason": finish}]
        agent = self._session.agent_id
        attributes = [
            attribute("gen_ai.operation.name", "chat"),
            attribute("gen_ai.conversation.id", self._conversation),
            attribute("gen_ai.agent.name", agent),
            attribute("gen_ai.agent.id", agent),
            attribute("gen_ai.request.model", self._session.model),
            attribute("gen_ai.input.messages", json.dumps(heard)),
            attribute("gen_ai.output.messages", json.dumps(said)),
            attribute("gen_ai.usage.input_tokens", len(json.dumps(heard)) // 4),
            attribute("gen_ai.usage.output_tokens", max(1, len(json.dumps(said)) // 4)),
        ]
        return self._span(f"chat {self._session.model}", THINK_S, attributes, failed=None)

    def _tool(self, name: str, call_id: str, arguments: Json, answer: Json) -> TimedSpan:
        attributes = [
            attribute("gen_ai.operation.name", "execute_tool"),
            attribute("gen_ai.tool.name", name),
            attribute("gen_ai.tool.call.id", call_id),
            attribute("gen_ai.tool.call.arguments", json.dumps(arguments)),
            attribute("gen_ai.tool.call.result", str(answer.get("result", ""))),
        ]
        return self._span(f"execute_tool {name}", TOOL_S, attributes, failed=answer.get("error"))

    def _span(
        self, name: str, length_s: float, attributes: list[Json], *, failed: Any
    ) -> TimedSpan:
        begin_s, self._now_s = self._now_s, self._now_s + length_s
        unique = f"{self._conversation}:{self._made}".encode()
        self._made += 1
        if failed:
            attributes.append(attribute("error.type", "tool_error"))
        span = {
            "traceId": self._trace,
            "spanId": hashlib.md5(unique, usedforsecurity=False).hexdigest()[:16],
            "name": name,
            "kind": 1 if name.startswith("execute_tool") else 3,
            "startTimeUnixNano": str(self._start_ns + int(begin_s * NANO)),
            "endTimeUnixNano": str(self._start_ns + int(self._now_s * NANO)),
            "attributes": attributes,
            "status": {"code": 2, "message": str(failed)[:300]} if failed else {},
        }
        return TimedSpan(self._now_s, self._session.service, span)


def spans_of(session: Session, start_ns: int, salt: str = "") -> list[TimedSpan]:
    """The session's spans in order, beginning at `start_ns`; `salt` makes a further replay a new
    session.
    """
    return list(_Recorder(session, start_ns, salt).spans())


def export_requests(spans: list[TimedSpan]) -> Json:
    """One ExportTraceServiceRequest in OTLP/JSON, a resource per service."""
    by_service: dict[str, list[Json]] = {}
    for timed in spans:
        by_service.setdefault(timed.service, []).append(timed.span)
    return {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [
                        attribute("service.name", service),
                        attribute("deployment.environment.name", "demo"),
                    ]
                },
                "scopeSpans": [{"scope": {"name": "agent.instrumentation"}, "spans": found}],
            }
            for service, found in by_service.items()
        ]
    }
