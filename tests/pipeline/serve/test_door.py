"""What is posted at the door: accepted only as a whole, answered only when Kafka has it."""

import gzip
import json
import shutil
import subprocess
import threading
import time
from typing import Any

import httpx
import msgspec
import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tachograph.pipeline import door_headers
from tachograph.pipeline.normalize import native as normalize_native
from tachograph.pipeline.secrets import operator_key
from tachograph.pipeline.serve.backlog import Backlog
from tachograph.pipeline.settings import Settings
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.codec import decode
from tests.waiting import WAIT_S

from .conftest import OpenDoor, headers_of, limits, open_door, records, written

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson"}
ACTION = {"kind": "tool_call", "event_time": "2026-11-22T18:00:00.123456Z", "agent_id": "a-1"}


def traces(spans: int = 1, service: str = "shop", text: str = "hello") -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    entry = request.resource_spans.add()
    attribute = entry.resource.attributes.add(key="service.name")
    attribute.value.string_value = service
    scope = entry.scope_spans.add()
    for number in range(spans):
        span = scope.spans.add(
            trace_id=bytes(15) + b"\x01", span_id=number.to_bytes(8, "big"), name="chat",
            start_time_unix_nano=1_790_000_000_000_000_000,
            end_time_unix_nano=1_790_000_001_000_000_000,
        )  # fmt: skip
        span.attributes.add(key="gen_ai.prompt").value.string_value = text
    return request


def traces_json(**span: Any) -> dict[str, Any]:
    return {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]
                },
                "scopeSpans": [{"spans": [{"traceId": "0" * 31 + "1", "name": "chat", **span}]}],
            }
        ]
    }


def lines(*actions: dict[str, Any]) -> bytes:
    return b"\n".join(msgspec.json.encode({**ACTION, **action}) for action in actions)


@pytest.mark.parametrize("packed", [False, True])
def test_an_export_stands_in_kafka_byte_for_byte_when_it_is_answered(
    door: OpenDoor, packed: bool
) -> None:
    body = traces(64).SerializeToString()
    headers = {**PROTOBUF, **({"content-encoding": "gzip"} if packed else {})}
    with door.client() as client:
        sent = gzip.compress(body) if packed else body
        answer = client.post("/v1/traces", content=sent, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()
    [record] = records(door.settings, "otlp_spans", 1)
    assert (record.value(), record.key()) == (body, b"shop")
    assert headers_of(record)["content-type"] == b"application/x-protobuf"


def test_json_exports_are_answered_in_json_and_keep_their_encoding(door: OpenDoor) -> None:
    body = json.dumps(traces_json()).encode()
    with door.client() as client:
        headers = {"content-type": "application/json; charset=utf-8"}
        answer = client.post("/v1/traces", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {})
    [record] = records(door.settings, "otlp_spans", 1)
    assert record.value() == body
    assert headers_of(record)["content-type"] == b"application/json"


def test_logs_go_to_their_own_topic(door: OpenDoor) -> None:
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "x"}}]}]}]}
    with door.client() as client:
        answer = client.post("/v1/logs", json=body)
        proto = client.post("/v1/logs", content=b"", headers=PROTOBUF)
    assert (answer.status_code, answer.json()) == (200, {})
    assert ExportLogsServiceResponse.FromString(proto.content) == ExportLogsServiceResponse()
    assert len(records(door.settings, "otlp_logs", 1)) == 1


def test_the_doors_word_on_a_record_is_signed(door: OpenDoor) -> None:
    before_us = time.time_ns() // 1000
    with door.client() as client:
        client.post("/v1/actions", content=lines({}), headers=NDJSON)
    [record] = records(door.settings, "agent.raw", 1)
    facts = door_headers.verify(
        operator_key(door.settings.home), record.value() or b"", headers_of(record)
    )
    assert facts is not None
    assert (facts.principal, facts.tenant) == (None, "default")
    assert before_us <= facts.observed_us <= time.time_ns() // 1000


