"""What broken bytes are called, from Kafka and at the door."""

import gzip
from typing import Any

import msgspec
import pytest
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.serve import otlp
from tachograph.pipeline.serve.errors import RequestError

from .conftest import NOON_US, action, record

NATIVE: list[tuple[bytes, str, str]] = [
    (b'{"a": "\xff"}', "not_utf8", "not valid UTF-8 at byte 7"),
    (b'{"a": NaN}', "malformed", "NaN is no JSON number (byte 6)"),
    (b'{"a": [1, -Infinity]}', "malformed", "-Infinity is no JSON number (byte 10)"),
    (b'{"a": Infinity}', "malformed", "Infinity is no JSON number (byte 6)"),
]
OTLP: list[tuple[bytes, str, str]] = [
    (b'{"x": "\xff", "resourceSpans": []}', "not_utf8", "not valid UTF-8 at byte 7"),
    (b'{"resourceSpans": [], "resourceSpans": []}', "duplicate_key", "resourceSpans"),
    (b'{"x": NaN, "resourceSpans": []}', "malformed", "NaN is no JSON number (byte 6)"),
    (b'{"resourceSpans": [', "truncated", "truncated"),
    (b'{"x": ' + b"[" * 5_000, "too_deep", "deep"),
]


@pytest.mark.parametrize(("value", "reason", "said"), NATIVE)
def test_a_native_fault_says_what_it_is_and_where(
    core: Normalizer, value: bytes, reason: str, said: str
) -> None:
    [letter] = core.normalize([record(value)]).dead
    assert (letter.reason, letter.detail) == (reason, said)


@pytest.mark.parametrize(("value", "reason", "said"), OTLP)
def test_a_broken_export_in_json_is_a_dead_letter_and_refused_at_the_door(
    core: Normalizer, value: bytes, reason: str, said: str
) -> None:
    [letter] = core.normalize([record(value, "otlp_spans")]).dead
    assert (letter.reason, letter.original) == (reason, value)
    assert said in letter.detail
    with pytest.raises(
        RequestError, match="deep|nests" if reason == "too_deep" else None
    ) as caught:
        otlp.check("traces", otlp.JSON, value, 64, NOON_US)
    assert caught.value.status == 400
    assert reason == "too_deep" or said in str(caught.value)


def test_a_key_named_in_texts_of_an_export_is_not_given_twice(core: Normalizer) -> None:
    value = b'{"resourceSpans": [], "x": "resourceSpans", "y": {"resourceSpans": 1}}'
    assert core.normalize([record(value, "otlp_spans")]).dead == []


@pytest.mark.parametrize(
    ("value", "reason"), [(b"[" * 5_000, "too_deep"), (b"[]", "mistyped"), (b"[1", "truncated")]
)
def test_a_list_where_an_export_belongs_is_called_what_it_is(
    core: Normalizer, value: bytes, reason: str
) -> None:
    [letter] = core.normalize([record(value, "otlp_spans")]).dead
    assert letter.reason == reason


def test_protobuf_that_is_cut_off_is_told_from_broken_protobuf(core: Normalizer) -> None:
    message = ExportTraceServiceRequest()
    one: Any = message.resource_spans.add().scope_spans.add().spans.add(name="x" * 300)
    one.attributes.add(key="gen_ai.operation.name").value.string_value = "chat"
    whole = message.SerializeToString()
    for size in range(2, len(whole)):
        [letter] = core.normalize([record(whole[:size], "otlp_spans")]).dead
        assert letter.reason == "truncated", size
    broken = whole.replace(b"chat", b"ch\xff\xff")
    [letter] = core.normalize([record(broken, "otlp_spans")]).dead
    assert letter.reason == "malformed"


def packed(*parts: bytes, by: str) -> bytes:
    compress = gzip.compress if by == "gzip" else zstandard.ZstdCompressor().compress
    return b"".join(map(compress, parts))


@pytest.mark.parametrize("by", ["gzip", "zstd"])
def test_a_record_packed_in_several_parts_is_read_to_its_end(core: Normalizer, by: str) -> None:
    lines = [msgspec.json.encode(action(agent_id=name)) + b"\n" for name in "abc"]
    found = core.normalize([record(packed(*lines, by=by))])
    assert found.dead == []
    assert found.frame["agent_id"].to_list() == ["a", "b", "c"]


@pytest.mark.parametrize("by", ["gzip", "zstd"])
def test_what_is_cut_off_or_goes_on_as_something_else_is_no_part_of_a_record(
    core: Normalizer, by: str
) -> None:
    whole = packed(
        b"\n".join(msgspec.json.encode(action(agent_id=f"{n}")) for n in range(9)), by=by
    )
    found = core.normalize([record(whole[:-1]), record(whole + b"more")])
    assert [letter.reason for letter in found.dead] == ["truncated", "malformed"]
    assert found.frame.is_empty()


def test_many_gzip_members_are_not_gone_through(core: Normalizer) -> None:
    [letter] = core.normalize([record(packed(*[b" "] * 65, by="gzip"))]).dead
    assert letter.reason == "too_many"
