"""OTLP requests of a seeded fleet: GenAI spans of about 1 KB, in both encodings."""

import base64
import random
from typing import Any, Final, Literal

import msgspec
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from infra.bench.traffic import TENANT, TOOLS, Post, Words

Encoding = Literal["proto", "json"]
Json = dict[str, Any]

SERVICES: Final = 200
# Spans of one export request; what exporters of a busy service send together.
SPANS: Final = 32
# Requests made in full; the others are these under ids of their own.
REQUESTS: Final = 64
_MARK: Final = "0123456789abcdef"


def _attributes(values: Json) -> list[Json]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: Any) -> Json:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}


class Exporters:
    """Export requests of `SERVICES` services, the same for the same seed."""

    def __init__(self, seed: int, encoding: Encoding) -> None:
        self._chance = random.Random(seed)
        self._words = Words(self._chance)
        self._encoding = encoding
        # Agent and conversation of the trace in hand.
        self._talk: Json = {}

    def posts(self, spans: int, at_us: int) -> list[Post]:
        """Requests with at least so many spans that end at `at_us`, no two ids alike."""
        made = [self._request(number, at_us) for number in range(REQUESTS)]
        values = [self._encoded(value) for _, value in made]
        found = []
        for number in range(-(-spans // SPANS)):
            service, _ = made[number % REQUESTS]
            key = f"{TENANT}/{service}".encode()
            value = self._renamed(values[number % REQUESTS], number)
            found.append(Post("otlp_spans", key, value, SPANS))
        return found

    def _encoded(self, request: Json) -> bytes:
        if self._encoding == "json":
            return msgspec.json.encode(request)
        message = ExportTraceServiceRequest()
        return json_format.ParseDict(_with_base64(request), message).SerializeToString()

    def _renamed(self, value: bytes, number: int) -> bytes:
        """The request under another trace id: eight of its bytes say which request it is."""
        if self._encoding == "json":
            return value.replace(_MARK.encode(), f"{number:016x}".encode())
        return value.replace(bytes.fromhex(_MARK), number.to_bytes(8, "big"))

    def _request(self, number: int, at_us: int) -> tuple[str, Json]:
        service = f"service-{self._chance.randrange(SERVICES):03d}"
        resource = {
            "service.name": service,
            "service.version": "2.14.1",
            "deployment.environment.name": "prod",
            "telemetry.sdk.language": "python",
            "host.name": f"node-{number}",
        }
        trace = f"{self._chance.getrandbits(64):016x}{_MARK}"
        agent = f"agent-{self._chance.randrange(40)}"
        self._talk = {
            "gen_ai.agent.name": agent,
            "gen_ai.agent.id": agent,
            "gen_ai.conversation.id": f"{agent}/{self._chance.randrange(10_000)}",
        }
        spans = [self._span(trace, at_us) for _ in range(SPANS)]
        scope = {"name": "opentelemetry.instrumentation.genai", "version": "0.3"}
        scoped = [{"scope": scope, "spans": spans}]
        return service, {
            "resourceSpans": [
                {"resource": {"attributes": _attributes(resource)}, "scopeSpans": scoped}
            ]
        }

    def _span(self, trace: str, at_us: int) -> Json:
        tool = self._chance.random() < 0.6
        said = self._tool() if tool else self._chat()
        return {
            "traceId": trace,
            "spanId": f"{self._chance.getrandbits(64):016x}",
            "parentSpanId": f"{self._chance.getrandbits(64):016x}",
            "name": f"execute_tool {said['gen_ai.tool.name']}" if tool else "chat model-3",
            "kind": 1 if tool else 3,
            "startTimeUnixNano": str(at_us * 1_000 - self._chance.randrange(10**9)),
            "endTimeUnixNano": str(at_us * 1_000),
            "attributes": _attributes(said),
            "status": {},
        }

    def _shared(self, operation: str) -> Json:
        return self._talk | {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "example",
        }

    def _tool(self) -> Json:
        return self._shared("execute_tool") | {
            "gen_ai.tool.name": self._chance.choice(TOOLS),
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": f"call_{self._chance.getrandbits(64):016x}",
            "gen_ai.tool.call.arguments": msgspec.json.encode(self._words.arguments()).decode(),
            "gen_ai.tool.call.result": self._words.text(self._chance.randrange(200, 900)),
        }

    def _chat(self) -> Json:
        said = self._shared("chat") | {
            "gen_ai.request.model": "model-3",
            "gen_ai.response.model": "model-3-0917",
            "gen_ai.response.id": f"resp_{self._chance.getrandbits(64):016x}",
            "gen_ai.request.max_tokens": 4_096,
            "gen_ai.usage.input_tokens": self._chance.randrange(20_000),
            "gen_ai.usage.output_tokens": self._chance.randrange(2_000),
            "server.address": "models.example.net",
        }
        if self._chance.random() < 0.2:
            parts = [{"type": "text", "content": self._words.text(600)}]
            said["gen_ai.input.messages"] = msgspec.json.encode(
                [{"role": "user", "parts": parts}]
            ).decode()
        return said


def _with_base64(node: Any) -> Any:
    """Ids as protobuf's JSON form has them."""
    if isinstance(node, list):
        return [_with_base64(one) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        name: base64.b64encode(bytes.fromhex(inner)).decode()
        if name in ("traceId", "spanId", "parentSpanId")
        else _with_base64(inner)
        for name, inner in node.items()
    }
