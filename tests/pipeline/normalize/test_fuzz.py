"""Hostile bytes at every decoder: never an exception, always actions or dead letters, always the
same ids.
"""

from typing import Any

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tachograph.pipeline.normalize import batches, vocabulary
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.raw import Normalized
from tachograph.schemas import batch
from tachograph.schemas.batch import COLUMNS

from .conftest import KEY, NOON, action, record, request, span

CORE = Normalizer(KEY, "acme")
FORMATS: tuple[str, ...] = ("actions", "state", "otlp_spans", "otlp_logs")
FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(
        [NOON, "1970-01-01T00:00:00Z", "2099-12-31T23:59:60Z", "tool_call", "", "\x00", "‹"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=20,
)
names = (
    st.sampled_from(sorted(COLUMNS))
    | st.text(max_size=12)
    | st.sampled_from(["tool", "tool.name", "a.b.c.d.e"])
)
natives = st.dictionaries(names, values, max_size=12)
likely = st.builds(lambda more: {**action(), **more}, natives)

attribute_names = (
    st.sampled_from(sorted({**vocabulary.NEW, **vocabulary.OLD, **vocabulary.RESOURCE}))
    | st.sampled_from(
        [
            "openinference.span.kind",
            "traceloop.span.kind",
            "traceloop.entity.name",
            "traceloop.entity.input",
            "input.value",
            "gen_ai.prompt.0.content",
            "llm.input_messages.0.message.role",
            "event.name",
            "event.sequence",
        ]
    )
    | st.text(max_size=12)
)
any_values = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "stringValue": st.text(max_size=20)
            | st.sampled_from(['[{"role":1}]', '{"command":["a",1]}', "chat", "TOOL"]),
            "intValue": st.integers() | st.text(max_size=5) | st.just("7"),
            "doubleValue": st.floats(allow_nan=False, allow_infinity=False) | st.just("NaN"),
            "boolValue": st.booleans(),
            "bytesValue": st.just("AAEC"),
        },
    ),
    lambda inner: (
        st.builds(lambda v: {"arrayValue": {"values": v}}, st.lists(inner, max_size=3))
        | st.builds(
            lambda k, v: {"kvlistValue": {"values": [{"key": k, "value": v}]}},
            st.text(max_size=4),
            inner,
        )
    ),
    max_leaves=6,
)
pairs = st.lists(st.fixed_dictionaries({"key": attribute_names, "value": any_values}), max_size=8)
times = (
    st.integers(-5, 2**64 + 5) | st.text(max_size=6) | st.just("1795370400000000000") | st.none()
)
spans = st.fixed_dictionaries(
    {
        "attributes": pairs,
        "endTimeUnixNano": times,
        "startTimeUnixNano": times,
        "traceId": st.sampled_from(["ab" * 16, "", "x"]),
        "spanId": st.sampled_from(["ab" * 8, "", "zz"]),
    },
    optional={
        "kind": st.integers(),
        "name": st.text(max_size=5),
        "status": st.just({"code": 2, "message": "m"}),
        "events": st.lists(
            st.fixed_dictionaries({"name": st.just("exception"), "attributes": pairs}), max_size=2
        ),
    },
)
logs = st.fixed_dictionaries(
    {"attributes": pairs, "timeUnixNano": times, "body": any_values},
    optional={
        "eventName": st.sampled_from(
            ["gen_ai.choice", "gen_ai.user.message", "gen_ai.tool.message", "x"]
        )
    },
)
scopes = st.sampled_from(["", "com.anthropic.claude_code.events", "s"])


def normalized(value: bytes, form: str) -> Normalized:
    """Normalise twice: whatever comes out must be sound, and the same."""
    first, again = (CORE.normalize([record(value, format=form)]) for _ in range(2))
    assert first.frame.equals(again.frame)
    assert [letter.reason for letter in first.dead] == [letter.reason for letter in again.dead]
    assert all(letter.sha256 and letter.original is not None for letter in first.dead)
    if not first.frame.is_empty():
        assert first.frame["event_id"].null_count() == 0
        for made in batches.Batches(3).records(first.frame):
            assert batch.decode(made.value).height == made.rows
    msgspec.json.encode([first.dead, first.links, first.snapshots])
    return first


