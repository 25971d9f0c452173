"""What an OpenTelemetry SDK sends to a Collector comes through Apache Kafka into ClickHouse: the
Collector of infra/collector with the configuration beside it, built here.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.collector import build
from infra.kafka.broker import KafkaBroker, free_ports
from tachograph.pipeline.clock import system_us
from tests.conftest import started
from tests.e2e.clocked_normalize import set_clock
from tests.e2e.pipeline import Pipeline
from tests.waiting import WAIT_S, eventually

SDK = """
import sys, time
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

resource = Resource({"service.name": "clerk"})
spans = TracerProvider(resource=resource)
spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(sys.argv[1] + "/v1/traces")))
with spans.get_tracer("clerk").start_as_current_span("execute_tool refund") as span:
    span.set_attributes({
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "refund",
        "gen_ai.tool.call.arguments": '{"order": 9}', "gen_ai.conversation.id": "talk",
    })
logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(sys.argv[1] + "/v1/logs")))
logs.get_logger("clerk").emit(LogRecord(
    timestamp=time.time_ns(), event_name="gen_ai.user.message",
    body={"content": "refund order 9"}, attributes={"gen_ai.conversation.id": "talk"},
))
assert spans.force_flush() and logs.force_flush()
spans.shutdown(); logs.shutdown()
"""

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


@pytest.fixture
def program() -> Path:
    """The Collector, where it was built: compiling 200 modules takes all processors for minutes,
    which the other tests need.
    """
    if not build.place().exists():
        pytest.skip("no Collector was built here: `make collector` does it once")
    return build.place()


@pytest.fixture
def pipeline(program: Path, tmp_path: Path) -> Iterator[Pipeline]:
    """A pipeline of two stages, from raw topics into ClickHouse."""
    broker = started(KafkaBroker(tmp_path / "kafka"))
    try:
        with Pipeline(broker, tmp_path / "run", partitions=1) as pipeline:
            set_clock(pipeline.clock, system_us())
            for name in ("normalize", "store"):
                pipeline.stages[name].start()
            yield pipeline
    finally:
        broker.kill()


@pytest.fixture
def collector(program: Path, pipeline: Pipeline) -> Iterator[str]:
    """The address of a Collector that listens."""
    grpc, http = (f"127.0.0.1:{port}" for port in free_ports(2))
    ours = {"OTLP_GRPC": grpc, "OTLP_HTTP": http, **_kafka(pipeline)}
    log = pipeline.folder / "collector.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [program, "--config", f"file:{build.CONFIG}"], env={**os.environ, **ours},
            stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
        )  # fmt: skip
    try:
        eventually(lambda: _answers(http, process, log), "the Collector listens")
        yield f"http://{http}"
    finally:
        process.kill()
        process.wait()


def _kafka(pipeline: Pipeline) -> dict[str, str]:
    return {"KAFKA_BOOTSTRAP_SERVERS": pipeline.broker.bootstrap_servers}


def _answers(address: str, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text("utf-8", errors="replace")[-2_000:]
    try:
        return httpx.get(f"http://{address}/").status_code == httpx.codes.NOT_FOUND
    except httpx.HTTPError:
        return False


def _told(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("raw_topic", "kind", "tool_name", "tool_args", "content_text", "service_name")
    return tuple(row[name] for name in names)


def test_what_an_sdk_sends_to_a_collector_comes_through_kafka_into_clickhouse(
    collector: str, pipeline: Pipeline
) -> None:
    sent = subprocess.run(
        [sys.executable, "-c", SDK, collector], check=False, capture_output=True, text=True,
        timeout=WAIT_S,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr[-2_000:]
    sql = "SELECT * FROM tacho.actions WHERE session_id = 'talk' ORDER BY raw_topic DESC"
    eventually(lambda: len(pipeline.query(sql)) == 2, "both actions are stored")
    call, said = pipeline.query(sql)
    assert _told(call) == ("otlp_spans", "tool_call", "refund", '{"order": 9}', "", "clerk")
    assert _told(said) == ("otlp_logs", "prompt", "", "", "refund order 9", "clerk")
