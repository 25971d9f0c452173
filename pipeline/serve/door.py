"""What is posted at the door: read, checked, signed, written to Kafka, and only then answered."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
import zstandard
from starlette.requests import Request
from starlette.responses import Response

from tachograph.pipeline.clock import Clock
from tachograph.pipeline.door_headers import sign
from tachograph.pipeline.metrics import ACTIONS, DROPPED, RECORDS_READ
from tachograph.pipeline.normalize.formats.reading import SERVICE_HEADER
from tachograph.pipeline.normalize.formats.registry import Formats
from tachograph.pipeline.normalize.sources import FORMAT_HEADER
from tachograph.pipeline.serve import acks, ingest, native, otlp
from tachograph.pipeline.serve.backlog import Backlog
from tachograph.pipeline.serve.body import Intake, Lease, declared_too_large, read_body
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.gate import Gate
from tachograph.pipeline.serve.limits import Limits
from tachograph.pipeline.serve.publisher import Outgoing, Publisher
from tachograph.pipeline.serve.tokens import Caller
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER

_OTLP_TYPES: Final = (otlp.PROTOBUF, otlp.JSON)
# One a call: a compressor serves one thread.
_PACKER: Final = partial(zstandard.ZstdCompressor, level=1)
_METRICS_NOTE: Final = "metrics are not used here and were discarded"


def media_type(request: Request) -> str:
    """The Content-Type without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class Door:
    """The endpoints that producers post to. Every method answers a request or raises
    RequestError.
    """

    def __init__(
        self,
        gate: Gate,
        publisher: Publisher,
        limits: Limits,
        *,
        key: bytes,
        tenant: str,
        backlog: Backlog,
        clock_us: Clock,
        formats: Formats,
    ) -> None:
        self._gate, self._publisher, self._limits = gate, publisher, limits
        self._key, self._tenant = key, tenant
        self._backlog, self._clock_us = backlog, clock_us
        self._formats = formats
        self._acks = acks.Acks(key)
        self._intake = Intake(limits.buffered_bytes)
        self.turned_away = 0  # posts, because the pipeline is behind

    async def traces(self, request: Request) -> Response:
        """POST /v1/traces: an ExportTraceServiceRequest."""
        return await self._otlp(request, "traces")

    async def logs(self, request: Request) -> Response:
        """POST /v1/logs: an ExportLogsServiceRequest."""
        return await self._otlp(request, "logs")

    async def metrics(self, request: Request) -> Response:
        """POST /v1/metrics: discarded with a warning, so that an SDK that sends all signals
        goes on in peace.
        """
        self._gate.admit(request, "publish")
        DROPPED.labels("serve", "otlp_metrics").inc()
        if media_type(request) == otlp.PROTOBUF:
            # ExportMetricsServiceResponse{partial_success{error_message}}; both lengths are
            # below 128.
            text = _METRICS_NOTE.encode()
            body = bytes((0x0A, len(text) + 2, 0x12, len(text))) + text
            return Response(body, media_type=otlp.PROTOBUF)
        answer = {"partialSuccess": {"errorMessage": _METRICS_NOTE}}
        return Response(msgspec.json.encode(answer), media_type=otlp.JSON)

    async def actions(self, request: Request) -> Response:
        """POST /v1/actions: native actions."""
        return await self._native(request, "action")

    async def state(self, request: Request) -> Response:
        """POST /v1/state: state snapshots."""
        return await self._native(request, "state_snapshot")

    async def ingest(self, request: Request) -> Response:
        """POST /v1/ingest/{format}: records of another system, as it sends them. `?service=` names
        whose they are, where nothing in them does.
        """
        caller, _ = self._admit(request, native.CONTENT_TYPES)
        name = request.path_params["format"]
        service = ingest.service_of(request.query_params.get("service"))
        with self._intake.lease() as lease:
            body = await self._body(request, lease)
            checked = ingest.check(self._formats, name, body, self._clock_us())
            if checked.items:
                value = await self._fitted(body, checked.items)
                facts = {"content-type": otlp.JSON.encode()}
                if name != ingest.AUTO:
                    facts[FORMAT_HEADER] = name.encode()
                if service is not None:
                    facts[SERVICE_HEADER] = service
                headers = self._signed(caller, value, facts)
                await self._publish([Outgoing(native.TOPIC, value, None, headers)])
                RECORDS_READ.labels("serve", native.TOPIC).inc()
                ACTIONS.labels("serve").inc(checked.accepted)
        said: dict[str, object] = {
            "accepted": checked.accepted,
            "passed_over": checked.passed_over,
        }
        if checked.rejected:
            said |= {"rejected": checked.rejected, "reason": checked.reason}
        return Response(msgspec.json.encode(said), media_type=otlp.JSON)

    async def _otlp(self, request: Request, signal: otlp.Signal) -> Response:
        caller, content_type = self._admit(request, _OTLP_TYPES)
        with self._intake.lease() as lease:
            body = await self._body(request, lease)
            depth = self._limits.depth
            checked = otlp.check(signal, content_type, body, depth, self._clock_us())
            if not checked.empty:
                topic = otlp.TOPICS[signal]
                key = checked.service.encode() if checked.service else None
                value = await self._fitted(body, checked.items)
                facts = {"content-type": content_type.encode()}
                if value is not body:
                    facts["content-encoding"] = b"zstd"
                headers = self._signed(caller, value, facts)
                await self._publish([Outgoing(topic, value, key, headers)])
                RECORDS_READ.labels("serve", topic).inc()
        return Response(otlp.success(signal, content_type, checked), media_type=content_type)

    async def acks(self, request: Request) -> Response:
        """POST /v1/acks: what receivers did with directives."""
        caller, content_type = self._admit(request, native.CONTENT_TYPES)
        with self._intake.lease() as lease:
            body = await self._body(request, lease)
            found = native.lines(
                "directive_ack", content_type, body, self._limits, self._clock_us()
            )
            if found:
                records = self._acks.records(found, caller.tenant or self._tenant)
                headers = {RECORD_HEADER: b"directive_ack", VERSION_HEADER: b"1"}
                await self._publish(
                    [Outgoing(acks.TOPIC, value, key, headers) for key, value in records]
                )
        return Response(msgspec.json.encode({"accepted": len(found)}), media_type=otlp.JSON)

    async def _native(self, request: Request, kind: native.RecordKind) -> Response:
        caller, content_type = self._admit(request, native.CONTENT_TYPES)
        with self._intake.lease() as lease:
            body = await self._body(request, lease)
            lines = native.lines(kind, content_type, body, self._limits, self._clock_us())
            if lines:
                records = native.grouped(lines, self._limits.joined_bytes)
                await self._publish([self._record(caller, kind, record) for record in records])
                RECORDS_READ.labels("serve", native.TOPIC).inc(len(lines))
                ACTIONS.labels("serve").inc(len(lines) if kind == "action" else 0)
        return Response(msgspec.json.encode({"accepted": len(lines)}), media_type=otlp.JSON)

    async def _publish(self, records: Sequence[Outgoing]) -> None:
        await self._publisher.publish(records)
        size_bytes = sum(len(record.value) for record in records)
        self._backlog.wrote(records[0].topic, size_bytes, len(records))

    async def _fitted(self, body: bytes, items: int) -> bytes:
        """The body as one record: as it came, or packed where only that fits. Raises
        RequestError 413.
        """
        limits = self._limits
        if items <= limits.record_items and len(body) <= limits.unpacked_bytes:
            if len(body) <= limits.record_bytes:
                return body
            packed = await asyncio.to_thread(_PACKER().compress, body)
            if len(packed) <= limits.record_bytes:
                return packed
        raise RequestError(
            413,
            f"an export may have {limits.unpacked_bytes} bytes ({limits.record_bytes} packed) and"
            f" {limits.record_items} items: send smaller batches (OTEL_BSP_MAX_EXPORT_BATCH_SIZE)",
        )

    def _admit(self, request: Request, content_types: tuple[str, ...]) -> tuple[Caller, str]:
        """All that can be told before the body is read."""
        caller = self._gate.admit(request, "publish")
        content_type = media_type(request)
        if content_type not in content_types:
            raise RequestError(415, f"Content-Type must be one of {', '.join(content_types)}")
        encoding = request.headers.get("content-encoding", "")
        if declared_too_large(request.headers.get("content-length"), encoding, self._limits):
            raise RequestError(
                413,
                f"a body may have {self._limits.body_bytes} bytes,"
                f" {self._limits.compressed_bytes} of them compressed",
            )
        wait_s = self._backlog.overloaded()
        if wait_s is not None:
            self.turned_away += 1
            raise RequestError(
                429, "what was sent is not worked off yet: send again later", retry_after_s=wait_s
            )
        return caller, content_type

    async def _body(self, request: Request, lease: Lease) -> bytes:
        encoding = request.headers.get("content-encoding", "")
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                return await read_body(request.stream(), encoding, lease, self._limits)
        except TimeoutError as error:
            raise RequestError(
                408, "the body did not come in time", headers={"connection": "close"}
            ) from error

    def _record(self, caller: Caller, kind: native.RecordKind, line: native.Line) -> Outgoing:
        key = f"{caller.tenant or self._tenant}/{line.agent}".encode() if line.agent else None
        facts = {"content-type": otlp.JSON.encode(), RECORD_HEADER: kind.encode()}
        return Outgoing(native.TOPIC, line.payload, key, self._signed(caller, line.payload, facts))

    def _signed(self, caller: Caller, value: bytes, facts: Mapping[str, bytes]) -> dict[str, bytes]:
        """Headers of a record: the facts beside what only the door may say."""
        tenant = caller.tenant or self._tenant
        signed = sign(self._key, value, caller.principal, self._clock_us(), tenant)
        return {**facts, **signed}


def answer(request: Request, error: RequestError) -> Response:
    """A refusal in the form that the client of this path understands: OTLP's Status, or plain
    JSON.
    """
    headers = dict(error.headers)
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    message = str(error)
    if request.url.path in ("/v1/traces", "/v1/logs", "/v1/metrics"):
        content_type = otlp.PROTOBUF if media_type(request) == otlp.PROTOBUF else otlp.JSON
        body = otlp.failure(content_type, error.status, message)
        return Response(body, error.status, headers, content_type)
    content = msgspec.json.encode({"error": message, **error.details})
    return Response(content, error.status, headers, otlp.JSON)