@given(st.binary(max_size=300), st.sampled_from(FORMATS))
@example(b"\x1f\x8b\x00", "actions")
@example(b"\x28\xb5\x2f\xfd\x00", "actions")
@example(b'{"a":' * 3000, "otlp_spans")
@example(b'[{"kind":"other","event_time":"9999-12-31T23:59:59Z"}]', "actions")
@example(b'{"kind":"other","event_time":"+262142-12-31T23:59:59Z"}', "actions")
@FUZZ
def test_any_bytes_at_any_decoder(value: bytes, form: str) -> None:
    normalized(value, form)


@given(st.lists(natives | likely, max_size=4), st.booleans())
@FUZZ
def test_any_json_as_native_actions(items: list[dict[str, Any]], lines: bool) -> None:
    encoded = [msgspec.json.encode(item) for item in items]
    value = b"\n".join(encoded) if lines else b"[" + b",".join(encoded) + b"]"
    found = normalized(value, "actions")
    if value and (items or not lines):
        assert found.frame.height + len(found.dead) == len(items)


@given(likely)
@FUZZ
def test_an_action_with_any_fields_is_an_action_or_a_dead_letter(item: dict[str, Any]) -> None:
    found = normalized(msgspec.json.encode(item), "actions")
    assert found.frame.height + len(found.dead) == 1


@given(st.lists(spans, max_size=4), pairs, scopes)
@FUZZ
def test_any_spans(items: list[dict[str, Any]], resource: list[Any], scope: str) -> None:
    scoped = [{"scope": {"name": scope}, "spans": items}]
    value = {"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": scoped}]}
    found = normalized(msgspec.json.encode(value), "otlp_spans")
    whole = any(letter.index is None for letter in found.dead)
    assert whole or found.frame.height + len(found.dead) + found.foreign == len(items)


@given(st.lists(logs, max_size=4), pairs, scopes)
@FUZZ
def test_any_log_records(items: list[dict[str, Any]], resource: list[Any], scope: str) -> None:
    scoped = [{"scope": {"name": scope}, "logRecords": items}]
    value = {"resourceLogs": [{"resource": {"attributes": resource}, "scopeLogs": scoped}]}
    found = normalized(msgspec.json.encode(value), "otlp_logs")
    whole = any(letter.index is None for letter in found.dead)
    assert whole or found.frame.height + len(found.dead) + found.foreign == len(items)


def _protobuf() -> bytes:
    message = ExportTraceServiceRequest()
    made = message.resource_spans.add().scope_spans.add().spans.add()
    made.trace_id, made.span_id, made.end_time_unix_nano = (
        b"a" * 16,
        b"b" * 8,
        1_795_370_400 * 10**9,
    )
    for name in ("gen_ai.operation.name", "gen_ai.tool.name"):
        made.attributes.add(key=name).value.string_value = "chat"
    return message.SerializeToString()


PROTOBUF = _protobuf()
JSON = msgspec.json.encode(
    request(span(gen_ai__operation__name="chat", gen_ai__conversation__id="c"))
)
NATIVE = msgspec.json.encode([action(tool_args={"command": "ls"}, tags=["x"])])


@given(
    st.sampled_from(
        [
            (PROTOBUF, "otlp_spans"),
            (JSON, "otlp_spans"),
            (NATIVE, "actions"),
            (PROTOBUF, "otlp_logs"),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 1000),
)
@FUZZ
def test_good_records_with_broken_bytes(
    sample: tuple[bytes, str], changes: list[tuple[int, int]], cut: int
) -> None:
    value = bytearray(sample[0])
    for at, byte in changes:
        value[at % len(value)] = byte
    normalized(bytes(value), sample[1])
    normalized(sample[0][: cut % len(sample[0])], sample[1])


@given(st.lists(st.sampled_from([PROTOBUF, JSON, NATIVE, b"{", b""]), max_size=5))
@FUZZ
def test_a_bad_record_never_changes_its_neighbours(values: list[bytes]) -> None:
    def ids(chosen: list[tuple[int, bytes]]) -> list[str]:
        records = [
            record(v, "agent.raw" if v is NATIVE else "otlp_spans", offset=n) for n, v in chosen
        ]
        frame = CORE.normalize(records).frame
        return frame["event_id"].to_list() if frame.height else []

    numbered = list(enumerate(values))
    good = [(n, v) for n, v in numbered if v in (PROTOBUF, JSON, NATIVE)]
    assert ids(numbered) == ids(good)
