"""An agent with the OpenTelemetry SDK needs one environment variable."""

import os
import subprocess
import sys

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.waiting import WAIT_S

from .conftest import OpenDoor, records

AGENT = """
import time
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

resource = Resource.create({"service.name": "travel-agent"})
tracing = TracerProvider(resource=resource)
tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = tracing.get_tracer("agent")
for number in range(20):
    with tracer.start_as_current_span("execute_tool book_flight") as span:
        span.set_attribute("gen_ai.operation.name", "execute_tool")
        span.set_attribute("gen_ai.tool.name", "book_flight")
        span.set_attribute("gen_ai.conversation.id", "c-1")
logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
logs.get_logger("agent").emit(LogRecord(
    timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, body="booked",
    attributes={"gen_ai.provider.name": "openai"}, event_name="gen_ai.choice",
))
assert tracing.force_flush() and logs.force_flush()
tracing.shutdown(); logs.shutdown()
"""


def test_traces_and_logs_of_the_sdk_arrive_with_their_attributes(door: OpenDoor) -> None:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        "OTEL_EXPORTER_OTLP_ENDPOINT": door.url,
    }
    agent = subprocess.run(
        [sys.executable, "-c", AGENT], env=environ, check=False, capture_output=True, text=True,
        timeout=WAIT_S,
    )  # fmt: skip
    assert (agent.returncode, agent.stderr) == (0, "")
    [spans] = records(door.settings, "otlp_spans", 1)
    found = ExportTraceServiceRequest.FromString(spans.value() or b"")
    [scope] = found.resource_spans[0].scope_spans
    tools = {
        attribute.value.string_value
        for span in scope.spans
        for attribute in span.attributes
        if attribute.key == "gen_ai.tool.name"
    }
    assert (len(scope.spans), tools, spans.key()) == (20, {"book_flight"}, b"travel-agent")
    [logs] = records(door.settings, "otlp_logs", 1)
    request = ExportLogsServiceRequest.FromString(logs.value() or b"")
    [record] = request.resource_logs[0].scope_logs[0].log_records
    assert record.body.string_value == "booked"
