"""Spans and logs that are wrong one by one: the door says what `normalize` will say of them."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.raw import RawRecord
from tachograph.pipeline.serve import otlp
from tachograph.pipeline.serve.errors import RequestError

from .conftest import OpenDoor, records

NOW_US = 1_795_370_400_000_000  # 2026-11-22T18:00:00Z
NOW_NS = NOW_US * 1_000
GOOD, EPOCH, AFAR = NOW_NS, 1_000_000, 4_070_908_800_000_000_000
TEXT_OF = {GOOD: "now", EPOCH: "1970", AFAR: "2099", 0: "never"}
PROTOBUF, JSON = {"content-type": otlp.PROTOBUF}, {"content-type": otlp.JSON}


def spans(*ends_ns: int, operation: str | None = "chat") -> bytes:
    """An export in protobuf of spans that end then."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number, end_ns in enumerate(ends_ns, 1):
        span = scope.spans.add(trace_id=b"t" * 16, span_id=number.to_bytes(8, "big"))
        span.end_time_unix_nano = end_ns
        if operation:
            name = span.attributes.add(key="gen_ai.operation.name")
            name.value.string_value = operation
    return request.SerializeToString()


def json_spans(*ends_ns: int) -> bytes:
    """The same in JSON."""
    operation = {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}
    made = [
        {
            "traceId": "7" * 32,
            "spanId": f"{number:016x}",
            "endTimeUnixNano": str(end_ns),
            "attributes": [operation],
        }
        for number, end_ns in enumerate(ends_ns, 1)
    ]
    return msgspec.json.encode({"resourceSpans": [{"scopeSpans": [{"spans": made}]}]})


def dead(value: bytes) -> int:
    """Dead letters of the spans, when the door received them at NOW_US."""
    core = Normalizer(bytes(32), "acme")
    found = core.normalize([RawRecord("otlp_spans", 0, 0, value, timestamp_us=NOW_US)])
    return len(found.dead)


@settings(deadline=None)
@given(st.lists(st.sampled_from(list(TEXT_OF)), min_size=1, max_size=6), st.booleans())
def test_the_door_rejects_as_many_items_as_become_dead_letters(
    ends_ns: list[int], in_json: bool
) -> None:
    value = json_spans(*ends_ns) if in_json else spans(*ends_ns)
    form = otlp.JSON if in_json else otlp.PROTOBUF
    rejected = dead(value)
    if rejected == len(ends_ns):
        with pytest.raises(RequestError) as caught:
            otlp.check("traces", form, value, 64, NOW_US)
        assert (caught.value.status, str(caught.value)[:1]) == (400, str(rejected))
        return
    checked = otlp.check("traces", form, value, 64, NOW_US)
    assert (checked.rejected, checked.items) == (rejected, len(ends_ns))
    if rejected:
        first = next(at for at, end_ns in enumerate(ends_ns, 1) if end_ns != GOOD)
        assert f"number {first}: " in checked.reason


def test_spans_that_tell_nothing_of_an_agent_may_have_any_time() -> None:
    value = spans(0, EPOCH, operation=None)
    assert otlp.check("traces", otlp.PROTOBUF, value, 64, NOW_US).rejected == 0
    assert dead(value) == 0


def test_the_answer_says_how_many_were_rejected_and_the_export_is_kept(door: OpenDoor) -> None:
    good_ns = 1_790_000_000_000_000_000
    with door.client() as client:
        value = spans(good_ns, EPOCH, 0)
        proto = client.post("/v1/traces", content=value, headers=PROTOBUF)
        plain = client.post("/v1/traces", content=json_spans(AFAR, good_ns), headers=JSON)
    assert (proto.status_code, plain.status_code) == (200, 200)
    partial = ExportTraceServiceResponse.FromString(proto.content).partial_success
    assert partial.rejected_spans == 2
    assert partial.error_message.startswith("2 of 3 rejected; number 2: impossible_time: ")
    answer = plain.json()["partialSuccess"]
    assert answer["rejectedSpans"] == "1"
    assert answer["errorMessage"].startswith("1 of 2 rejected; number 1: ")
    assert value in [record.value() for record in records(door.settings, "otlp_spans", 2)]


def log(at_ns: int) -> dict[str, Any]:
    session = {"key": "session.id", "value": {"stringValue": "s"}}
    return {"timeUnixNano": str(at_ns), "attributes": [session]}


def test_log_records_are_rejected_under_their_own_name(standing_door: OpenDoor) -> None:
    good_ns = 1_790_000_000_000_000_000
    logs = [log(good_ns), log(0)]
    body = msgspec.json.encode({"resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}]})
    with standing_door.client() as client:
        answer = client.post("/v1/logs", content=body, headers=JSON).json()
    assert answer["partialSuccess"]["rejectedLogRecords"] == "1"
    checked = otlp.check("logs", otlp.JSON, body, 64, NOW_US)
    made = ExportLogsServiceResponse.FromString(otlp.success("logs", otlp.PROTOBUF, checked))
    assert made.partial_success.rejected_log_records == 1
    assert "missing: a log record has a time" in made.partial_success.error_message


def test_an_export_without_one_good_item_is_refused(standing_door: OpenDoor) -> None:
    with standing_door.client() as client:
        answer = client.post("/v1/traces", content=json_spans(EPOCH, 0), headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("2 of 2 rejected; number 1: impossible_time: ")
