import gzip
from importlib import resources

import msgspec
from google.protobuf import json_format

from tachograph.pipeline.up import sample


def test_three_hundred_sessions_with_attacks_and_ordinary_work_are_there() -> None:
    sessions = sample.sessions()
    attacks = sum(session.attack for session in sessions)
    assert len(sessions) == 300
    assert 60 <= attacks <= 150
    assert len({session.agent_id for session in sessions}) == 300


def test_the_sample_holds_only_sources_whose_licence_allows_it_and_carries_their_notices() -> None:
    assert {s.source for s in sample.sessions()} == {"agentdyn", "openagentsafety", "taubench"}
    notice = resources.files("tachograph.pipeline.up").joinpath("sample/NOTICE").read_text("utf-8")
    assert notice.count("MIT License") == 3


def test_labels_never_reach_the_pipeline() -> None:
    for session in sample.sessions()[:50]:
        sent = msgspec.json.encode(sample.export_requests(sample.spans_of(session, 0)))
        assert b"attack_succeeded" not in sent
        assert b"unsafe_confirmed" not in sent


def test_spans_are_valid_otlp_with_hex_ids_and_times_in_order() -> None:
    start = 1_795_370_390 * sample.NANO
    for session in sample.sessions()[:40]:
        spans = [timed.span for timed in sample.spans_of(session, start)]
        ends = [int(span["endTimeUnixNano"]) for span in spans]
        assert ends == sorted(ends)
        assert all(len(bytes.fromhex(span["traceId"])) == 16 for span in spans)
        assert all(len(bytes.fromhex(span["spanId"])) == 8 for span in spans)
        assert len({span["spanId"] for span in spans}) == len(spans)


def test_tool_spans_join_by_trace_alone_as_those_of_real_sdks() -> None:
    spans = [timed.span for timed in sample.spans_of(sample.sessions()[0], 0)]
    keys = [{a["key"] for a in span["attributes"]} for span in spans]
    tools = [k for k in keys if "gen_ai.tool.name" in k]
    assert tools
    assert all("gen_ai.conversation.id" not in k for k in tools)


def test_a_salt_makes_another_replay_other_sessions() -> None:
    session = sample.sessions()[0]
    first, second = (sample.spans_of(session, 0, salt)[0].span for salt in ("", "-2"))
    assert first["traceId"] != second["traceId"]


def test_the_request_is_what_the_official_protocol_parses() -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = sample.export_requests(sample.spans_of(sample.sessions()[1], 0)[:4])
    for resource in request["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                # protobuf's JSON wants base64 ids where OTLP/JSON has hex ones.
                span.pop("traceId"), span.pop("spanId")
    parsed = json_format.ParseDict(request, ExportTraceServiceRequest())
    assert sum(len(s.spans) for r in parsed.resource_spans for s in r.scope_spans) == 4


def test_the_packed_sample_stays_small() -> None:
    packed = resources.files("tachograph.pipeline.up").joinpath("sample/sessions.ndjson.gz")
    assert len(packed.read_bytes()) < 1_000_000
    assert gzip.decompress(packed.read_bytes()).count(b"\n") == 300