def test_services_share_a_batch_without_a_key_and_alone_have_their_own(door: OpenDoor) -> None:
    both = traces(1, "one")
    both.MergeFrom(traces(1, "two"))
    with door.client() as client:
        client.post("/v1/traces", content=both.SerializeToString(), headers=PROTOBUF)
    [record] = records(door.settings, "otlp_spans", 1)
    assert record.key() is None


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"\x0a\xff\xff", PROTOBUF, "protobuf"),
        (traces(3).SerializeToString()[:-5], PROTOBUF, "protobuf"),
        (b"\x78\x01", PROTOBUF, "resource_spans"),
        (b"", JSON, "truncated"),
        (b"{", JSON, "truncated"),
        (b"[]", JSON, "object"),
        (b'{"resource_spans": []}', JSON, "lowerCamelCase"),
        (b'{"resourceSpans": {}}', JSON, "array"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}', JSON, "traceId"),  # noqa: E501
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": 1}]}]}]}', JSON, "name"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "x"}]}]}]}', JSON, "Nano"),  # noqa: E501
        (b'{"resourceSpans": NaN}', JSON, "NaN is no JSON number"),
        (b'{"resourceSpans": [{"resource": {"attributes": [{"key": "\xff"}]}}]}', JSON, "UTF-8 at byte"),  # noqa: E501
        (b"[" * 65, JSON, "64 levels"),
    ],
)  # fmt: skip
def test_what_is_no_export_is_refused_with_a_status_that_says_why(
    standing_door: OpenDoor, body: bytes, headers: dict[str, str], said: str
) -> None:
    with standing_door.client() as client:
        answer = client.post("/v1/traces", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == headers["content-type"]
    if headers is PROTOBUF:
        status = Status.FromString(answer.content)
        code, message = status.code, status.message
    else:
        code, message = answer.json()["code"], answer.json()["message"]
    assert code == 3
    assert said in message


def test_metrics_are_discarded_with_a_warning_so_that_an_sdk_goes_on(
    standing_door: OpenDoor,
) -> None:
    with standing_door.client() as client:
        proto = client.post("/v1/metrics", content=b"\x0a\x00", headers=PROTOBUF)
        plain = client.post("/v1/metrics", content=b"{}", headers=JSON)
    answer = ExportMetricsServiceResponse.FromString(proto.content)
    assert "not used" in answer.partial_success.error_message
    assert "not used" in plain.json()["partialSuccess"]["errorMessage"]


def test_native_actions_of_one_agent_travel_together_in_their_order(door: OpenDoor) -> None:
    sent = [{"agent_id": f"a-{i % 2}", "sequence": i} for i in range(100)]
    with door.client() as client:
        answer = client.post("/v1/actions", content=lines(*sent), headers=NDJSON)
    assert (answer.status_code, answer.json()) == (200, {"accepted": 100})
    found = {record.key(): record for record in records(door.settings, "agent.raw", 2)}
    assert set(found) == {b"default/a-0", b"default/a-1"}
    for first, key in enumerate((b"default/a-0", b"default/a-1")):
        record = found[key]
        decoded, _ = normalize_native.actions(record.value() or b"")
        numbers = [item.row["sequence"] for item in decoded.items]
        assert numbers == list(range(first, 100, 2))
        assert headers_of(record)["tacho-record"] == b"action"


@pytest.mark.parametrize("body", [
    [ACTION, {**ACTION, "tool_args": {"nested": [1]}}],
    {**ACTION, "tool": {"name": "shell"}, "more": "kept"},
])  # fmt: skip
def test_arrays_and_single_objects_are_taken_as_json(door: OpenDoor, body: Any) -> None:
    with door.client() as client:
        answer = client.post("/v1/actions", content=json.dumps(body, indent=2), headers=JSON)
    count = len(body) if isinstance(body, list) else 1
    assert answer.json() == {"accepted": count}
    [record] = records(door.settings, "agent.raw", 1)
    decoded, _ = normalize_native.actions(record.value() or b"")
    assert (len(decoded.items), decoded.faults) == (count, [])


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b'{"kind": "dance", "event_time": "2026-11-22T18:00:00Z"}', "kind"),
        (b'{"kind": "prompt"}', "event_time"),
        (b'{"kind": "prompt", "event_time": "2026-11-22T18:00:00"}', "timezone"),
        (b'{"kind": "prompt", "event_time": "yesterday"}', "RFC3339"),
        (b'{"kind": "prompt", "event_time": 1}', "datetime"),
        (b'{"kind": "prompt", "event_time": "2026-11-22T18:00:00Z", "http_status": "x"}', "http_status"),  # noqa: E501
        (b'{"kind": "prompt", "event_time": "2026-11-22T18:00:00Z", "sequence": 1e400}', "sequence"),  # noqa: E501
        (b'{"kind": "prompt", "event_time": "2026-11-22T18:00:00Z", "sequence": 9223372036854775808}', "sequence"),  # noqa: E501
        (b'{"kind": "prompt", "event_time": "2026-11-22T18:00:00Z", "amount": NaN}', "NaN is no JSON number"),  # noqa: E501
        (b'{"kind": "prompt", "event_time": "2026-11-22T18:00:00Z", "kind": "file"}', "twice"),
        (b'{"kind": "prompt", "event_time": "2026-11-22T18:00:00Z", "attributes": {"a": {"b": 1, "b": 2}}}', "twice"),  # noqa: E501
        (b'{"kind": "prompt", "event_time": "2026-11-22T18:00:00Z", "tool_name": "\xff"}', "not valid UTF-8 at byte 71"),  # noqa: E501
        (b'{"kind": "prompt", "event_time": "2026-11-22T18:00:00Z", "tool_name": "\\ud800"}', "malformed|truncated"),  # noqa: E501
        (b"[]", "object"),
        (b"null", "object"),
        (b"{", "truncated"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_its_reason_and_nothing_is_accepted(
    standing_door: OpenDoor, bad: bytes, said: str
) -> None:
    before = written(standing_door.settings, "agent.raw")
    with standing_door.client() as client:
        body = lines({}) + b"\n\n" + bad + b"\n"
        answer = client.post("/v1/actions", content=body, headers=NDJSON)
    assert answer.status_code == 400
    content = answer.json()
    assert content["accepted"] == 0
    [error] = content["errors"]
    assert error["line"] == 3
    assert any(word in error["reason"] for word in said.split("|"))
    assert written(standing_door.settings, "agent.raw") == before


def test_a_snapshot_gets_what_its_contract_asks_for_and_keeps_its_id_when_sent_again(
    door: OpenDoor,
) -> None:
    body = {"taken_at": "2026-11-22T18:00:00Z", "agent_id": "a-1", "goals": ["sell"], "new": 1}
    with door.client() as client:
        for _ in range(2):
            assert client.post("/v1/state", json=body).json() == {"accepted": 1}
    found = records(door.settings, "agent.raw", 2)
    snapshots = [decode(StateSnapshot, record.value() or b"") for record in found]
    assert snapshots[0] == snapshots[1]
    assert snapshots[0].goals == ["sell"]
    assert len(snapshots[0].snapshot_id) == 32
    assert headers_of(found[0])["tacho-record"] == b"state_snapshot"
    assert b'"new":1' in (found[0].value() or b"")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/traces", {"content-type": "text/plain"}, 415),
        ("/v1/traces", {**JSON, "content-encoding": "br"}, 415),
        ("/v1/actions", {"content-type": "application/x-www-form-urlencoded"}, 415),
        ("/v1/actions", {**NDJSON, "content-encoding": "gzip"}, 400),
        ("/v1/nothing", JSON, 404),
    ],
)
def test_a_wrong_address_type_or_encoding_has_its_own_answer(
    standing_door: OpenDoor, path: str, headers: dict[str, str], status: int
) -> None:
    with standing_door.client() as client:
        answer = client.post(path, content=b"{}", headers=headers)
    assert answer.status_code == status


def test_another_method_is_told_which_one_is_meant(standing_door: OpenDoor) -> None:
    with standing_door.client() as client:
        answer = client.get("/v1/traces")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert client.post("/alerts").status_code == 405


def test_every_answer_carries_the_headers_for_safety_and_none_opens_it_to_web_pages(
    standing_door: OpenDoor,
) -> None:
    with standing_door.client(headers={"origin": "https://evil.example"}) as client:
        answers = [client.get(path) for path in ("/healthz", "/metrics", "/nothing")]
        answers.append(client.post("/v1/traces", content=b"x", headers=PROTOBUF))
        answers.append(client.options("/v1/traces"))
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers


def test_a_web_page_that_rebinds_its_name_to_this_machine_is_refused(
    standing_door: OpenDoor,
) -> None:
    with standing_door.client(headers={"host": "evil.example"}) as client:
        assert client.get("/alerts").status_code == 421
        assert client.post("/v1/actions", content=lines({}), headers=NDJSON).status_code == 421


def test_ready_says_whether_kafka_answers(standing_door: OpenDoor) -> None:
    with standing_door.client() as client:
        assert client.get("/healthz").json() == {"status": "alive"}
        assert client.get("/readyz").json()["kafka"] is True


def test_without_kafka_a_post_is_told_to_come_back_and_the_door_lives(settings: Settings) -> None:
    nowhere = msgspec.structs.replace(
        settings, kafka=msgspec.structs.replace(settings.kafka, bootstrap="127.0.0.1:1")
    )
    with (
        open_door(nowhere, limits=limits(delivery_timeout_s=1.0)) as door,
        door.client() as client,
    ):
        answer = client.post("/v1/actions", content=lines({}), headers=NDJSON)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        assert client.get("/alerts").status_code == 503


class Full(Backlog):
    """A broker whose backlog is near its end."""

    def overloaded(self) -> float | None:
        return 2.5

    def wrote(self, topic: str, size_bytes: int, records: int) -> None: ...

    def close(self) -> None: ...


def test_a_broker_near_its_cap_makes_senders_wait(settings: Settings) -> None:
    with open_door(settings, backlog=Full()) as door, door.client() as client:
        answer = client.post("/v1/traces", content=b"", headers=PROTOBUF)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert Status.FromString(answer.content).code == 8


def test_the_metrics_count_answers_and_records(standing_door: OpenDoor) -> None:
    with standing_door.client() as client:
        client.post("/v1/actions", content=lines({}), headers=NDJSON)
        client.get("/made-up-path")
        text = client.get("/metrics").text
    assert 'tacho_http_requests_total{route="/v1/actions",status="200"}' in text
    assert 'tacho_records_read_total{stage="serve",topic="agent.raw"}' in text
    assert "made-up-path" not in text


def test_requests_of_many_clients_at_once_all_arrive(door: OpenDoor) -> None:
    def send(number: int) -> None:
        with door.client() as client:
            for step in range(5):
                body = lines({"agent_id": f"a-{number}", "sequence": step})
                assert client.post("/v1/actions", content=body, headers=NDJSON).status_code == 200

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found: dict[bytes, list[int]] = {}
    for record in records(door.settings, "agent.raw", 40):
        key = record.key()
        assert isinstance(key, bytes)
        found.setdefault(key, []).append(msgspec.json.decode(record.value() or b"")["sequence"])
    assert all(numbers == [0, 1, 2, 3, 4] for numbers in found.values())


def test_what_was_accepted_before_a_stop_stands(settings: Settings) -> None:
    with open_door(settings) as door, door.client() as client:
        for number in range(10):
            body = lines({"sequence": number})
            assert client.post("/v1/actions", content=body, headers=NDJSON).status_code == 200
    assert len(records(settings, "agent.raw", 10)) == 10


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_can_do_it(standing_door: OpenDoor) -> None:
    body = lines({}).decode()
    command = ["curl", "-sS", "--json", body, f"{standing_door.url}/v1/actions"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=WAIT_S)
    assert json.loads(answer.stdout) == {"accepted": 1}


def test_a_client_that_leaves_in_mid_body_troubles_nobody(standing_door: OpenDoor) -> None:
    def half() -> Any:
        yield b'{"kind":'
        raise ConnectionError

    with standing_door.client() as client:
        with pytest.raises((ConnectionError, httpx.HTTPError)):
            client.post("/v1/actions", content=half(), headers=NDJSON)
        assert client.get("/healthz").status_code == 200
